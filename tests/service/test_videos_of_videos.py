"""Extensions, blends, loops and streams on the whole service: what is really in the files."""

import subprocess
from pathlib import Path

import httpx
import imageio_ffmpeg
import numpy as np
import pytest

pytestmark = pytest.mark.service

TINY = Path(__file__).parents[2] / "model/weights/kinora-tiny"
SIZE = (64, 64)
QUICK = {"num_inference_steps": 1, "size": "64x64"}


@pytest.fixture(scope="module")
def api(running, tmp_path_factory):
    """A client of a running service with kinora-tiny."""
    with (
        running(tmp_path_factory.mktemp("data"), TINY) as address,
        httpx.Client(base_url=f"{address}/v1", timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def source(api):
    return made(api, "/videos", seconds=0.5, **QUICK)


def made(api, url, **fields):
    """The finished video, read to the end of its event stream."""
    answer = api.post(url, json={"prompt": "a red ball moves right"} | fields)
    assert answer.status_code == 200, answer.text
    video_id = answer.json()["id"]
    with api.stream("GET", f"/videos/{video_id}/events") as events:
        events.read()
    video = api.get(f"/videos/{video_id}").json()
    assert video["status"] == "completed", video["error"]
    return video


def frames_of(data, tmp_path):
    """The frames of a video file, uint8 [f, h, w, 3]."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "rawvideo"]
    run = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    width, height = SIZE
    return np.frombuffer(run.stdout, np.uint8).reshape(-1, height, width, 3)


def download(api, video, tmp_path):
    return frames_of(api.get(f"/videos/{video['id']}/content").content, tmp_path)


def alike(ours, theirs):
    """The same pictures, though compressed once more."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours.astype(int) - theirs.astype(int)).mean()) < 4


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"direction": "forward"}, slice(0, 9)),
        ({"direction": "backward"}, slice(-9, None)),
        ({"loop": True}, slice(0, 9)),
    ],
)
def test_an_extension_has_its_sources_own_frames(api, source, tmp_path, fields, kept):
    longer = made(
        api,
        "/videos/extensions",
        video={"id": source["id"]},
        seconds=0.5,
        num_inference_steps=1,
        **fields,
    )
    frames = download(api, longer, tmp_path)
    assert len(frames) == longer["frames"] > source["frames"] == 9
    assert alike(frames[kept], download(api, source, tmp_path))


def test_a_blend_begins_with_the_first_and_ends_with_the_last(api, source, tmp_path):
    other = made(api, "/videos", seconds=0.3, style="sketch", **QUICK)
    blend = made(
        api,
        "/videos/blends",
        from_video={"id": source["id"]},
        to_video={"id": other["id"]},
        seconds=0.5,
        num_inference_steps=1,
    )
    frames = download(api, blend, tmp_path)
    assert len(frames) == blend["frames"] == 9 + 8 + other["frames"]
    assert alike(frames[:9], download(api, source, tmp_path))
    assert alike(frames[17:], download(api, other, tmp_path))


def test_a_stream_has_the_frames_of_the_file(api, source, tmp_path):
    url = f"/videos/{source['id']}"
    playlist = api.get(f"{url}/stream.m3u8").text.splitlines()
    assert playlist[-1] == "#EXT-X-ENDLIST"
    names = ["stream/init.mp4", *(line for line in playlist if line[:1] != "#")]
    streamed = b"".join(api.get(f"{url}/{name}").content for name in names)
    assert np.array_equal(frames_of(streamed, tmp_path), download(api, source, tmp_path))


def test_a_storyboard_and_a_still_are_made_at_once(api):
    shots = [{"prompt": "a red ball", "seconds": 0.5}, {"prompt": "a blue star", "seconds": 0.5}]
    board = made(api, "/videos", storyboard=shots, **QUICK)
    assert [shot["prompt"] for shot in board["storyboard"]] == ["a red ball", "a blue star"]
    still = api.post("/images/generations", json={"prompt": "a green heart", **QUICK})
    assert still.status_code == 200, still.text
    assert still.json()["data"][0]["b64_json"]
