"""Videos and images."""

import asyncio
import base64
import io
import tempfile
from pathlib import Path

import openai
from PIL import Image
from trial import ADDRESS, JSON, KEYS, POLL_MS, QUICK, SMALL, picture, refuses


def create_json(it):
    video = it.make(extra_headers=JSON, model="sora-2", extra_body={"metadata": {"made": "here"}})
    assert (video.object, video.status, video.model) == ("video", "queued", "sora-2")
    assert (video.size, video.metadata) == ("64x64", {"made": "here"})
    it.finished(video)


def create_multipart(it):
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(picture())
        file.flush()
        references = [
            {"input_reference": Path(file.name)},
            {"input_reference": picture()},
            {"extra_body": {"input_reference": {"image_url": url}}},
            {"extra_body": {"input_reference": {"image_url": url}}, "extra_headers": JSON},
        ]
        made = [
            it.make(**each | {"extra_body": each.get("extra_body", {}) | {"seed": 3}})
            for each in references
        ]
    clips = {it.client.videos.download_content(it.finished(video).id).read() for video in made}
    assert len(clips) == 1, "the same picture and seed gave different clips"


def create_and_poll(it):
    video = it.client.videos.create_and_poll(
        prompt="a red ball", poll_interval_ms=POLL_MS, **SMALL, extra_body=QUICK
    )
    assert (video.status, video.progress) == ("completed", 100)


def poll(it):
    endless = it.make(seconds="2", extra_body={"num_inference_steps": 200})
    it.client.post(f"/videos/{endless.id}/cancel", cast_to=object)
    ended = it.client.videos.poll(endless.id)
    assert (ended.status, ended.error.code) == ("failed", "cancelled")


def retrieve(it):
    found = it.client.videos.retrieve(it.video.id)
    assert (found.id, found.seconds, found.size) == (it.video.id, it.video.seconds, "64x64")
    unfinished = it.make()
    raw = it.client.videos.with_raw_response.retrieve(unfinished.id)
    assert int(raw.headers["openai-poll-after-ms"]) > 0
    assert raw.parse().id == unfinished.id
    it.client.videos.delete(unfinished.id)


def list_pages(it):
    newest = [video.id for video in it.client.videos.list(limit=1)]
    assert it.video.id in newest and len(newest) == len(set(newest)) > 1
    assert newest[::-1] == [video.id for video in it.client.videos.list(limit=2, order="asc")]


def delete(it):
    video = it.make()
    gone = it.client.videos.delete(video.id)
    assert (gone.id, gone.object, gone.deleted) == (video.id, "video.deleted", True)
    refuses(openai.NotFoundError, lambda: it.client.videos.retrieve(video.id))


def download_video(it):
    content = it.client.videos.download_content(it.video.id)
    assert content.read() == it.clip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.mp4")
        it.client.videos.download_content(it.video.id, variant="video").write_to_file(file)
        assert it.clip == file.read_bytes()


def download_thumbnail(it):
    file = it.client.videos.download_content(it.video.id, variant="thumbnail").read()
    assert Image.open(io.BytesIO(file)).format == "WEBP"


def download_spritesheet(it):
    file = it.client.videos.download_content(it.video.id, variant="spritesheet").read()
    assert Image.open(io.BytesIO(file)).format == "JPEG"


def download_streaming(it):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.mp4")
        with it.client.videos.with_streaming_response.download_content(it.video.id) as content:
            content.stream_to_file(file)
        assert it.clip == file.read_bytes()


def download_range(it):
    ask = it.client.videos.with_raw_response.download_content
    part = ask(it.video.id, extra_headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    beyond = refuses(
        openai.APIStatusError, lambda: ask(it.video.id, extra_headers={"Range": "bytes=999999999-"})
    )
    assert beyond.status_code == 416


def remix(it):
    video = it.client.videos.remix(it.video.id, prompt="a blue ball", extra_body={"seed": 1})
    assert video.remixed_from_video_id == it.video.id
    assert it.finished(video).size == it.video.size


def edit(it):
    edited = it.client.videos.edit(
        prompt="a blue ball", video=it.clip, extra_body={"num_inference_steps": 2, "strength": 0.5}
    )
    it.finished(edited)
    by_id = it.client.post(
        "/videos/edits",
        body={"prompt": "a blue ball", "video": {"id": it.video.id}, "num_inference_steps": 2},
        cast_to=object,
    )
    it.client.videos.delete(by_id["id"])


def extend(it):
    video = it.client.videos.extend(
        prompt="it rolls on", video=it.clip, seconds="1", extra_body={"num_inference_steps": 1}
    )
    assert it.finished(video).frames == it.video.frames + 8


def create_character(it):
    fault = refuses(
        openai.BadRequestError,
        lambda: it.client.videos.create_character(name="Ada", video=it.clip),
    )
    assert fault.param == "model"


def get_character(it):
    refuses(openai.NotFoundError, lambda: it.client.videos.get_character("char_none"))


def asynchronous(it):
    async def make():
        async with openai.AsyncOpenAI(base_url=ADDRESS, api_key=KEYS["ordinary"]) as client:
            video = await client.videos.create_and_poll(
                prompt="a red ball", poll_interval_ms=POLL_MS, **SMALL, extra_body=QUICK
            )
            content = await client.videos.download_content(video.id)
            seen = [each.id async for each in client.videos.list(limit=1)]
            async with client.videos.with_streaming_response.download_content(video.id) as stream:
                streamed = b"".join([part async for part in stream.iter_bytes()])
            await client.videos.delete(video.id)
            return video, await content.aread(), seen, streamed

    video, clip, seen, streamed = asyncio.run(make())
    assert video.status == "completed" and clip[4:8] == b"ftyp"
    assert video.id in seen and it.video.id in seen
    assert clip == streamed


def images_generate(it):
    made = it.client.images.generate(
        prompt="a red ball",
        size="64x64",
        n=2,
        response_format="b64_json",
        extra_body={"num_inference_steps": 1},
    )
    sizes = [Image.open(io.BytesIO(base64.b64decode(each.b64_json))).size for each in made.data]
    assert sizes == [(64, 64)] * 2


def images_edit(it):
    made = it.client.images.edit(
        image=("a.png", picture()), prompt="a blue ball", extra_body={"num_inference_steps": 2}
    )
    assert Image.open(io.BytesIO(base64.b64decode(made.data[0].b64_json))).size == (64, 64)


TRIED = {
    "videos.create": create_json,
    "videos.create (reference)": create_multipart,
    "videos.create_and_poll": create_and_poll,
    "videos.poll": poll,
    "videos.retrieve": retrieve,
    "videos.list": list_pages,
    "videos.delete": delete,
    "videos.download_content": download_video,
    "videos.download_content (thumbnail)": download_thumbnail,
    "videos.download_content (spritesheet)": download_spritesheet,
    "videos.download_content (streaming)": download_streaming,
    "videos.download_content (Range)": download_range,
    "videos.remix": remix,
    "videos.edit": edit,
    "videos.extend": extend,
    "videos.create_character": create_character,
    "videos.get_character": get_character,
    "videos (asynchronous)": asynchronous,
    "images.generate": images_generate,
    "images.edit": images_edit,
}
