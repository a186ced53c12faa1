import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import imageio_ffmpeg
import numpy as np
import pytest

from worker.encode import EncodeError, Encoding, encode, fragments, join, split

COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}
SMALL = Encoding(width=64, height=48, fps=8)


def flat(colour, frames=4, height=48, width=64):
    return np.broadcast_to(np.uint8(colour), (frames, height, width, 3)).copy()


def clip(folder, *segments, encoding=SMALL):
    """An MP4 of segments that are lists of chunks."""
    paths, first = [], 0
    for index, chunks in enumerate(segments):
        fragment = encode(chunks, encoding, folder).at(first, index)
        paths.append(folder / f"{index}.m4s")
        paths[-1].write_bytes(fragment.media)
        first += fragment.frames
    join(fragment.header, paths, encoding.fps, folder / "clip.mp4")
    return folder / "clip.mp4"


def ffmpeg(*arguments):
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", *arguments]
    return subprocess.run(command, capture_output=True, check=False)


def said_of(path):
    return ffmpeg("-i", path).stderr.decode()


def decode(path, width=64, height=48):
    data = ffmpeg("-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-").stdout
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def times(path):
    """When each packet is to be decoded and shown, in thousandths of a frame."""
    lines = ffmpeg("-v", "error", "-i", path, "-c", "copy", "-f", "framecrc", "-").stdout.decode()
    rows = [line.split(",") for line in lines.splitlines() if line.startswith("0,")]
    return [int(row[1]) for row in rows], sorted(int(row[2]) for row in rows)


def test_frames_come_back_in_order_with_their_colours(tmp_path):
    path = clip(tmp_path, *([flat(colour, 2), flat(colour, 2)] for colour in COLOURS.values()))
    frames = decode(path)
    assert len(frames) == 12
    for number, colour in enumerate(COLOURS.values()):
        assert np.abs(frames[4 * number + 2].astype(int) - colour).max() <= 4


def test_the_file_is_h264_high_in_bt709_with_its_index_in_front(tmp_path):
    path = clip(tmp_path, [flat(COLOURS["red"])])
    said = said_of(path)
    assert re.search(r"Video: h264 \(High\).*yuv420p\(tv, bt709", said)
    assert "64x48" in said and "8 fps" in said
    boxes = path.read_bytes()
    assert boxes.index(b"moov") < boxes.index(b"mdat")
    assert {tmp_path / "0.m4s", path} == set(tmp_path.iterdir())


def test_full_hd_is_exactly_1080_lines(tmp_path):
    full_hd = Encoding(width=1920, height=1080, fps=24)
    path = clip(tmp_path, [flat(COLOURS["blue"], 2, 1080, 1920)], encoding=full_hd)
    assert "1920x1080" in said_of(path)
    assert full_hd.segment_frames * 1920 * 1080 * 3 <= 128 * 2**20


@pytest.mark.parametrize("fps", [7, 24, 30])
def test_joined_segments_play_at_an_even_pace(tmp_path, fps):
    noise = np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3), np.uint8)
    path = clip(tmp_path, [noise], [noise[:4]], [noise[:1]], encoding=Encoding(
        width=64, height=48, fps=fps
    ))  # fmt: skip
    decoded, shown = times(path)
    assert [1000 * n for n in range(14)] == shown
    assert [1000 * n + decoded[0] for n in range(14)] == decoded
    assert f"{fps} fps" in said_of(path)


def test_the_parts_of_a_clip_are_its_own(tmp_path):
    path = clip(tmp_path, [flat(COLOURS["red"])], [flat(COLOURS["blue"], 3)])
    made = [encode([flat(COLOURS["red"])], SMALL, tmp_path)]
    made.append(encode([flat(COLOURS["blue"], 3)], SMALL, tmp_path).at(4, 1))
    parts = split(path, 8, tmp_path)
    assert [part.media[part.media.index(b"mdat") :] for part in made] == [
        part.media[part.media.index(b"mdat") :] for part in parts
    ]
    assert [4, 3] == [part.frames for part in parts]
    assert {made[0].codec} == {part.codec for part in parts}


def test_other_settings_have_another_codec(tmp_path):
    slow = Encoding(width=64, height=48, fps=8, preset="slow")
    frames = [flat(COLOURS["red"])]
    assert encode(frames, SMALL, tmp_path).codec != encode(frames, slow, tmp_path).codec


def test_a_failing_ffmpeg_is_reported_with_its_last_words(tmp_path):
    with pytest.raises(EncodeError, match="code") as failed:
        encode([flat(COLOURS["red"])] * 50, Encoding(width=64, height=48, fps=0), tmp_path)
    assert len(str(failed.value).splitlines()) > 1
    assert list(tmp_path.iterdir()) == []


def test_an_ffmpeg_that_does_not_read_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.encode.TIMEOUT_S", 0.5)
    monkeypatch.setattr("worker.encode._command", lambda *_: ["sleep", "600"])
    with pytest.raises(EncodeError, match="code -9"):
        encode([flat(COLOURS["red"])] * 50, SMALL, tmp_path)


def test_a_file_that_is_not_made_of_fragments_is_refused(tmp_path):
    with pytest.raises(EncodeError, match="fragments"):
        fragments(clip(tmp_path, [flat(COLOURS["red"])]))


def test_odd_sides_are_refused():
    with pytest.raises(ValueError, match="63x48"):
        Encoding(width=63, height=48, fps=8)


def test_the_same_frames_give_the_same_bytes_on_a_busy_machine(tmp_path):
    noise = np.random.default_rng(0).normal(size=(12, 24, 24, 3))
    frames = (128 + 40 * noise.repeat(8, 1).repeat(8, 2)).clip(0, 255).astype(np.uint8)
    encoding = Encoding(width=192, height=192, fps=6)

    def encoded(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        return encode([frames], encoding, folder).media

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(encoded, range(160)))) == 1
