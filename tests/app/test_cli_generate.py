"""`kinora generate`, run as a user runs it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image

from app import framing
from app.contract import outputs


def test_generate_stores_the_finished_video(api, finish, tmp_path, command, until):
    address, parts = api
    target = tmp_path / "out.mp4"
    process = command(
        "generate",
        "a red cube",
        "--server",
        address,
        "-o",
        target,
        "--json",
        "--seconds",
        "1",
        "--seed",
        "7",
    )
    job = until(lambda: parts.store.list().jobs)[0]
    finish(parts, job.id, b"the video")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert target.read_bytes() == b"the video"
    assert list(tmp_path.iterdir()) == [target]
    video = json.loads(out)
    assert (video["id"], video["status"], video["seed"]) == (job.id, "completed", 7)
    assert "waiting for a worker" in err.decode()
    parts.store.delete(job.id)


def test_generate_makes_several_and_numbers_their_files(api, finish, tmp_path, command, until):
    address, parts = api
    given = ["--n", "2", "--seed", "7", "--server", address, "-o", tmp_path / "out.mp4"]
    process = command("generate", "a red cube", *given)
    jobs = until(lambda: found if len(found := parts.store.list().jobs) == 2 else None)
    for number, job in enumerate(reversed(jobs), 1):
        finish(parts, job.id, f"video {number}".encode())
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert {7: b"video 1", 8: b"video 2"} == {
        job.spec.seed: (tmp_path / f"out-{number}.mp4").read_bytes()
        for number, job in enumerate(reversed(jobs), 1)
    }
    for job in jobs:
        parts.store.delete(job.id)


def test_a_preview_gets_the_suffix_of_its_format(api, finish, tmp_path, until):
    address, parts = api
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "generate", "x", "--format", "gif", "--server", address],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    job = until(lambda: parts.store.list().jobs)[0]
    key = finish(parts, job.id).output_key
    parts.blobs.put(outputs.beside(key, outputs.PREVIEW_GIF), b"GIF89a", "image/gif")
    assert process.wait(60) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["video.gif"]
    parts.store.delete(job.id)


def test_generate_writes_to_a_pipe(api, finish, command, until):
    address, parts = api
    process = command("generate", "a red cube", "--server", address, "-o", "-")
    job = until(lambda: parts.store.list().jobs)[0]
    finish(parts, job.id, b"\x00\xffvideo")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"\x00\xffvideo"), err.decode()
    parts.store.delete(job.id)


def test_generate_sends_a_picture(api, finish, tmp_path, png, command, until):
    address, parts = api
    picture = tmp_path / "first.png"
    picture.write_bytes(png)
    process = command("generate", "x", "--image", picture, "--server", address, "-o", "-")
    job = until(lambda: parts.store.list().jobs)[0]
    assert job.spec.image is not None
    finish(parts, job.id)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert stored_size(parts, job) == (64, 64)
    parts.store.delete(job.id)


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (0, 0, 0, 0)), ("I;16", 32768)])
def test_how_a_picture_becomes_plain_is_the_servers_to_say(tmp_path, mode, colour):
    path = tmp_path / "picture.png"
    Image.new(mode, (80, 60), colour).save(path)
    with Image.open(io.BytesIO(framing.cover(framing.open_upright(path), (64, 64)))) as picture:
        assert (picture.mode, picture.getpixel((5, 5))) == (mode, colour)


def stored_size(parts, job):
    with Image.open(io.BytesIO(parts.blobs.get(job.spec.image))) as picture:
        return picture.size


@pytest.mark.parametrize(
    ("size", "kind", "options", "expected"),
    [
        ((500, 480), "JPEG", [], (64, 64)),
        ((1280, 721), "BMP", [], (1920, 1080)),
        ((100, 300), "GIF", ["--size", "96x64"], (96, 64)),
        ((97, 65), "PNG", ["--size", "64x64"], (64, 64)),
    ],
)
def test_generate_fits_any_picture_to_the_video(
    api, tmp_path, image, size, kind, options, expected, command, until
):
    address, parts = api
    picture = tmp_path / "picture"
    picture.write_bytes(image(kind, size, "L"))
    process = command("generate", "x", "--image", picture, *options, "--server", address, "-o", "-")
    job = until(lambda: parts.store.list().jobs)[0]
    assert (job.spec.width, job.spec.height) == stored_size(parts, job) == expected
    parts.store.cancel(job.id)
    _, err = process.communicate(timeout=60)
    width, height = size
    assert f"{width}x{height}, fitted to {expected[0]}x{expected[1]}" in err.decode()
    parts.store.delete(job.id)


def test_generate_sends_a_video(api, capabilities, tmp_path, command, until):
    address, parts = api
    parts.store.models.register(
        "worker-2", replace(capabilities, model_id="editor", modes=("edit",))
    )
    clip = tmp_path / "clip.mp4"
    source = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=8", "-frames:v", "6"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, clip], check=True)
    options = ["--model", "editor", "--strength", "0.5", "--seed", "3", "--server", address]
    process = command("generate", "x", "--video", clip, *options, "-o", "-")
    job = until(lambda: parts.store.list().jobs)[0]
    spec = job.spec
    assert (spec.width, spec.height, spec.frames, spec.fps) == (96, 64, 5, 8)
    assert (spec.strength, spec.seed, spec.video is None) == (0.5, 3, False)
    parts.store.cancel(job.id)
    process.communicate(timeout=60)
    parts.store.delete(job.id)


def test_generate_says_why_a_job_failed(api, tmp_path, command, until):
    address, parts = api
    process = command("generate", "x", "--server", address, "-o", tmp_path / "out.mp4")
    job = until(lambda: parts.store.list().jobs)[0]
    claimed = parts.store.claim("tiny", "worker-1", 60)
    parts.store.fail(job.id, claimed.attempt, "out_of_memory", "The GPU is full.")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "out_of_memory" in err.decode()
    assert list(tmp_path.iterdir()) == []
    parts.store.delete(job.id)


def test_an_interrupted_generate_cancels_its_job(api, tmp_path, command):
    address, parts = api
    process = command("generate", "x", "--server", address, "-o", tmp_path / "out.mp4")
    with process:
        try:
            assert any(b"waiting for a worker" in line for line in process.stderr)
            (job,) = parts.store.list().jobs
            process.send_signal(signal.SIGINT)
            process.wait(60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert parts.store.get(job.id).error_code == "cancelled"
    parts.store.delete(job.id)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x", "--size", "7x7"], "7x7"),
        (["x", "--model", "wan-99"], "wan-99"),
        (["", "-o", "y.mp4"], "prompt"),
        (["x", "--image", "/nowhere/a.png"], "/nowhere/a.png"),
        (["x", "--image", __file__], "not a picture"),
        (["x", "--video", "/nowhere/a.mp4"], "/nowhere/a.mp4"),
        (["x", "--video", __file__], "cannot edit"),
        (["x", "--video", __file__, "--size", "64x64"], "--size"),
        (["x", "--strength", "0.5"], "--video"),
        (["x", "--json", "-o", "-"], "--json"),
        (["x", "--n", "2", "-o", "-"], "--n"),
        (["x", "--remix", "video_none"], "no video"),
        (["x", "--seconds", "nan"], "--seconds"),
        (["x", "--key", "schlüssel"], "ASCII"),
        (["x", "-o", "/nowhere/out.mp4"], "/nowhere"),
        (["x", "-o", "/tmp"], "/tmp is a folder"),
    ],
)
def test_a_refused_generate_says_what_to_change(api, tmp_path, arguments, said, run):
    address, parts = api
    given = arguments if "-o" in arguments else [*arguments, "-o", tmp_path / "out.mp4"]
    code, _, err = run("generate", *given, "--server", address)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert parts.store.list().jobs == []


def test_a_video_that_cannot_be_stored_costs_no_other_and_is_named(
    api, finish, tmp_path, command, until
):
    address, parts = api
    given = ["--n", "2", "--seed", "7", "--server", address, "-o", tmp_path / "out.mp4"]
    process = command("generate", "a red cube", *given)
    jobs = until(lambda: found if len(found := parts.store.list().jobs) == 2 else None)
    (tmp_path / "out-1.mp4").mkdir()
    for job in reversed(jobs):
        finish(parts, job.id, b"the video")
    _, err = process.communicate(timeout=60)
    first, second = sorted(jobs, key=lambda job: job.spec.seed)
    assert process.returncode == 2
    assert f"kinora download {first.id}" in err.decode()
    assert (tmp_path / "out-2.mp4").read_bytes() == b"the video", second.id
    for job in jobs:
        parts.store.delete(job.id)


def test_an_address_that_is_none_is_named(tmp_path, run):
    code, _, err = run("list", "--server", "http://localhost:80a")
    assert (code, "Traceback" in err, "http://localhost:80a" in err) == (2, False, True)


def test_generate_without_the_named_server_says_so(tmp_path, run):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        code, _, err = run("generate", "x", "--server", address, "-o", tmp_path / "out.mp4")
    assert code == 3
    assert address in err
