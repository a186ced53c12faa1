"""Looking at many videos, with eyes, with a keyboard, and with a screen reader."""

import io
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from app.contract import outputs
from app.contract.job import Output, output_key
from app.contract.tables import jobs

pytestmark = pytest.mark.browser

COUNT = 10_000
COLOURS = ("red", "orange", "gold", "green", "teal", "blue", "purple", "hotpink")


@pytest.fixture(scope="module")
def filled(alone, spec):
    """The API alone over 10,000 finished videos of all shapes; gives (address, parts)."""
    _, parts = alone
    multiply(parts, [coloured(parts, spec, number) for number in range(len(COLOURS))])
    return alone


def coloured(parts, spec, number):
    """A finished job whose pictures are of one colour."""
    width, height = ((64, 64), (128, 64), (64, 96))[number % 3]
    prompt = f"a {COLOURS[number]} ball"
    job, _ = parts.store.create(replace(spec, prompt=prompt, width=width, height=height))
    claimed = parts.store.claim("tiny", "worker-1", 60)
    key = output_key(job.id, claimed.attempt, "video.mp4")
    parts.blobs.put(key, b"no picture needs it", "video/mp4")
    sheet = outputs.sprites(width, height, spec.frames)
    pictures = {
        outputs.THUMBNAIL: ("WEBP", (width, height)),
        outputs.SPRITES: ("JPEG", (sheet.columns * sheet.width, sheet.rows * sheet.height)),
    }
    for name, (kind, size) in pictures.items():
        file = io.BytesIO()
        Image.new("RGB", size, COLOURS[number]).save(file, kind)
        parts.blobs.put(outputs.beside(key, name), file.getvalue(), outputs.CONTENT_TYPES[name])
    output = Output(key=key, size_bytes=1, thumbnail_key=outputs.beside(key, outputs.THUMBNAIL))
    parts.store.complete(job.id, claimed.attempt, output)
    return job.id


def multiply(parts, ids):
    """Fills the table with copies of these rows, older ones with every copy."""
    with parts.store.database.write() as connection:
        rows = [
            dict(connection.execute(sa.select(jobs).where(jobs.c.id == each)).one()._mapping)
            for each in ids
        ]
        copies = [
            rows[number % len(rows)]
            | {
                "id": f"video_{number:05}",
                "created_at": rows[0]["created_at"] - number,
                "spec": rows[number % len(rows)]["spec"].replace(" ball", f" ball {number}"),
                "words": f"ball {number}",
            }
            for number in range(len(rows), COUNT)
        ]
        connection.execute(sa.insert(jobs), copies)


def tiles(page):
    return page.locator("#grid .tile").count()


def test_ten_thousand_videos_are_scrolled_through_with_few_of_them_on_the_page(filled, open_page):
    page = open_page(filled[0])
    last = page.locator(f'.tile a[data-id="video_{COUNT - 1:05}"]')
    while not last.count():
        page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(20)
        assert tiles(page) < 150
    last.scroll_into_view_if_needed()
    expect(last).to_be_in_viewport()
    expect(last.locator("img")).to_have_js_property("complete", True)
    assert page.locator(".tile img").first.evaluate("(image) => image.naturalWidth") > 0
    # A frame of scrolling costs what is in sight, however much there is.
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight / 2)")
    expect(page.locator("#grid .tile a").first).to_be_visible()
    assert tiles(page) < 150


def test_the_gallery_goes_on_where_the_last_of_a_page_was_deleted(filled, open_page):
    address, parts = filled
    page = open_page(address)
    last = parts.store.list(limit=100).jobs[-1].id
    parts.store.delete(last)
    parts.store.upkeep.purge(last)
    height = "document.documentElement.scrollHeight"
    page.evaluate(f"window.scrollTo(0, {(before := page.evaluate(height))})")
    deadline = time.monotonic() + 120
    while page.evaluate(height) <= before:
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


@pytest.fixture
def late(filled, spec):
    """A waiting video that is older than 180 finished ones; gives (id, what finishes it)."""
    _, parts = filled
    job, _ = parts.store.create(spec)
    with parts.store.database.write() as connection:
        moment = sa.select(jobs.c.created_at).where(jobs.c.id == "video_00180").scalar_subquery()
        waiting = sa.update(jobs).where(jobs.c.id == job.id)
        connection.execute(waiting.values(created_at=moment))

    def finish():
        claimed = parts.store.claim(spec.model, "worker-1", 60)
        gone = Output(key="gone", size_bytes=1, thumbnail_key=None)
        parts.store.complete(job.id, claimed.attempt, gone)

    yield job.id, finish
    parts.store.delete(job.id)


