"""Everything that one version of OpenAI's Python client can do, tried on a running service.

Run with that version on PYTHONPATH and, in the environment, ADDRESS (of `/v1`) and KEYS: JSON with
an `ordinary` key, a `narrow` one that may only see models, and a `slow` one with one request a
minute. Arguments choose what to try. Prints a JSON line [name, outcome] for each: "yes", "absent"
where the client has no such method, or what went wrong.
"""

import json
import sys
import traceback

import faults
import stored
import videos
import webhooks
from trial import KEYS, POLL_MS, QUICK, SMALL, Try, client

TRIED = videos.TRIED | stored.TRIED | webhooks.TRIED | faults.TRIED


def has(client, method):
    found = client
    for name in method.split("."):
        found = getattr(found, name, None)
    return found is not None


def outcome(it, name, attempt):
    if not has(it.client, name.split(" ")[0]):
        return "absent"
    try:
        attempt(it)
    except Exception as fault:  # noqa: BLE001 - whatever it is, it is the outcome
        (*_, frame) = traceback.extract_tb(fault.__traceback__)
        where = next(
            f for f in traceback.extract_tb(fault.__traceback__) if f.name == attempt.__name__
        )
        return f"{type(fault).__name__} {str(fault)[:300]} in {where.line} ({frame.line})"
    return "yes"


def main():
    chosen = sys.argv[1:] or TRIED
    with client(KEYS["ordinary"]) as made:
        video = made.videos.create_and_poll(
            prompt="a red ball", poll_interval_ms=POLL_MS, **SMALL, extra_body=QUICK
        )
        it = Try(made, video, made.videos.download_content(video.id).read())
        for name in chosen:
            print(json.dumps([name, outcome(it, name, TRIED[name])]), flush=True)  # noqa: T201


main()
