"""Making videos in the studio, from the first word to the playing picture."""

import base64
import io
import re
import time
from dataclasses import replace

import pytest
from PIL import Image
from playwright.sync_api import expect

from app.client import Client

pytestmark = pytest.mark.browser


def plays(page):
    """Waits until the player's time goes on."""
    deadline = time.monotonic() + 120
    while not page.evaluate("document.querySelector('#video').currentTime > 0.05"):
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def make(page, prompt):
    """Asks for a video; its id."""
    page.fill("#prompt", prompt)
    with page.expect_response(is_made) as made:
        page.click("#go")
    return made.value.json()["id"]


def is_made(answer):
    return answer.request.method == "POST" and answer.ok


def finished(page, video_id):
    """The picture of a video in the gallery, once it is there."""
    return page.locator(f'.tile a[data-id="{video_id}"]')


def test_a_prompt_becomes_a_playing_video(page):
    made = make(page, "a red ball moves right over the sea")
    job = page.locator("#queue .job", has_text="a red ball moves right over the sea")
    expect(job.locator(".state")).to_have_text(re.compile("Waiting|Reading|Developing|Drawing"))
    expect(finished(page, made)).to_be_visible()
    expect(job).to_have_count(0)
    finished(page, made).click()
    plays(page)
    expect(page.locator("#player-title")).to_have_text("a red ball moves right over the sea")
    expect(page.locator("#facts")).to_contain_text("256 × 160")


def test_one_sees_a_video_develop(page):
    page.click("#toggle-options")
    page.fill("[name=num_inference_steps]", "80")
    made = make(page, "a big star grows in the night sky")
    page.click("#queue .job .title")
    expect(page.locator("#preview")).to_have_attribute("src", re.compile("^data:image/webp"))
    expect(page.locator("#player-state")).to_have_text(re.compile("Developing, [0-9]+ %"))
    plays(page)
    assert page.url.endswith(made)
    expect(page.locator("#player-cancel")).to_be_hidden()


def test_the_first_seconds_are_watched_while_the_others_are_being_made(page):
    page.click("#toggle-options")
    page.fill("[name=num_inference_steps]", "16")
    page.fill("[name=seconds]", "8")
    made = make(page, "a yellow ring drifts over the grass")
    page.click("#queue .job .title")
    page.click("#player-watch:has-text('Watch the first')")
    plays(page)
    assert page.evaluate("document.querySelector('#video').src").startswith("blob:")
    expect(page.locator("#player-state")).to_have_text(re.compile("Developing|Drawing"))
    page.wait_for_function("() => document.querySelector('#video').currentTime > 1")
    # Noted when it happens: near its end a clip begins anew before it plays, or anybody has looked.
    page.evaluate("""() => {
        const video = document.querySelector('#video');
        video.addEventListener('seeked', () => {
            if (video.src.includes('/content?')) window.began ??= video.currentTime;
        });
    }""")
    expect(page.locator("#player-cancel")).to_be_hidden()
    expect(page.locator("#video")).to_have_attribute("src", re.compile(r"/content\?"))
    # Whoever watches the file for a moment sees it where the first seconds had come to.
    page.wait_for_function("() => window.began !== undefined")
    assert page.evaluate("window.began") > 1
    plays(page)
    assert page.url.endswith(made)


def test_a_video_that_is_cancelled_while_it_is_watched_is_asked_for_no_more(page):
    page.click("#toggle-options")
    page.fill("[name=num_inference_steps]", "16")
    page.fill("[name=seconds]", "20")
    make(page, "a white boat sails left")
    page.click("#queue .job .title")
    page.click("#player-watch:has-text('Watch the first')")
    plays(page)
    page.click("#player-cancel")
    expect(page.locator("#player-state")).to_have_text("Cancelled")
    expect(page.locator("#video")).to_be_hidden()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for _look in range(2):
        with page.expect_request("**/v1/videos?limit=24"):
            pass
    assert [url for url in asked if "stream" in url] == []


