"""What there is to try with, and how a trial waits and expects a refusal."""

import io
import json
import os
import time
from typing import NamedTuple

import openai
from PIL import Image

ADDRESS = os.environ["ADDRESS"]
KEYS = json.loads(os.environ["KEYS"])
SMALL = {"size": "64x64", "seconds": "1"}
QUICK = {"num_inference_steps": 1, "fps": 8}
JSON = {"Content-Type": "application/json"}
PATIENCE_S = 120
POLL_MS = 300


class Try(NamedTuple):
    """What there is to try with: a client, a finished video and its file."""

    client: openai.OpenAI
    video: object
    clip: bytes

    def make(self, **fields):
        extra = QUICK | fields.pop("extra_body", {})
        return self.client.videos.create(
            **{"prompt": "a red ball"} | SMALL | fields, extra_body=extra
        )

    def finished(self, video):
        done = self.client.videos.poll(video.id, poll_interval_ms=POLL_MS)
        assert (done.status, done.progress, done.error) == ("completed", 100, None), done
        return done


def client(key):
    return openai.OpenAI(base_url=ADDRESS, api_key=key, max_retries=0, timeout=PATIENCE_S)


def picture():
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return file.getvalue()


def refuses(kind, call):
    try:
        call()
    except kind as fault:
        return fault
    raise AssertionError(f"it should have raised {kind.__name__}")


def until(look, holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(POLL_MS / 1000)
    return seen
