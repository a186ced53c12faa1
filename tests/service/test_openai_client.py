"""OpenAI's own client, unmodified but for `base_url`, against the whole service."""

import asyncio
import base64
import io
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import openai
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
START_S = 300
QUICK = {"num_inference_steps": 2}
SMALL = {"size": "128x96", "seconds": "0.3"}

pytestmark = [
    pytest.mark.service,
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def base_url(tmp_path_factory):
    """A running `kinora serve` with kinora-tiny; the address that a client is given."""
    folder = tmp_path_factory.mktemp("serve")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "app.cli", "serve", "--data", folder / "data", "--port", port]
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_S
        while not answers(f"{address}/readyz"):
            assert service.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.3)
        yield f"{address}/v1"
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(60)


def answers(url):
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def client(base_url):
    with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def picture():
    file = io.BytesIO()
    Image.new("RGB", (128, 96), "red").save(file, "PNG")
    return file.getvalue()


def test_a_video_is_created_polled_downloaded_listed_and_deleted(client, tmp_path):
    video = client.videos.create(
        prompt="a red cube", model="sora-2", **SMALL, extra_body=QUICK | {"seed": 7}
    )
    assert (video.object, video.status, video.model) == ("video", "queued", "sora-2")
    done = client.videos.poll(video.id)
    assert (done.status, done.progress, done.error) == ("completed", 100, None)
    assert (done.size, done.seconds, done.seed) == ("128x96", "0.3", 7)

    content = client.videos.download_content(video.id)
    content.write_to_file(tmp_path / "video.mp4")
    data = (tmp_path / "video.mp4").read_bytes()
    assert data[4:8] == b"ftyp"
    part = client.videos.download_content(video.id, extra_headers={"Range": "bytes=4-7"})
    assert part.read() == b"ftyp"

    assert [each.id for each in client.videos.list(limit=1)] == [video.id]
    deleted = client.videos.delete(video.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (video.id, "video.deleted", True)
    with pytest.raises(openai.NotFoundError) as missing:
        client.videos.retrieve(video.id)
    assert missing.value.request_id


def test_the_same_seed_gives_the_same_file(client):
    again = {**SMALL, "extra_body": QUICK | {"seed": 11}}
    videos = [client.videos.create_and_poll(prompt="a blue ball", **again) for _ in range(2)]
    files = [client.videos.download_content(video.id).read() for video in videos]
    assert files[0] == files[1]


def test_an_image_is_the_first_frame_however_it_is_sent(client, picture):
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    fields = {"prompt": "a red floor", **SMALL}
    extra = QUICK | {"seed": 3}
    made = [
        client.videos.create(**fields, input_reference=("a.png", picture), extra_body=extra),
        client.videos.create(**fields, input_reference=picture, extra_body=extra),
        client.videos.create(**fields, extra_body=extra | {"input_reference": {"image_url": url}}),
        client.videos.create(
            **fields,
            extra_headers={"Content-Type": "application/json"},
            extra_body=extra | {"input_reference": {"image_url": url}},
        ),
    ]
    done = [client.videos.poll(video.id) for video in made]
    assert [video.status for video in done] == ["completed"] * 4
    files = {client.videos.download_content(video.id).read() for video in done}
    assert len(files) == 1


def test_a_video_is_remixed_and_edited(client):
    source = client.videos.create_and_poll(prompt="a red cube", **SMALL, extra_body=QUICK)
    data = client.videos.download_content(source.id).read()
    extra = QUICK | {"seed": 5, "strength": 0.9}
    made = [
        client.videos.remix(source.id, prompt="a blue cube", extra_body=extra),
        client.videos.edit(prompt="a blue cube", video=data, extra_body=extra),
    ]
    for video in made:
        done = client.videos.poll(video.id)
        assert done.status == "completed", done.error
        assert (done.size, done.frames, done.fps) == (source.size, source.frames, source.fps)
        assert client.videos.download_content(video.id).read() not in (b"", data)
    assert made[0].remixed_from_video_id == source.id


def test_the_asynchronous_client_works_the_same(base_url):
    async def make():
        async with openai.AsyncOpenAI(base_url=base_url, api_key="any") as client:
            video = await client.videos.create_and_poll(prompt="x", **SMALL, extra_body=QUICK)
            content = await client.videos.download_content(video.id)
            return video.status, (await content.aread())[4:8]

    assert asyncio.run(make()) == ("completed", b"ftyp")


def test_the_list_pages_by_itself(client):
    made = [client.videos.create(prompt=str(i), **SMALL, extra_body=QUICK).id for i in range(3)]
    assert [video.id for video in client.videos.list(limit=2)][:3] == made[::-1]
    oldest = client.videos.list(limit=2, order="asc")
    assert oldest.has_more
    for video_id in made:
        client.videos.delete(video_id)
    assert not set(made) & {video.id for video in client.videos.list()}


def test_a_running_video_is_cancelled_and_polling_returns_it_as_failed(client):
    video = client.videos.create(prompt="x", extra_body={"num_inference_steps": 200})
    client.post(f"/videos/{video.id}/cancel", cast_to=object)
    ended = client.videos.poll(video.id)
    assert (ended.status, ended.error.code) == ("failed", "cancelled")
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(video.id)


def test_faults_arrive_as_the_clients_own_errors(client):
    with pytest.raises(openai.BadRequestError) as bad:
        client.videos.create(prompt="x", size="7x7")
    assert (bad.value.param, bad.value.type) == ("size", "invalid_request_error")
    assert bad.value.request_id.startswith("req_")
    with pytest.raises(openai.BadRequestError) as unknown:
        client.videos.create(prompt="x", extra_body={"colour": "red"})
    assert unknown.value.param == "colour"
    video = client.videos.create(prompt="x", extra_body={"num_inference_steps": 200})
    with pytest.raises(openai.ConflictError):
        client.videos.download_content(video.id)
    client.videos.delete(video.id)


def test_models_are_listed_and_found_by_their_openai_names(client):
    (model,) = client.models.list()
    assert (model.object, model.owned_by) == ("model", "kinora")
    assert client.models.retrieve(model.id).id == model.id
    assert client.models.retrieve("sora-2-pro").id == model.id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("org/none")
