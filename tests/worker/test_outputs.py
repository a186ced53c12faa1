import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.contract import outputs
from app.contract.job import JobSpec
from worker.clips import frames_of
from worker.encode import Encoding
from worker.failures import DecodeError
from worker.outputs import picture_clip, write_still
from worker.segments import Segments


@pytest.fixture
def clip(tmp_path):
    """A clip whose frames grow brighter, with its spec."""

    def make(frames, width=64, height=48, fps=8):
        spec = JobSpec(
            model="m", prompt="p", width=width, height=height, frames=frames, fps=fps,
            steps=1, guidance=1.0, seed=0,
        )  # fmt: skip
        encoding = Encoding(width=width, height=height, fps=fps, preset="ultrafast")
        with Segments(tmp_path, encoding) as segments:
            for number in range(frames):
                grey = 20 + number * 200 // frames
                segments.write(np.full((1, height, width, 3), grey, np.uint8))
            segments.finish(tmp_path / "video.mp4")
        picture_clip(tmp_path / "video.mp4", spec)
        return tmp_path

    return make


def test_a_short_clip_shows_every_frame_on_its_sheet(clip):
    folder = clip(10)
    sheet = outputs.sprites(64, 48, 10)
    assert (8, 2, 64, 48, 10) == (
        sheet.columns, sheet.rows, sheet.width, sheet.height, sheet.frames
    )  # fmt: skip
    with Image.open(folder / outputs.SPRITES) as image:
        assert (image.format, image.size) == ("JPEG", (8 * 64, 2 * 48))
        for number in range(10):
            x, y = sheet.place(number)
            assert abs(image.getpixel((x + 32, y + 24))[0] - (20 + number * 20)) < 6


def test_a_long_clip_shows_frames_that_are_evenly_spread(clip):
    folder = clip(200)
    sheet = outputs.sprites(64, 48, 200)
    chosen = outputs.spread(200, sheet.frames)
    assert 64 == sheet.frames == len(set(chosen))
    with Image.open(folder / outputs.SPRITES) as image:
        for number in (0, 1, 31, 63):
            x, y = sheet.place(number)
            assert abs(image.getpixel((x + 32, y + 24))[0] - (20 + chosen[number])) < 6


def test_the_map_gives_each_moment_its_picture(clip):
    text = (clip(10) / outputs.SPRITE_MAP).read_text()
    cues = text.strip().split("\n\n")
    assert cues[0] == "WEBVTT"
    assert cues[1] == "00:00:00.000 --> 00:00:00.125\nspritesheet.jpg#xywh=0,0,64,48"
    assert cues[10] == "00:00:01.125 --> 00:00:01.250\nspritesheet.jpg#xywh=64,48,64,48"
    assert len(cues) == 11


@pytest.mark.parametrize("name", [outputs.PREVIEW_WEBP, outputs.PREVIEW_GIF])
def test_previews_move_for_as_long_as_the_clip_and_for_ever(clip, name):
    with Image.open(clip(9, 640, 320) / name) as image:
        assert image.n_frames == 9
        assert (320, 160) == image.size
        image.load()
        assert image.info["loop"] == 0
        assert abs(image.info["duration"] - 125) <= 10


def test_the_thumbnail_is_the_first_frame_made_small(clip):
    with Image.open(clip(3, 1920, 1080) / outputs.THUMBNAIL) as image:
        assert (image.format, image.size) == ("WEBP", (640, 360))
        assert abs(image.getpixel((300, 200))[0] - 20) < 6


def test_a_clip_is_not_blamed_for_a_reader_that_was_killed(clip):
    frames = frames_of(clip(64) / "video.mp4", 64, 48, 64, "video")
    next(frames)
    me = os.getpid()
    for child in Path(f"/proc/{me}/task/{me}/children").read_text().split():
        if b"rawvideo" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
    with pytest.raises(DecodeError):
        list(frames)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_still_is_stored_without_loss(tmp_path, suffix):
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    write_still(tmp_path / f"still.{suffix}", frame)
    with Image.open(tmp_path / f"still.{suffix}") as image:
        assert suffix.upper() == image.format
        assert np.array_equal(frame, np.asarray(image))


def test_a_jpeg_still_looks_the_same(tmp_path):
    frame = np.broadcast_to(np.uint8((200, 90, 30)), (20, 30, 3))
    write_still(tmp_path / "still.jpeg", frame)
    with Image.open(tmp_path / "still.jpeg") as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - frame).max() <= 3
