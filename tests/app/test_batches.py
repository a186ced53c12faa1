"""Batches, through the official client; a worker's moves are made by hand."""

import json
import time
from threading import Event

import openai
import pytest

from app import orders
from app.batching import work_on
from app.contract.job import Output, output_key
from app.contract.keys import KeyLimits


@pytest.fixture
def sdk(server):
    with openai.OpenAI(base_url=f"{server.client.base_url}/v1", api_key="none") as client:
        yield client


def line(custom_id, **body):
    body = {"prompt": f"a red ball, {custom_id}"} | body
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/videos", "body": body}


def started(sdk, *lines, **more):
    text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
    file = sdk.files.create(file=("requests.jsonl", text.encode()), purpose="batch")
    return sdk.batches.create(
        input_file_id=file.id, endpoint="/v1/videos", completion_window="24h", **more
    )


def wait(sdk, batch, *statuses):
    deadline = time.monotonic() + 60
    while (now := sdk.batches.retrieve(batch.id)).status not in statuses:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


def submitted(server, batch, count):
    """Waits until so many lines are jobs."""
    deadline = time.monotonic() + 60
    while server.parts.store.waiting() < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def make_one(parts):
    job = parts.store.claim("tiny", "worker-1", 60)
    key = output_key(job.id, job.attempt, "video.mp4")
    parts.blobs.put(key, b"0123", "video/mp4")
    return parts.store.complete(job.id, job.attempt, Output(key=key, size_bytes=4))


def lines_of(sdk, file_id):
    return {
        one["custom_id"]: one for one in map(json.loads, sdk.files.content(file_id).iter_lines())
    }


def test_a_batch_ends_with_a_file_of_videos_and_a_file_of_errors(sdk, server):
    batch = started(
        sdk, line("a", seed=1), "", line("b", size="1x1"), line("c"), metadata={"k": "v"}
    )
    assert ("validating", {"k": "v"}) == (batch.status, batch.metadata)
    submitted(server, batch, 2)
    made = make_one(server.parts)
    failed = server.parts.store.claim("tiny", "worker-1", 60)
    server.parts.store.fail(failed.id, 1, "out_of_memory", "The GPU is too small.")
    batch = wait(sdk, batch, "completed")
    assert (3, 1, 2) == (
        batch.request_counts.total,
        batch.request_counts.completed,
        batch.request_counts.failed,
    )
    output, errors = lines_of(sdk, batch.output_file_id), lines_of(sdk, batch.error_file_id)
    assert {"a"} == set(output) and {"b", "c"} == set(errors)
    video = output["a"]["response"]["body"]
    assert (made.id, "completed", 1) == (video["id"], video["status"], video["seed"])
    assert video == server.client.get(f"/v1/videos/{made.id}").json()
    assert (400, "size") == (
        errors["b"]["response"]["status_code"],
        errors["b"]["response"]["body"]["error"]["param"],
    )
    assert "out_of_memory" == errors["c"]["error"]["code"]
    assert [batch.id] == [one.id for one in sdk.batches.list()]


def test_a_file_that_is_no_list_of_requests_fails_the_batch(sdk):
    batch = wait(sdk, started(sdk, line("a"), "nonsense"), "failed")
    assert ("invalid_json_line", 2) == (batch.errors.data[0].code, batch.errors.data[0].line)
    assert batch.failed_at is not None


