"""Chromium, and the service that it looks at: `kinora serve` with the shipped checkpoint."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from app.client import Client
from app.contract.creation import Draft
from app.contract.job import Output, output_key
from app.contract.settings import Settings
from app.parts import Parts

ROOT = Path(__file__).parents[2]
#: Debian's and Google's names for it; the one that has no windows takes a fifth less time.
NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
#: Long enough for a busy machine; what is waited for is mostly a video.
PATIENCE_MS = 120_000
MODES = ("text", "image", "first_last", "edit", "extend", "lead_in", "loop", "storyboard")


class Process:
    """A part of Kinora on a port that it keeps when it is started again."""

    def __init__(self, data, *arguments, **environment):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = data / "kinora.log"
        self._command = [sys.executable, *arguments]
        self._environment = os.environ | environment | {"KINORA_PORT": str(self.port)}
        self._running = None

    def start(self, wanted="/readyz"):
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment, cwd=ROOT
            )
        deadline = time.monotonic() + 240
        with Client.of(self.address) as client:
            while not (client.is_ready() if wanted == "/readyz" else client.is_alive()):
                assert time.monotonic() < deadline, self.log.read_text()
                assert self._running.poll() is None, self.log.read_text()
                time.sleep(0.1)

    def stop(self):
        self._running.terminate()
        self._running.wait(60)


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """The embedded service with kinora-tiny."""
    data = tmp_path_factory.mktemp("studio")
    process = Process(
        data, "-m", "app.cli", "serve", KINORA_DATA=str(data), KINORA_TORCH_THREADS="1"
    )
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="session")
def start_process():
    """Starts a part of Kinora by its `python` arguments; stops it at the end of the `with`."""

    @contextlib.contextmanager
    def start_process(data, *arguments, **environment):
        process = Process(data, *arguments, **environment)
        process.start(wanted="/healthz")
        try:
            yield process
        finally:
            process.stop()

    return start_process


@pytest.fixture(scope="module")
def alone(tmp_path_factory, redis_url, migrated, capabilities, start_process):
    """The API without a worker, whose part the test plays; gives (address, parts)."""
    data = tmp_path_factory.mktemp("alone")
    (data / "kinora.db").write_bytes(migrated)
    settings = Settings(data=data, redis_url=redis_url)
    parts = Parts.open(settings)
    parts.store.models.register("worker-1", replace(capabilities, modes=MODES))
    with start_process(data, "-m", "app.main", **settings.to_env()) as process:
        yield process.address, parts
    parts.close()


@pytest.fixture
def finish(alone):
    """Makes a video at once, whose file is `content`; gives its id."""
    _, parts = alone

    def finish(spec, content=None, **draft):
        job, _ = parts.store.create(Draft(spec=spec, **draft))
        claimed = parts.store.claim(spec.model, "worker-1", 60)
        key = output_key(job.id, claimed.attempt, f"clip.{spec.output}")
        if content is not None:
            parts.blobs.put(key, content, "any/thing")
        parts.store.complete(
            job.id, claimed.attempt, Output(key=key, size_bytes=1, thumbnail_key=None)
        )
        return job.id

    return finish


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MS)
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Opens the studio in a fresh profile. What the page itself gets wrong fails the test."""
    contexts = []
    wrong = []

    def open_page(address, width=1280, height=800, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if blamed(said) else None)
        page.goto(address)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def blamed(said):
    """Whether a line in the console is the page's own fault; the network's answers are not."""
    return said.type == "error" and not re.match("Failed to load resource", said.text)


@pytest.fixture
def page(open_page, service):
    """The studio, set to make the smallest clip of kinora-tiny in two steps."""
    page = open_page(service.address)
    page.click("#prompt")
    page.click("#toggle-options")
    page.fill("[name=num_inference_steps]", "2")
    page.fill("[name=seconds]", "0.5")
    page.click("#toggle-options")
    return page
