"""The real application over a SQLite file, a blob folder and a real Redis-compatible server."""

import io
import subprocess
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import imageio_ffmpeg
import pytest
import structlog
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from app.contract.job import Output, output_key
from app.contract.settings import Settings
from app.main import create_app, listen

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


@pytest.fixture(autouse=True, scope="session")
def short_tracebacks():
    """The default prints every variable of every frame, which takes half a minute for one fault."""
    *others, _console = structlog.get_config()["processors"]
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*others, console])


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