def test_a_video_that_waited_for_long_takes_its_place_among_those_of_its_time(
    filled, open_page, late
):
    made, finish = late
    page = open_page(filled[0])
    expect(page.locator("#queue .job")).to_have_count(1)
    finish()
    expect(page.locator("#queue .job")).to_have_count(0)
    while not page.locator('#grid a[data-id="video_00181"]').count():
        page.mouse.wheel(0, 400)
        page.wait_for_timeout(20)
    seen = page.locator("#grid a").evaluate_all("(all) => all.map((each) => each.dataset.id)")
    assert seen.index("video_00179") < seen.index(made) < seen.index("video_00181")


def test_a_video_that_waited_for_long_is_among_the_finished_at_once(filled, open_page, late):
    made, finish = late
    page = open_page(filled[0])
    page.click("#queue .job .title")
    page.wait_for_url(f"**/#/video/{made}")
    finish()
    expect(page.locator("#actions")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page).not_to_have_url(f"{filled[0]}/#/video/{made}")


def test_the_search_is_the_servers(filled, open_page):
    page = open_page(filled[0])
    page.fill("#query", "BALL 7777")
    expect(page.locator("#grid .tile")).to_have_count(1)
    expect(page.locator("#grid a")).to_have_attribute("href", "#/video/video_07777")


def test_the_mouse_leafs_through_a_video(filled, open_page):
    page = open_page(filled[0])
    tile = page.locator("#grid a").first
    tile.hover(position={"x": 5, "y": 20})
    sprite = tile.locator(".sprite")
    begin = sprite.evaluate("(sheet) => sheet.style.backgroundPosition")
    tile.hover(position={"x": tile.bounding_box()["width"] - 5, "y": 20})
    assert sprite.evaluate("(sheet) => sheet.style.backgroundPosition") != begin
    assert "variant=spritesheet" in sprite.evaluate("(sheet) => sheet.style.backgroundImage")
    page.hover("#query")
    expect(sprite).to_have_count(0)


def test_a_keyboard_is_enough(filled, open_page):
    page = open_page(filled[0])
    page.locator("#grid a").first.focus()
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.dataset.id")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/#/video/{second}")
    page.locator("#player-title").wait_for()
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(f"{filled[0]}/#/video/{second}")
    page.keyboard.press("Escape")
    expect(page.locator("#grid")).to_be_visible()


@pytest.mark.parametrize(("width", "height", "scheme"), [(1440, 900, "light"), (390, 844, "dark")])
def test_axe_finds_nothing_serious(filled, open_page, scheme, width, height):
    page = open_page(filled[0], width, height, color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator("#grid a").first).to_be_visible()
    assert serious(page) == []
    page.click("#prompt")
    page.click("#toggle-storyboard")
    page.click("#toggle-options")
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": png()})
    expect(page.locator("#picture-first")).to_be_visible()
    assert serious(page) == []
    page.locator("#grid a").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#actions")).to_be_visible()
    page.click("[data-do=remix]")
    assert serious(page) == []
    page.click("#player-title")
    page.click("[data-do=delete]")
    assert serious(page) == []


def serious(page):
    """Axe's findings of weight: (rule, elements)."""
    found = Axe().run(page).response["violations"]
    return [
        (each["id"], [node["html"][:120] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


def png():
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return file.getvalue()


def test_a_key_is_asked_for_when_the_server_wants_one(filled, open_page):
    address, parts = filled
    key, secret = parts.store.keys.create("me", tenant="me")
    try:
        page = open_page(address)
        expect(page.locator("#key-dialog")).to_be_visible()
        page.fill("#key", "kinora-wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-wrong")).to_be_visible()
        page.fill("#key", secret)
        page.keyboard.press("Enter")
        expect(page.locator("#key-dialog")).to_be_hidden()
        expect(page.locator("#empty .first")).to_be_visible()
        page.reload()
        expect(page.locator("#empty .first")).to_be_visible()
        expect(page.locator("#key-dialog")).to_be_hidden()
    finally:
        parts.store.keys.revoke(key.id)