def test_a_bad_batch_names_what_is_wrong(sdk):
    file = sdk.files.create(file=b"{}", purpose="batch")
    wanted = {"input_file_id": file.id, "endpoint": "/v1/videos", "completion_window": "24h"}
    for change, param in (
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            sdk.batches.create(**wanted | change)
        assert param == refused.value.param


def test_a_file_of_another_purpose_is_no_input(sdk):
    file = sdk.files.create(file=b"{}", purpose="vision")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        sdk.batches.create(input_file_id=file.id, endpoint="/v1/videos", completion_window="24h")


def test_a_cancelled_batch_keeps_what_was_made_and_never_makes_the_rest(sdk, server):
    batch = started(sdk, *(line(name) for name in "abc"))
    submitted(server, batch, 3)
    make_one(server.parts)
    assert sdk.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = wait(sdk, batch, "cancelled")
    assert server.parts.store.claim("tiny", "worker-1", 60) is None
    assert ["a"] == list(lines_of(sdk, batch.output_file_id))
    errors = lines_of(sdk, batch.error_file_id)
    assert {"batch_cancelled"} == {one["error"]["code"] for one in errors.values()}
    with pytest.raises(openai.ConflictError):
        sdk.batches.cancel(batch.id)


def test_a_batch_expires_after_its_window(sdk, server):
    batch = started(sdk, line("a"), line("b"))
    submitted(server, batch, 2)
    make_one(server.parts)
    with server.parts.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE batches SET expires_at = 1")
    batch = wait(sdk, batch, "expired")
    assert ["a"] == list(lines_of(sdk, batch.output_file_id))
    assert "batch_expired" == lines_of(sdk, batch.error_file_id)["b"]["error"]["code"]


def test_a_line_that_is_submitted_while_its_batch_is_cancelled_is_not_made(
    sdk, server, monkeypatch
):
    create = orders.create_batched

    def cancelled_meanwhile(parts, *given, batch_id, **more):
        sdk.batches.cancel(batch_id)
        while (batch := parts.store.batches.take(60)) is not None:  # as another process does
            work_on(parts, batch, Event())
        return create(parts, *given, batch_id=batch_id, **more)

    monkeypatch.setattr(orders, "create_batched", cancelled_meanwhile)
    batch = wait(sdk, started(sdk, line("a")), "cancelled")
    deadline = time.monotonic() + 60
    while not (jobs := server.parts.store.list().jobs) or not jobs[0].finished:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "cancelled" == jobs[0].error_code
    counts = sdk.batches.retrieve(batch.id).request_counts
    assert (1, 0, 1) == (counts.total, counts.completed, counts.failed)


def test_a_batch_whose_jobs_cannot_be_made_expires(sdk, server, monkeypatch):
    def fault(*_given, **_more):
        raise ZeroDivisionError

    monkeypatch.setattr(orders, "create_batched", fault)
    monkeypatch.setattr("app.batching.LEASE_S", 0.1)
    batch = wait(sdk, started(sdk, line("a")), "in_progress")
    with server.parts.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE batches SET expires_at = 1")
    wait(sdk, batch, "expired")


def test_lines_whose_file_is_deleted_are_refused_in_the_usual_shape(sdk, server):
    with server.parts.store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM workers")  # so no line becomes a job
    batch = wait(sdk, started(sdk, line("a")), "in_progress")
    sdk.files.delete(batch.input_file_id)
    batch = wait(sdk, batch, "completed")
    error = lines_of(sdk, batch.error_file_id)["a"]["response"]["body"]["error"]
    assert {"message", "type", "param", "code"} == set(error)
    assert ("input_file_id", "file_not_found") == (error["param"], error["code"])


def test_a_batch_that_the_client_sends_again_is_the_first_one(sdk):
    batch = started(sdk, line("a"))
    again = {
        "input_file_id": batch.input_file_id,
        "endpoint": "/v1/videos",
        "completion_window": "24h",
    }
    retry = sdk.batches.create(**again, extra_headers={"x-stainless-retry-count": "1"})
    assert batch.id == retry.id != sdk.batches.create(**again).id


def test_a_batch_of_an_idempotency_key_is_made_once(sdk):
    batch, key = started(sdk, line("a")), {"Idempotency-Key": "k"}
    said = {
        "input_file_id": batch.input_file_id,
        "endpoint": "/v1/videos",
        "completion_window": "24h",
    }
    first = sdk.batches.create(**said, extra_headers=key)
    assert batch.id != first.id == sdk.batches.create(**said, extra_headers=key).id
    with pytest.raises(openai.ConflictError) as refused:
        sdk.batches.create(**said, metadata={"another": "one"}, extra_headers=key)
    assert refused.value.param == "idempotency-key"


def test_a_batch_runs_behind_everything_else(sdk, server):
    batch = started(sdk, line("a"))
    submitted(server, batch, 1)
    urgent = server.client.post("/v1/videos", json={"prompt": "now"}).json()
    assert urgent["id"] == server.parts.store.claim("tiny", "worker-1", 60).id


def test_a_batch_that_was_left_halfway_goes_on_without_doing_anything_twice(sdk, server):
    batch = started(sdk, *(line(name) for name in "abc"))
    submitted(server, batch, 3)
    with server.parts.store.database.write() as connection:  # as if it had died before recording
        connection.exec_driver_sql("UPDATE batch_lines SET job_id = NULL WHERE line > 1")
    for _ in range(3):
        make_one(server.parts)
    batch = wait(sdk, batch, "completed")
    assert 3 == batch.request_counts.completed == len(server.parts.store.list().jobs)


def test_a_small_batch_does_not_wait_for_all_of_a_large_one(sdk, server, monkeypatch):
    monkeypatch.setattr("app.batching.TURN_S", 0.0)  # a line at a time
    large = started(sdk, *(line(f"{number}") for number in range(200)))
    small = started(sdk, line("small"))
    rows = server.parts.store.batches.lines
    deadline = time.monotonic() + 60
    while not rows.unfinished(small.id):
        assert time.monotonic() < deadline
    assert len(rows.unfinished(large.id)) < 200


def test_a_line_has_no_priority_of_its_own(sdk, server):
    batch = wait(sdk, started(sdk, line("a", priority=5)), "completed")
    error = lines_of(sdk, batch.error_file_id)["a"]["response"]["body"]["error"]
    assert error["param"] == "priority"


def test_lines_beyond_a_keys_day_are_refused_one_by_one(sdk, server):
    key = server.parts.store.keys.create("a", limits=KeyLimits(seconds_day=1.0, jobs=1))[1]
    one = sdk.with_options(api_key=key)
    batch = started(one, line("a"), line("b"))
    submitted(server, batch, 1)
    make_one(server.parts)
    batch = wait(one, batch, "completed")
    refused = lines_of(one, batch.error_file_id)["b"]["response"]
    assert (429, "daily_seconds_reached") == (
        refused["status_code"],
        refused["body"]["error"]["code"],
    )


def test_owners_do_not_see_each_others_batches(sdk, server):
    secrets = [server.parts.store.keys.create(name)[1] for name in "ab"]
    one, other = (sdk.with_options(api_key=secret) for secret in secrets)
    batch = started(one, line("a"))
    assert [] == other.batches.list().data
    for look in (other.batches.retrieve, other.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            look(batch.id)
