import numpy as np
import pytest

from worker.encode import EncodeError, Encoding, split
from worker.segments import Segments

ENCODING = Encoding(width=64, height=48, fps=6, preset="ultrafast")  # 12 frames in a segment


@pytest.fixture
def frames():
    y, x = np.mgrid[:48, :64]
    moving = [np.stack([x * 3 + 5 * i, y * 2 + 3 * i, x + y], -1) % 256 for i in range(30)]
    return np.stack(moving).astype(np.uint8)


@pytest.fixture
def start(tmp_path):
    """Opens segments in a folder of their own."""
    opened = []

    def start(encoding=ENCODING):
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(Segments(folder, encoding))
        return opened[-1]

    yield start
    for segments in opened:
        segments.__exit__()


def write(segments, frames, chunk=4):
    for place in range(0, len(frames), chunk):
        segments.write(frames[place : place + chunk])


def finished(segments, tmp_path):
    path = tmp_path / "clip.mp4"
    segments.finish(path)
    return path.read_bytes()


def test_the_file_does_not_depend_on_the_chunks(start, frames, tmp_path):
    files = set()
    for chunk in (1, 4, 30):
        segments = start()
        write(segments, frames, chunk)
        files.add(finished(segments, tmp_path))
        assert [12, 12, 6] == segments.lengths
    assert len(files) == 1


@pytest.mark.parametrize("done", [0, 8, 12, 20, 28])
def test_a_clip_gone_on_with_elsewhere_is_the_same_to_the_bit(start, frames, tmp_path, done):
    whole = start()
    write(whole, frames)
    first, second = start(), start()
    write(first, frames[:done])
    pending = first.pending()
    assert done == first.written
    for index in range(len(first.lengths)):
        second.path(index).write_bytes(first.path(index).read_bytes())
        second.header_path.write_bytes(first.header_path.read_bytes())
    second.adopt(list(first.lengths), pending)
    write(second, frames[done:])
    assert finished(whole, tmp_path) == finished(second, tmp_path)


def test_segments_of_other_settings_are_not_gone_on_with(start, frames):
    first, second = start(), start(Encoding(width=64, height=48, fps=6, preset="slow"))
    write(first, frames)
    first.flush()
    second.header_path.write_bytes(first.header_path.read_bytes())
    with pytest.raises(EncodeError, match="other settings"):
        second.adopt([12, 12, 6], frames[:0])


def test_segments_of_another_ffmpeg_are_not_gone_on_with(start, frames):
    first, second = start(), start()
    write(first, frames)
    first.flush()
    header = first.header_path.read_bytes()
    at = header.index(b"Lavf") + 4
    second.header_path.write_bytes(header[:at] + b"1" + header[at + 1 :])
    with pytest.raises(EncodeError, match="another ffmpeg"):
        second.adopt([12, 12, 6], frames[:0])


def test_another_clip_is_taken_as_it_is(start, frames, tmp_path):
    first, second = start(), start()
    write(first, frames)
    data = finished(first, tmp_path)
    parts = split(tmp_path / "clip.mp4", 6, tmp_path)
    assert second.take(parts)
    assert data == finished(second, tmp_path)
    assert not start(Encoding(width=64, height=48, fps=6, crf=30, preset="slow")).take(parts)


def test_every_new_file_is_announced(start, frames):
    segments, seen = start(), []
    segments.finished = lambda: seen.append(list(segments.lengths))
    write(segments, frames)
    segments.flush()
    assert [[12], [12, 12], [12, 12, 6]] == seen


def test_a_killed_ffmpeg_is_started_again(start, frames, tmp_path, monkeypatch):
    import imageio_ffmpeg

    whole, segments = start(), start()
    write(whole, frames)
    expected = finished(whole, tmp_path)
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"""#!/bin/sh
        if mkdir {tmp_path}/killed 2>/dev/null; then kill -9 $$; fi
        exec {imageio_ffmpeg.get_ffmpeg_exe()} "$@"
        """
    )
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    write(segments, frames)
    assert expected == finished(segments, tmp_path)
    assert (tmp_path / "killed").exists()


def test_an_ffmpeg_that_always_fails_is_reported(start, frames, tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho no such encoder >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    segments = start()
    write(segments, frames[:12])
    with pytest.raises(EncodeError, match="code 3\nno such encoder"):
        finished(segments, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 48, 64, 3), np.float32),
        np.zeros((4, 48, 62, 3), np.uint8),
        np.zeros((48, 64, 3), np.uint8),
    ],
)
def test_frames_of_another_shape_are_refused(start, wrong):
    with pytest.raises(EncodeError, match="uint8"):
        start().write(wrong)
