"""What the studio keeps: through a reload, through a restart of the service."""

import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from app.client import Client

pytestmark = pytest.mark.browser


def png(width=1, height=1):
    """A picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_a_reload_keeps_the_draft_and_the_view(page):
    page.fill("#prompt", "a draft")
    page.click("#toggle-storyboard")
    page.fill('[aria-label="Shot 1: what is seen"]', "a red ball")
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": png()})
    expect(page.locator("#picture-first")).to_be_visible()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    expect(page.locator("#prompt")).to_have_value("a draft")
    expect(page.locator('[aria-label="Shot 1: what is seen"]')).to_have_value("a red ball")
    expect(page.locator("[name=num_inference_steps]")).to_have_value("2")
    expect(page.locator("#picture-first")).to_be_visible()


def test_a_reload_with_a_picture_keeps_what_was_chosen_for_it(page):
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": png(10, 16)})
    expect(page.locator("[name=size]")).to_have_value("160x256")
    page.select_option("[name=size]", "720x1280")
    page.locator(".chip", has_text="Sketch").click()
    page.check("#loop")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    expect(page.locator("[name=size]")).to_have_value("720x1280")
    expect(page.locator(".chip input:checked")).to_have_value("sketch")
    expect(page.locator("#loop")).to_be_checked()


def test_a_last_frame_keeps_the_size_that_was_chosen(page):
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": png(10, 16)})
    expect(page.locator("#picture-first")).to_be_visible()
    page.select_option("[name=size]", "256x160")
    with page.expect_file_chooser() as chooser:
        page.click("#add-last")
    chooser.value.set_files({"name": "b.png", "mimeType": "image/png", "buffer": png(10, 16)})
    expect(page.locator("#picture-last")).to_be_visible()
    expect(page.locator("[name=size]")).to_have_value("256x160")


def test_a_mangled_address_leads_to_the_gallery(open_page, service):
    page = open_page(f"{service.address}/#/video/%E0%A4%A")
    expect(page.locator("#home")).to_be_visible()


def test_a_search_is_part_of_the_address(page):
    page.fill("#query", "no such words")
    expect(page.locator("#empty .nothing")).to_be_visible()
    page.reload()
    expect(page.locator("#query")).to_have_value("no such words")
    page.fill("#query", "")
    page.wait_for_url("**/#/")


def test_a_restart_of_the_service_is_survived(page, service):
    page.fill("#prompt", "a white star shrinks at dusk")
    page.click("#toggle-options")
    page.fill("[name=num_inference_steps]", "40")
    page.fill("[name=seconds]", "1")
    page.click("#go")
    page.click("#queue .job .title")
    expect(page.locator("#player-state")).to_contain_text("Developing")
    service.stop()
    expect(page.locator("#service")).to_have_text("The server is away, trying again…")
    service.start()
    expect(page.locator("#service")).to_have_text("kinora-tiny")
    expect(page.locator("#video")).to_be_visible()
    with Client.of(service.address) as client:
        (video,) = client.list(100, search="a white star shrinks at dusk")
    assert (video["status"], page.url.endswith(video["id"])) == ("completed", True)
