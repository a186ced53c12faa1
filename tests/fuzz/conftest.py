"""A service to throw strange files at, a bait that shows who opened it, and makers of files."""

import ctypes
import os
import random
import socket
import subprocess
from contextlib import suppress
from dataclasses import replace

import imageio_ffmpeg
import pytest
from fastapi.testclient import TestClient

from app.contract.settings import Settings
from app.main import create_app

IN_ACCESS, IN_OPEN = 0x1, 0x20


@pytest.fixture(scope="session")
def service(tmp_path_factory, redis_url, migrated, capabilities):
    """A client of the application, whose one model takes images and videos up to 1080p."""
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "kinora.db").write_bytes(migrated)
    able = replace(capabilities, modes=("text", "image", "edit"))
    app = create_app(Settings(data=folder, redis_url=redis_url))
    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        client.parts = app.state.parts
        client.parts.store.models.register("worker-1", able)
        yield client


@pytest.fixture(scope="session")
def send(service):
    """Uploads a file as the image or the video of a request: (the stored copy, None) or (None, the
    error's body). Any other end fails the test."""

    def send(kind, data):
        path, field = {
            "image": ("/v1/videos", "input_reference"),
            "video": ("/v1/videos/edits", "video"),
        }[kind]
        answer = service.post(path, data={"prompt": "x"}, files={field: ("upload", data)})
        if answer.status_code == 200:
            spec = service.parts.store.get(answer.json()["id"]).spec
            return service.parts.blobs.get(getattr(spec, kind)), None
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        # The size of a picture that is none of the model's is the one fault that is not the file's.
        assert error["param"] in (field, "size"), error
        assert error["message"].endswith(".") and "/tmp" not in error["message"]
        return None, error

    return send


@pytest.fixture
def refused(send):
    def refused(kind, data):
        stored, error = send(kind, data)
        assert stored is None, "this should not have been taken"
        return error["code"]

    return refused


@pytest.fixture(scope="session")
def ffmpeg():
    """Runs ffmpeg with these arguments."""

    def ffmpeg(*arguments):
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return ffmpeg


class Bait:
    """A file on this machine and a port that listens; either tells whether somebody came."""

    def __init__(self, path):
        self.path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watch = self._libc.inotify_init1(os.O_NONBLOCK)
        added = self._libc.inotify_add_watch(self._watch, bytes(path), IN_ACCESS | IN_OPEN)
        assert self._watch >= 0 and added >= 0, os.strerror(ctypes.get_errno())
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/secret.mp4"

    def taken(self):
        """Whether the file was opened or the port was connected to since the last call."""
        took = False
        with suppress(BlockingIOError):
            took = bool(os.read(self._watch, 1 << 16))
        try:
            self._server.accept()[0].close()
        except BlockingIOError:
            return took
        return True

    def close(self):
        os.close(self._watch)
        self._server.close()


@pytest.fixture
def bait(tmp_path, ffmpeg):
    """A clip beside which nothing may come; the test fails when its file or its port is visited."""
    path = tmp_path / "secret.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=8", "-frames:v", 9, path)
    bait = Bait(path)
    path.read_bytes()
    assert bait.taken(), "the bait itself does not work"
    yield bait
    assert not bait.taken()
    bait.close()


@pytest.fixture(scope="session")
def mutate():
    """A damaged copy of one file, by seed; `others` lend pieces."""

    def mutate(data, seed, others):
        draw = random.Random(seed)
        damaged = bytearray(data)
        at = draw.randrange(len(data))
        length = draw.choice([1, 4, 32, 1000])
        match draw.randrange(6):
            case 0:
                for _ in range(draw.choice([1, 8, 64])):
                    damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            case 1:
                del damaged[at:]
            case 2:
                del damaged[at : at + length]
            case 3:
                damaged[at : at + length] = draw.randbytes(length)
            case 4:
                damaged[at:at] = damaged[max(0, at - length) : at] * draw.choice([1, 50])
            case _:
                other = draw.choice(others)
                start = draw.randrange(len(other))
                damaged[at : at + length] = other[start : start + length]
        return bytes(damaged)

    return mutate
