"""What the studio keeps: through a reload, through a restart of the service."""

import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from app.client import Client

pytestmark = pytest.mark.browser


def png():
    """A picture of one pixel."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
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
