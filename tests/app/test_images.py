"""`/v1/images`: calls that wait for their pictures. A thread does what a worker would."""

import base64
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from app.contract.job import Output, output_key
from app.contract.previews import Preview

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
PICTURE = b"a picture"


@contextmanager
def working(parts, act):
    """A worker that does `act` with each job, in a thread, as long as the block lasts."""
    over = threading.Event()

    def work():
        while not over.wait(0.05):
            job = parts.store.claim("tiny", "worker-1", 60)
            if job is not None:
                act(parts, job)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def draw(parts, job):
    key = output_key(job.id, job.attempt, f"video.{job.spec.output}")
    parts.blobs.put(key, PICTURE, "image/png")
    parts.store.complete(job.id, job.attempt, Output(key=key, size_bytes=len(PICTURE)))


def draw_in_steps(parts, job):
    parts.store.beat(job.id, job.attempt, 60, "denoise", 0.5)
    parts.previews.put(job.id, Preview(1, b"a guess"))
    shown = threading.Event()
    shown.wait(1.5)  # two looks of the poller; more would be as good
    draw(parts, job)


def post(client, url=GENERATIONS, **fields):
    return client.post(url, json={"prompt": "a red cube"} | fields)


def test_pictures_come_in_the_answer_and_are_kept_no_longer(client):
    with working(client.parts, draw):
        answer = post(client, n=2, size="64x64", output_format="webp", model="gpt-image-1")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [base64.b64decode(data["b64_json"]) for data in body["data"]] == [PICTURE, PICTURE]
    assert (body["size"], body["output_format"]) == ("64x64", "webp")
    assert client.get("/v1/videos").json()["data"] == []


def test_a_picture_behind_a_url_stays_and_is_no_video(client):
    with working(client.parts, draw):
        answer = post(client, response_format="url", style="sketch", seed=5)
    (picture,) = answer.json()["data"]
    assert picture["revised_prompt"] == "a red cube, pencil sketch"
    found = client.get(picture["url"])
    assert (found.content, found.headers["content-type"]) == (PICTURE, "image/png")
    assert client.get("/v1/videos").json()["data"] == []
    job = client.parts.store.get(picture["url"].split("/")[-2])
    assert (job.spec.frames, job.spec.seed, job.spec.output) == (1, 5, "png")


def test_a_key_that_could_not_read_an_address_is_not_given_one(client):
    scopes = (["images"], ["images", "videos:read"])
    (_, lone), (_, both) = (client.parts.store.keys.create("me", scopes=s) for s in scopes)
    client.headers["authorization"] = f"Bearer {lone}"
    answer = post(client, response_format="url")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")
    assert answer.json()["error"]["param"] == "response_format"
    client.headers["authorization"] = f"Bearer {both}"
    with working(client.parts, draw):
        (picture,) = post(client, response_format="url").json()["data"]
    assert client.get(picture["url"]).content == PICTURE


def test_a_picture_is_edited_from_a_list_of_one(client, capabilities, png):
    able = replace(capabilities, modes=("text", "image", "edit"))
    client.parts.store.models.register("worker-1", able)
    specs = []

    def note(parts, job):
        specs.append((job.spec, parts.blobs.get(job.spec.video)[4:8]))
        draw(parts, job)

    form = {"prompt": "blue", "strength": "0.5", "size": "auto"}
    with working(client.parts, note):
        for name in ("image", "image[]"):
            answer = client.post(EDITS, data=form, files={name: ("a.png", png)})
            assert answer.status_code == 200, answer.text
    for spec, magic in specs:
        assert (spec.strength, spec.frames, spec.width, magic) == (0.5, 1, 64, b"ftyp")


def test_a_model_that_cannot_edit_says_so(client, png):
    answer = client.post(EDITS, data={"prompt": "x"}, files={"image": ("a.png", png)})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")


def test_a_picture_comes_before_the_videos_of_its_owner(client):
    client.post("/v1/videos", json={"prompt": "x", "priority": 100})
    client.post("/v1/videos", json={"prompt": "x"})
    kinds = []

    def note(parts, job):
        kinds.append(job.spec.output)
        draw(parts, job)

    with working(client.parts, note):
        post(client)
    assert kinds.index("png") <= 1


def test_a_stream_shows_pictures_on_the_way(client):
    with working(client.parts, draw_in_steps):
        answer = post(client, stream=True, partial_images=2)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    data = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:6] == "data: "]
    assert [told["type"] for told in data] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert base64.b64decode(data[0]["b64_json"]) == b"a guess"
    assert base64.b64decode(data[1]["b64_json"]) == PICTURE


def test_a_picture_that_fails_is_an_error_not_worth_a_retry(client):
    def fail(parts, job):
        parts.store.fail(job.id, job.attempt, "out_of_memory", "It is too large.")

    with working(client.parts, fail):
        answer = post(client)
        stream = post(client, stream=True)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "out_of_memory")
    assert answer.headers["x-should-retry"] == "false"
    assert "event: error" in stream.text
    assert "out_of_memory" in stream.text


def test_pictures_whose_sibling_fails_are_kept_by_nobody(client):
    def fail_first(parts, job):
        if job.extra["siblings"] and not drawn:
            drawn.append(parts.store.fail(job.id, job.attempt, "out_of_memory", "Too large."))
        else:
            draw(parts, job)

    drawn = []
    with working(client.parts, fail_first):
        answer = post(client, n=3)
    assert answer.status_code == 500
    assert left(client) == 0


def test_a_picture_whose_client_has_left_is_kept_by_nobody(server):
    fields = {"prompt": "a red cube", "stream": True}
    with server.client.stream("POST", GENERATIONS, json=fields) as answer:
        assert answer.status_code == 200
        deadline = time.monotonic() + 20
        while server.parts.store.waiting() == 0:
            assert time.monotonic() < deadline
    while left(server):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def left(client):
    """Pictures that somebody owns."""
    with client.parts.store.database.read() as connection:
        query = "SELECT count(*) FROM jobs WHERE kind = 'image' AND deleted_at IS NULL"
        return connection.exec_driver_sql(query).scalar_one()


def test_a_picture_that_is_sent_again_comes_again(client):
    key = {"idempotency-key": "k1"}
    with working(client.parts, draw):
        answers = [
            client.post(GENERATIONS, json={"prompt": "a red cube", "n": 2}, headers=key)
            for _ in range(2)
        ]
    assert [len(answer.json()["data"]) for answer in answers] == [2, 2]


def test_a_call_that_waits_too_long_cancels_its_pictures(settings, serve, client):
    with serve(replace(settings, image_wait_s=0.2)) as other:
        answer = post(other, n=2)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "image_timeout")
    assert client.parts.store.claim("tiny", "worker-1", 60) is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 11}, "n"),
        ({"n": 2, "stream": True}, "n"),
        ({"partial_images": 1}, "partial_images"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"size": "big"}, "size"),
        ({"size": "63x64"}, "size"),
        ({"quality": "hd"}, "quality"),
        ({"background": "transparent"}, "background"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"response_format": "binary"}, "response_format"),
        ({"mask": "x"}, "mask"),
        ({"model": "wan-99"}, "model"),
        ({"prompt": ""}, "prompt"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_field_is_refused_by_its_name(client, fields, param):
    answer = post(client, **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert client.parts.store.waiting() == 0


def test_two_pictures_cannot_be_edited_at_once(client, png):
    files = [("image[]", ("a.png", png)), ("image[]", ("b.png", png))]
    answer = client.post(EDITS, data={"prompt": "x"}, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")
