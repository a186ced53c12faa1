"""One finished video, large: the right one, its file, its name on the disk."""

import io
from dataclasses import replace

import pytest
from PIL import Image
from playwright.sync_api import expect

from app.contract.checkpoints import Segment

pytestmark = pytest.mark.browser


@pytest.fixture
def keyed(alone, open_page):
    """The studio with a key: media elements cannot send it, so files are fetched whole."""
    page = open_page(alone[0])
    page.evaluate("localStorage.setItem('kinora.key', 'any, while the server has none')")
    return page


def show(page, video_id):
    page.evaluate(
        "(hash) => { location.hash = hash; }", f"#/video/{video_id}" if video_id else "#/"
    )


@pytest.mark.parametrize("left_for", ["another video", "the gallery"])
def test_a_file_that_comes_late_is_not_played(keyed, finish, spec, left_for):
    late, other = finish(spec, b"late"), finish(spec, b"other")
    held = []
    keyed.route(f"**/{late}/content?*variant=video", lambda route, _: held.append(route))
    show(keyed, late)
    while not held:
        keyed.wait_for_timeout(20)
    if left_for == "another video":
        show(keyed, other)
        expect(keyed.locator("#video[src]")).to_be_visible()
    else:
        show(keyed, None)
        expect(keyed.locator("#home")).to_be_visible()
    shown = keyed.get_attribute("#video", "src")
    held[0].continue_()
    address = "(id) => import('/studio/media.js').then((media) => media.address(id))"
    assert keyed.evaluate(address, late).startswith("blob:")
    assert keyed.get_attribute("#video", "src") == shown


def test_a_file_that_is_gone_is_said_to_be(keyed, finish, spec):
    show(keyed, finish(spec))
    expect(keyed.locator("#notices")).to_contain_text("no longer available")


@pytest.mark.parametrize(("kind", "operation"), [("mp4", "create"), ("webp", "image")])
def test_what_is_downloaded_is_named_after_its_format(keyed, finish, spec, kind, operation):
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "WEBP")
    made = finish(replace(spec, output=kind), file.getvalue(), extra={"operation": operation})
    show(keyed, made)
    if operation == "image":
        expect(keyed.locator("#preview")).to_have_js_property("naturalWidth", 64)
    with keyed.expect_download() as download:
        keyed.click("[data-do=download]")
    assert download.value.suggested_filename == f"a red ball.{kind}"


def test_nothing_can_be_done_with_a_video_that_is_still_on_its_way(keyed, finish, spec):
    first, late = finish(spec, b"first"), finish(spec, b"late")
    keyed.route("**/v1/videos?*", lambda route, _: route.abort())  # lists would tell of it
    keyed.reload()
    show(keyed, first)
    expect(keyed.locator("#actions")).to_be_visible()
    held = []
    keyed.route(f"**/v1/videos/{late}", lambda route, _: held.append(route))
    show(keyed, late)
    while not held:
        keyed.wait_for_timeout(20)
    expect(keyed.locator("#actions")).to_be_hidden()
    keyed.unroute(f"**/v1/videos/{late}")
    held[0].continue_()
    expect(keyed.locator("#actions")).to_be_visible()


def test_a_cancelled_video_is_no_longer_offered_to_watch(alone, open_page, spec):
    address, parts = alone
    job, _ = parts.store.create(spec)
    claimed = parts.store.claim(spec.model, "worker-1", 60)
    parts.store.checkpoints.record(job.id, claimed.attempt, [Segment(claimed.attempt, 5)])
    page = open_page(f"{address}/#/video/{job.id}")
    expect(page.locator("#player-watch")).to_be_visible()
    parts.store.fail(job.id, claimed.attempt, "cancelled", "It was cancelled.")
    expect(page.locator("#player-state")).to_have_text("Cancelled")
    expect(page.locator("#player-watch")).to_be_hidden()


def test_a_video_that_somebody_else_deletes_is_left(alone, open_page, spec):
    address, parts = alone
    job, _ = parts.store.create(spec)
    page = open_page(f"{address}/#/video/{job.id}")
    expect(page.locator("#player-title")).to_have_text(spec.prompt)
    parts.store.delete(job.id)
    expect(page.locator("#home")).to_be_visible()
    expect(page.locator("#notices")).to_contain_text("This video was deleted.")


def test_a_list_that_was_asked_for_before_a_deletion_does_not_bring_the_video_back(
    alone, open_page, finish, spec
):
    made = finish(spec)
    page = open_page(alone[0])
    tile = page.locator(f'#grid a[data-id="{made}"]')
    expect(tile).to_be_visible()
    lists = "**/v1/videos?limit=24"
    late = []

    def hold(route, _):
        if late:
            route.continue_()
        else:
            late.append((route, route.fetch()))

    page.route(lists, hold)
    while not late:
        page.wait_for_timeout(20)
    tile.click()
    page.click("[data-do=delete]")
    page.click("#confirm-yes")
    expect(tile).to_have_count(0)
    [(route, answer)] = late
    route.fulfill(response=answer)
    with page.expect_response(lists):  # the look after it: the late one has been taken by then
        pass
    expect(tile).to_have_count(0)