def test_a_dropped_picture_is_the_first_frame(page, service):
    picture = io.BytesIO()
    Image.new("RGB", (300, 400), "seagreen").save(picture, "PNG")
    page.evaluate(
        """(data) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt());
            const files = new DataTransfer();
            files.items.add(new File([bytes], "green.png", { type: "image/png" }));
            const drop = new DragEvent("drop", { dataTransfer: files, bubbles: true });
            document.body.dispatchEvent(drop);
        }""",
        base64.b64encode(picture.getvalue()).decode(),
    )
    expect(page.locator("#picture-first")).to_be_visible()
    expect(page.locator("[name=size]")).to_have_value("160x256")
    made = make(page, "a green square stands still")
    expect(finished(page, made)).to_be_visible()
    with Client.of(service.address) as client:
        thumbnail = Image.open(io.BytesIO(b"".join(client.content(made, "thumbnail"))))
    red, green, blue = thumbnail.convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert green > red + 30 and green > blue + 15


def test_a_video_is_remixed_extended_and_told_apart_from_its_source(page):
    source = make(page, "a blue ball bounces on the grass")
    finished(page, source).click()
    plays(page)
    for action, frames in (("remix", "9 frames"), ("extend", "17 frames")):
        page.goto(f"{page.url.partition('#')[0]}#/video/{source}")
        page.click(f"[data-do={action}]")
        expect(page.locator("#task-about")).to_contain_text("a blue ball")
        if action == "extend":
            page.fill("[name=seconds]", "0.5")
        else:  # how far the model goes from a source, unless told otherwise
            expect(page.locator("[name=strength]")).to_have_value("0.6")
        made = make(page, f"a pink ball, {action}")
        page.wait_for_url(f"**/#/video/{made}")
        plays(page)
        expect(page.locator("#facts")).to_contain_text(frames)
        expect(page.locator("#sources a")).to_have_attribute("href", f"#/video/{source}")


def test_two_videos_are_blended(page):
    ids = [make(page, f"a {colour} ball") for colour in ("red", "white")]
    for each in ids:
        expect(finished(page, each)).to_be_visible()
    finished(page, ids[0]).click()
    page.click("[data-do=blend]")
    expect(page.locator("#picking")).to_contain_text("a red ball")
    finished(page, ids[1]).click()
    expect(page.locator("#task-about")).to_contain_text("into")
    page.fill("[name=seconds]", "0.5")
    made = make(page, "a ball turns pale")
    page.wait_for_url(f"**/#/video/{made}")
    expect(page.locator("#sources a")).to_have_count(2)


def test_a_storyboard_is_a_timeline_of_prompts(page):
    page.fill("#prompt", "a day of a ball")
    page.click("#toggle-storyboard")
    for at, prompt in enumerate(("a red ball on the grass", "a red ball at sunset")):
        page.fill(f'#shots [aria-label="Shot {at + 1}: what is seen"]', prompt)
        page.fill(f'#shots [aria-label="Shot {at + 1}: seconds"]', "0.5")
    page.click('[aria-label="Move shot 2 up"]')
    expect(page.locator("#timeline-length")).to_have_text("2 shots, 1 s")
    with page.expect_response(is_made) as made:
        page.click("#go")
    shots = [shot["prompt"] for shot in made.value.json()["storyboard"]]
    assert shots == ["a red ball at sunset", "a red ball on the grass"]
    expect(finished(page, made.value.json()["id"])).to_be_visible()


def test_a_cancelled_video_stops(page):
    page.fill("[name=seconds]", "20")
    made = make(page, "a video that nobody waits for")
    page.click('[aria-label="Cancel a video that nobody waits for"]')
    expect(finished(page, made)).to_contain_text("Cancelled")


def test_a_deleted_video_is_gone(page, service):
    made = make(page, "a yellow heart")
    finished(page, made).click()
    page.click("[data-do=delete]")
    page.click("#confirm button[value=no]")
    expect(page.locator("#player-title")).to_have_text("a yellow heart")
    page.click("[data-do=delete]")
    page.click("#confirm-yes")
    expect(page.locator("#home")).to_be_visible()
    expect(finished(page, made)).to_have_count(0)
    with Client.of(service.address) as client:
        assert made not in [video["id"] for video in client.list(100)]


def test_enter_pressed_twice_makes_one_video(alone, open_page):
    page = open_page(alone[0])
    held = []
    page.route("**/v1/videos", lambda route, _: held.append(route))
    page.fill("#prompt", "a red ball")
    page.press("#prompt", "Enter")
    page.press("#prompt", "Enter")
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    expect(page.locator("#go")).to_be_enabled()
    assert len(held) == 1


