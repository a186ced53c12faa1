"""The real application over a SQLite file, a blob folder and a real Redis-compatible server."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import imageio_ffmpeg
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from app.client import Client
from app.contract.job import Output, output_key
from app.contract.settings import Settings
from app.main import create_app, listen
from app.parts import Parts

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


@pytest.fixture(scope="session")
def settings_in(redis_url, migrated):
    def settings_in(folder, **changes):
        (folder / "kinora.db").write_bytes(migrated)
        limits = {"max_body_bytes": 2**20, "max_prompt_chars": 100}
        return Settings(data=folder, redis_url=redis_url, **(limits | changes))

    return settings_in


@pytest.fixture
def settings(tmp_path, settings_in):
    return settings_in(tmp_path)


@pytest.fixture(scope="module")
def lasting_client(tmp_path_factory, settings_in, capabilities):
    """As `client`, shared by the tests of a module that leave nothing behind."""
    with started(settings_in(tmp_path_factory.mktemp("data"))) as client:
        client.parts.store.models.register("worker-1", capabilities)
        yield client


@pytest.fixture
def client(settings, capabilities):
    """A client on this machine, with one model registered by a living worker."""
    with started(settings) as client:
        client.parts.store.models.register("worker-1", capabilities)
        yield client


@pytest.fixture
def serve():
    return started


@contextmanager
def started(settings, host="127.0.0.1", *, raises=True):
    """A client at `host` of an application with these settings; its parts are on the client."""
    app = create_app(settings)
    with TestClient(app, "http://127.0.0.1", raises, client=(host, 50000)) as client:
        client.parts = app.state.parts
        yield client


@pytest.fixture
def server(settings, capabilities):
    """The application behind a real HTTP server; its address and its parts."""
    bound = listen("127.0.0.1", 0)
    app = create_app(settings, lambda: http.should_exit)
    http = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
    thread = threading.Thread(target=http.run, kwargs={"sockets": [bound]})
    thread.start()
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=30, transport=patient()) as client:
            client.get("/healthz")
            parts = app.state.parts
            parts.store.models.register("worker-1", capabilities)
            yield SimpleNamespace(client=client, parts=parts, stop=http.handle_exit)
    finally:
        http.should_exit = True
        thread.join()
        bound.close()


def patient():
    """Tries again to connect, as the socket listens only when the server has started."""
    return httpx.HTTPTransport(retries=10)


@pytest.fixture
def finish():
    """Takes a queued job through a worker's moves to the end, with these bytes as its video."""

    def finish(parts, job_id, data=b"0123456789"):
        job = parts.store.claim("tiny", "worker-1", 60)
        assert job.id == job_id
        key = output_key(job.id, job.attempt, "video.mp4")
        parts.blobs.put(key, data, "video/mp4")
        return parts.store.complete(job.id, job.attempt, Output(key=key, size_bytes=len(data)))

    return finish


@pytest.fixture
def png():
    return make_image("PNG")


@pytest.fixture(scope="session")
def make_video():
    """Writes a small video with ffmpeg's test picture; returns its bytes."""

    def make_video(path, *, size="96x64", rate="8", frames=11, options=()):
        source = f"testsrc2=size={size}:rate={rate}"
        command = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", source, "-frames:v", str(frames)]
        subprocess.run([*command, "-pix_fmt", "yuv420p", *options, "-y", str(path)], check=True)
        return path.read_bytes()

    return make_video


def make_image(kind, size=(64, 64), mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size, "red").save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def image():
    return make_image


# For the tests of the commands.

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def command():
    """Starts `kinora` with these arguments; gives its process."""

    def command(*arguments, **environment):
        variables = {
            k: v for k, v in os.environ.items() if not k.startswith("KINORA_")
        } | environment
        return subprocess.Popen(
            [sys.executable, "-m", "app.cli", *map(str, arguments)],
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return command


@pytest.fixture(scope="session")
def run(command):
    """Runs `kinora` to its end."""

    def run(*arguments, **environment):
        """Exit code, stdout, stderr."""
        process = command(*arguments, **environment)
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.fixture(scope="session")
def until():
    """Waits for a condition to hold; gives what it was."""

    def until(condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return value

    return until


@pytest.fixture(scope="session")
def start_api(until):
    """Runs the API's own process for the time of the `with`; gives its address."""

    @contextmanager
    def start_api(settings):
        process = subprocess.Popen(
            [sys.executable, "-m", "app.main"], cwd=ROOT, env=os.environ | settings.to_env()
        )
        address = f"http://127.0.0.1:{settings.port}"
        try:
            with Client.of(address) as client:
                until(lambda: client.is_alive() or process.poll() is not None)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    return start_api


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def reachable(tmp_path_factory, settings_in, capabilities):
    """Settings of an API on a free port, and its parts with a model on offer."""
    settings = replace(settings_in(tmp_path_factory.mktemp("api")), port=free_port())
    parts = Parts.open(settings)
    parts.store.models.register("worker-1", capabilities)
    yield settings, parts
    parts.close()


@pytest.fixture(scope="module")
def api(reachable, start_api):
    """The API's own process on a free port, with a model on offer; gives (address, parts)."""
    settings, parts = reachable
    with start_api(settings) as address:
        yield address, parts
