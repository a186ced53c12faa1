"""The `kinora` command, run as a user runs it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image

from app.client import Client
from app.parts import Parts

ROOT = Path(__file__).parents[2]


def command(*arguments, **environment):
    variables = {k: v for k, v in os.environ.items() if not k.startswith("KINORA_")} | environment
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", *map(str, arguments)],
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(*arguments, **environment):
    """Exit code, stdout, stderr."""
    process = command(*arguments, **environment)
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, out.decode(), err.decode()


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def api(tmp_path_factory, settings_in, capabilities):
    """The API's own process on a free port, with a model on offer; gives (address, parts)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = replace(settings_in(tmp_path_factory.mktemp("api")), port=port)
    process = subprocess.Popen(
        [sys.executable, "-m", "app.main"], cwd=ROOT, env=os.environ | settings.to_env()
    )
    parts = Parts.open(settings)
    parts.store.models.register("worker-1", capabilities)
    address = f"http://127.0.0.1:{port}"
    try:
        with Client.of(address) as client:
            until(lambda: client.is_alive() or process.poll() is not None)
        yield address, parts
    finally:
        parts.close()
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_help_needs_neither_torch_nor_the_web_server():
    program = (
        "import sys, app.cli; "
        "print({'torch', 'fastapi', 'celery', 'sqlalchemy', 'PIL', 'httpx'} & set(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True
    )
    assert told.stdout.decode().strip() == "set()"
    code, out, _ = run("--help")
    assert code == 0
    for name in ("serve", "api", "worker", "courier", "generate", "list", "demo", "keys", "doctor"):
        assert f"  {name} " in out


def test_a_key_is_made_listed_and_revoked(tmp_path):
    code, secret, told = run("keys", "create", "me", "--data", tmp_path)
    assert code == 0
    assert secret.startswith("kinora-")
    key_id = told.splitlines()[-1].split("\t")[0]
    listed = run("keys", "list", "--data", tmp_path)[1]
    assert key_id in listed
    assert listed.strip().endswith("valid")
    assert secret.strip() not in listed
    assert run("keys", "revoke", key_id, "--data", tmp_path)[0] == 0
    assert run("keys", "list", "--data", tmp_path)[1].strip().endswith("revoked")
    code, _, said = run("keys", "revoke", key_id, "--data", tmp_path)
    assert code == 2
    assert key_id in said


def test_a_key_is_made_for_a_tenant_with_scopes_and_limits(tmp_path):
    data = ("--data", tmp_path)
    bounds = ["--tenant", "films", "--scope", "videos", "--scope", "models:read", "--rpm", "30"]
    assert run("keys", "create", "me", *bounds, "--storage-mb", "5", *data)[0] == 0
    listed = run("keys", "list", *data)[1]
    assert "\tfilms\tmodels:read,videos\trpm=30,storage_bytes=5000000\tvalid" in listed
    for wrong in (["--scope", "planets"], ["--rpm", "0"]):
        code, _, said = run("keys", "create", "me", *wrong, *data)
        assert (code, "Traceback" in said) == (2, False)


def test_a_bad_setting_is_one_sentence_that_names_it(tmp_path):
    code, _, said = run("keys", "list", "--data", tmp_path, KINORA_PORT="many")
    assert code == 2
    assert said.splitlines()[-1].startswith("kinora: KINORA_PORT is 'many'")
    assert "Traceback" not in said


def test_generate_stores_the_finished_video(api, finish, tmp_path):
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


def test_generate_makes_several_and_numbers_their_files(api, finish, tmp_path):
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


def test_generate_writes_to_a_pipe(api, finish):
    address, parts = api
    process = command("generate", "a red cube", "--server", address, "-o", "-")
    job = until(lambda: parts.store.list().jobs)[0]
    finish(parts, job.id, b"\x00\xffvideo")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"\x00\xffvideo"), err.decode()
    parts.store.delete(job.id)


def test_generate_sends_a_picture(api, finish, tmp_path, png):
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
    api, tmp_path, image, size, kind, options, expected
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


def test_generate_sends_a_video(api, capabilities, tmp_path):
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


def test_generate_says_why_a_job_failed(api, tmp_path):
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


def test_an_interrupted_generate_cancels_its_job(api, tmp_path):
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
    ],
)
def test_a_refused_generate_says_what_to_change(api, tmp_path, arguments, said):
    address, parts = api
    given = arguments if "-o" in arguments else [*arguments, "-o", tmp_path / "out.mp4"]
    code, _, err = run("generate", *given, "--server", address)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert parts.store.list().jobs == []


def test_videos_are_listed_shown_watched_downloaded_cancelled_and_deleted(api, finish, tmp_path):
    address, parts = api
    server = ("--server", address)
    with Client.of(address) as client:
        done = client.create({"prompt": "a red\ncube"})
        finish(parts, done["id"], b"the video")
        waiting = client.create({"prompt": "a blue ball"})
    code, listed, _ = run("list", *server)
    assert code == 0
    assert listed.splitlines() == [
        f"{waiting['id']}\tqueued\t0 %\t64x64\ta blue ball",
        f"{done['id']}\tcompleted\t100 %\t64x64\ta red cube",
    ]
    assert json.loads(run("show", done["id"], *server)[1])["status"] == "completed"
    assert run("watch", done["id"], *server)[0] == 0
    target = tmp_path / "video.mp4"
    assert run("download", done["id"], "-o", target, *server)[0] == 0
    assert target.read_bytes() == b"the video"
    code, _, said = run("download", waiting["id"], "-o", tmp_path / "none.mp4", *server)
    assert (code, "queued" in said) == (2, True)
    assert not (tmp_path / "none.mp4").exists()
    assert "cancelled" in run("cancel", waiting["id"], *server)[1]
    assert run("watch", waiting["id"], *server)[0] == 1
    for video in (done, waiting):
        assert run("delete", video["id"], *server)[0] == 0
    assert run("list", *server)[1] == ""
    code, _, said = run("show", "video_none", *server)
    assert (code, "no video" in said) == (2, True)


def test_generate_without_the_named_server_says_so(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        code, _, err = run("generate", "x", "--server", address, "-o", tmp_path / "out.mp4")
    assert code == 3
    assert address in err


def test_the_api_does_not_start_on_a_taken_port(api):
    address, parts = api
    port = address.rpartition(":")[2]
    code, _, err = run("api", "--port", port, **parts.settings.to_env())
    assert code == 2
    assert f"port {port}" in err
    assert "Traceback" not in err


def test_the_api_does_not_open_itself_to_the_network_without_a_key(settings):
    code, _, err = run("api", "--host", "0.0.0.0", **settings.to_env())
    assert code == 2
    assert "kinora keys create" in err


def test_the_doctor_finds_what_is_wrong_and_says_how_to_mend_it(settings, tmp_path):
    dead = replace(settings, redis_url=f"unix://{tmp_path}/none.sock", port=1)
    broken = tmp_path / "checkpoint"
    (broken / "vae").mkdir(parents=True)
    (broken / "model_index.json").write_text("{}")
    code, out, err = run("doctor", "--checkpoint", broken, **dead.to_env())
    assert code == 1, err
    lines = dict.fromkeys(line[:4] for line in out.splitlines())
    assert "FAIL" in lines
    assert "ok  " in lines
    for wrong in ("redis: ", "checkpoint checkpoint: ", "to mend"):
        assert wrong in out
    assert "ok   ffmpeg" in out
    assert "ok   database" in out
    assert "KINORA_REDIS_URL" in out
    assert "Traceback" not in err