def test_an_enter_that_is_held_down_asks_once(alone, open_page):
    page = open_page(alone[0])
    asked = []
    page.on("request", lambda request: request.method == "POST" and asked.append(request))
    page.focus("#prompt")
    page.keyboard.down("Enter")
    expect(page.locator("#fault-prompt")).to_be_visible()
    page.keyboard.down("Enter")
    expect(page.locator("#go")).to_be_enabled()
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("seconds", "900", "too many"), ("num_inference_steps", "9999", "at most")],
)
def test_what_is_wrong_is_said_beside_its_field(page, name, value, said):
    page.click("#toggle-options")
    page.fill(f"[name={name}]", value)
    page.fill("#prompt", "a red ball")
    page.click("#go")
    expect(page.locator(f"#fault-{name}")).to_contain_text(said)
    expect(page.locator(f"[name={name}]")).to_be_focused()
    expect(page.locator(f"[name={name}]")).to_have_attribute("aria-invalid", "true")


def test_what_is_no_number_is_not_passed_over(page):
    page.click("#toggle-options")
    page.locator("[name=seed]").press_sequentially("1-2")
    page.fill("#prompt", "a red ball")
    page.click("#go")
    expect(page.locator("#fault-seed")).to_contain_text("not a number")
    page.fill("[name=seed]", "12")
    make(page, "a red ball")


def test_another_model_has_the_picture_cut_to_its_size(page):
    def two(route):
        (first,) = (models := route.fetch().json())["data"]
        models["data"].append(first | {"id": "other", "sizes": [], "default_size": "64x64"})
        route.fulfill(json=models)

    page.route("**/v1/models", two)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    picture = io.BytesIO()
    Image.new("RGB", (64, 40), "red").save(picture, "PNG")
    upload = {"name": "a.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    page.set_input_files("#file", upload)
    expect(page.locator("#picture-first")).to_have_js_property("naturalWidth", 256)
    page.click("#prompt")
    page.click("#toggle-options")
    page.select_option("[name=model]", "other")
    expect(page.locator("#picture-first")).to_have_js_property("naturalWidth", 64)


def test_a_size_that_is_not_offered_is_used_again(page, service):
    with Client.of(service.address) as client:
        asked = {"prompt": "a tiny ball", "size": "128x64", "seconds": 0.5}
        made = client.create(asked | {"num_inference_steps": 1})["id"]
    expect(finished(page, made)).to_be_visible()
    finished(page, made).click()
    page.click("[data-do=again]")
    expect(page.locator("[name=size]")).to_have_value("128x64")
    page.reload()
    expect(page.locator("[name=size]")).to_have_value("128x64")


def test_using_a_video_again_takes_nothing_of_the_draft(page):
    made = make(page, "a pink heart stands still on a white background")
    expect(finished(page, made)).to_be_visible()
    picture = io.BytesIO()
    Image.new("RGB", (64, 40), "red").save(picture, "PNG")
    upload = {"name": "a.png", "mimeType": "image/png", "buffer": picture.getvalue()}
    page.set_input_files("#file", upload)
    expect(page.locator("#picture-first")).to_be_visible()
    page.click("#toggle-storyboard")
    page.fill('[aria-label="Shot 1: what is seen"]', "a green square")
    finished(page, made).click()
    page.click("[data-do=again]")
    expect(page.locator("#storyboard")).to_be_hidden()
    expect(page.locator("#picture-first")).to_be_hidden()
    expect(page.locator("#prompt")).to_have_value("a pink heart stands still on a white background")


def test_a_video_is_used_again_with_its_own_model(alone, open_page, capabilities, spec, finish):
    address, parts = alone
    parts.store.models.register("worker-2", replace(capabilities, model_id="other", steps=7))
    other, gone = (finish(replace(spec, model=name)) for name in ("other", "gone"))
    page = open_page(f"{address}/#/video/{gone}")
    page.click("[data-do=again]")
    expect(page.locator("#prompt")).to_have_value(spec.prompt)
    expect(page.locator("[name=model]")).to_have_value("tiny")
    page.goto(f"{address}/#/video/{other}")
    page.click("[data-do=again]")
    expect(page.locator("[name=model]")).to_have_value("other")
    expect(page.locator("[name=num_inference_steps]")).to_have_attribute("placeholder", "7")
