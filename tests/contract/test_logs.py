import json
import subprocess
import sys

import pytest

PROGRAM = """
import threading, structlog
from app.contract import logs
logs.setup("info", "json", process="worker")
log = structlog.get_logger()
with logs.job_context("video_1", 2):
    log.info("job.claimed", prompt="a secret wish", steps=4)
    log.debug("unheard")
threading.Thread(target=lambda: log.info("from.thread")).start()
"""


FAILING = """
import structlog
from app.contract import logs
logs.setup("info", "{style}")
def render(spec="a secret wish"):
    raise RuntimeError("broken")
try:
    render()
except RuntimeError as error:
    structlog.get_logger().error("job.failed", exc_info=error)
"""


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_shows_no_variables(style):
    run = subprocess.run(
        [sys.executable, "-c", FAILING.format(style=style)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "RuntimeError: broken" in run.stderr
    assert "wish" not in run.stderr.replace('a secret wish"):', "")


def test_events_carry_their_job_and_process_and_never_a_prompt():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    first, second = map(json.loads, run.stderr.splitlines())
    assert (
        first["event"],
        first["job_id"],
        first["attempt"],
        first["steps"],
    ) == ("job.claimed", "video_1", 2, 4)
    assert "wish" not in run.stderr
    assert (second["event"], second["process"]) == ("from.thread", "worker")


def test_the_urls_of_strangers_are_not_logged():
    program = """
import httpx
from app.contract import logs
logs.setup("info", "json")
transport = httpx.MockTransport(lambda request: httpx.Response(200))
httpx.Client(transport=transport).get("https://a.example/x?signature=secret")
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "secret" not in run.stderr
