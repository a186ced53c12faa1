import re
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from worker.encode import EncodeError, mp4_writer, write_still, write_thumbnail

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}


def flat(colour, frames=4, height=48, width=64):
    return np.broadcast_to(np.uint8(colour), (frames, height, width, 3)).copy()


def encode(path, chunks, width=64, height=48, fps=8):
    with mp4_writer(path, width, height, fps) as writer:
        for chunk in chunks:
            writer.write(chunk)


def probe(path):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", path]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


def decode(path, width=64, height=48):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def test_frames_come_back_in_order_with_their_colours(tmp_path):
    path = tmp_path / "clip.mp4"
    encode(path, [flat(colour) for colour in COLOURS.values()])
    frames = decode(path)
    assert len(frames) == 12
    for number, colour in enumerate(COLOURS.values()):
        assert np.abs(frames[4 * number + 2].astype(int) - colour).max() <= 4


def test_the_file_is_h264_high_in_bt709_with_its_index_in_front(tmp_path):
    path = tmp_path / "clip.mp4"
    encode(path, [flat(COLOURS["red"])])
    said = probe(path)
    assert re.search(r"Video: h264 \(High\).*yuv420p\(tv, bt709", said)
    assert "64x48" in said and "8 fps" in said
    boxes = path.read_bytes()
    assert boxes.index(b"moov") < boxes.index(b"mdat")
    assert [path] == list(tmp_path.iterdir())


def test_full_hd_is_exactly_1080_lines(tmp_path):
    path = tmp_path / "clip.mp4"
    encode(path, [flat(COLOURS["blue"], 2, 1080, 1920)], 1920, 1080, 24)
    assert "1920x1080" in probe(path)


def test_one_frame_is_a_clip(tmp_path):
    path = tmp_path / "clip.mp4"
    encode(path, [flat(COLOURS["green"], 1)])
    assert len(decode(path)) == 1


def test_nothing_is_left_when_making_the_frames_fails(tmp_path):
    def failing():
        yield flat(COLOURS["red"])
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        encode(tmp_path / "clip.mp4", failing())
    assert list(tmp_path.iterdir()) == []


def test_a_failing_ffmpeg_is_reported_with_its_last_words(tmp_path):
    with pytest.raises(EncodeError, match="code") as failed:
        encode(tmp_path / "clip.mp4", [flat(COLOURS["red"])] * 50, fps=0)
    assert len(str(failed.value).splitlines()) > 1
    assert list(tmp_path.iterdir()) == []


def test_an_ffmpeg_that_is_killed_does_not_hang_the_writer(tmp_path):
    def frames(writer):
        yield flat(COLOURS["red"])
        writer._ffmpeg.kill()
        yield from [flat(COLOURS["red"])] * 200

    def write():
        with mp4_writer(tmp_path / "clip.mp4", 64, 48, 8) as writer:
            for chunk in frames(writer):
                writer.write(chunk)

    with pytest.raises(EncodeError, match="-9"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 48, 64, 3), np.float32),
        np.zeros((4, 48, 62, 3), np.uint8),
        np.zeros((48, 64, 3), np.uint8),
    ],
)
def test_frames_of_another_shape_are_refused(tmp_path, frames):
    with pytest.raises(EncodeError, match="uint8"):
        encode(tmp_path / "clip.mp4", [frames])


def test_odd_sides_are_refused(tmp_path):
    with pytest.raises(ValueError, match="63x48"):
        encode(tmp_path / "clip.mp4", [], width=63)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_still_is_stored_without_loss(tmp_path, suffix):
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    write_still(tmp_path / f"still.{suffix}", frame)
    with Image.open(tmp_path / f"still.{suffix}") as image:
        assert suffix.upper() == image.format
        assert np.array_equal(frame, np.asarray(image))


def test_a_thumbnail_is_a_small_webp_of_the_same_shape(tmp_path):
    write_thumbnail(tmp_path / "t.webp", flat(COLOURS["red"], 1, 1080, 1920)[0])
    with Image.open(tmp_path / "t.webp") as image:
        assert (image.format, image.size) == ("WEBP", (640, 360))
