"""What the commands' client makes of a server that is busy, away, or elsewhere."""

import signal

import pytest

from app.client import Client, ServerError
from app.contract.keys import KeyLimits


def test_a_server_that_is_started_anew_is_waited_for(
    reachable, start_api, finish, tmp_path, command, until
):
    settings, parts = reachable
    target = tmp_path / "out.mp4"
    with start_api(settings) as address:
        process = command("generate", "a red cube", "--server", address, "-o", target)
        job = until(lambda: parts.store.list().jobs)[0]
    finish(parts, job.id, b"the video")
    with pytest.raises(ServerError) as caught, Client.of(address) as client:
        client.get(job.id)
    assert caught.value.retry_after_s
    with start_api(settings):
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    assert target.read_bytes() == b"the video"


def test_an_interrupt_says_which_videos_go_on_where_the_server_is_away(
    reachable, start_api, tmp_path, command
):
    settings, parts = reachable
    with start_api(settings) as address:
        process = command("generate", "x", "--server", address, "-o", tmp_path / "out.mp4")
        said = iter(process.stderr)
        assert any(b"waiting for a worker" in line for line in said)
        job = parts.store.list().jobs[0]
    process.send_signal(signal.SIGINT)
    with process:
        told = b"".join(said).decode()
    assert process.returncode == 130
    assert "not cancelled" in told and job.id in told
    parts.store.delete(job.id)


def test_a_refusal_says_whether_asking_again_would_help(reachable, start_api):
    settings, parts = reachable
    _, secret = parts.store.keys.create("slow", limits=KeyLimits(rpm=2))
    with start_api(settings) as address, Client.of(address, secret) as client:
        with pytest.raises(ServerError) as unknown:
            client.get("video_of_nobody")
        client.model()
        with pytest.raises(ServerError) as busy:
            client.model()
    assert (unknown.value.status, unknown.value.retry_after_s) == (404, None)
    assert busy.value.status == 429
    assert 0 < busy.value.retry_after_s <= 60
