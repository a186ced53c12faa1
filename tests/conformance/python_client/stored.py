"""Models, files and batches."""

import json

import openai
from trial import QUICK, SMALL, picture, refuses, until


def models_list(it):
    (model,) = it.client.models.list()
    assert (model.object, model.owned_by) == ("model", "kinora")


def models_retrieve(it):
    (model,) = it.client.models.list()
    for name in (model.id, "sora-2", "sora-2-pro", "sora-2-2025-12-08"):
        assert it.client.models.retrieve(name).id == model.id
    refuses(openai.NotFoundError, lambda: it.client.models.retrieve("org/none"))


def files_create(it):
    file = it.client.files.create(file=("a.png", picture()), purpose="vision")
    assert (file.object, file.purpose, file.bytes) == ("file", "vision", len(picture()))
    video = it.make(extra_body={"input_reference": {"file_id": file.id}})
    it.finished(video)


def files_retrieve(it):
    file = it.client.files.create(file=("a.png", picture()), purpose="vision")
    assert it.client.files.retrieve(file.id).filename == "a.png"
    assert it.client.files.content(file.id).read() == picture()


def files_list(it):
    made = {it.client.files.create(file=picture(), purpose="vision").id for _ in range(3)}
    assert made <= {file.id for file in it.client.files.list(limit=1)}


def files_delete(it):
    file = it.client.files.create(file=picture(), purpose="vision")
    assert it.client.files.delete(file.id).deleted
    refuses(openai.NotFoundError, lambda: it.client.files.retrieve(file.id))


def batches_create(it):
    body = {"prompt": "a red ball", **SMALL, **QUICK}
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/videos", "body": body | more}
        for name, more in (("right", {}), ("wrong", {"seconds": "-1"}))
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    file = it.client.files.create(file=("jobs.jsonl", text), purpose="batch")
    batch = it.client.batches.create(
        input_file_id=file.id, endpoint="/v1/videos", completion_window="24h"
    )
    done = until(
        lambda: it.client.batches.retrieve(batch.id),
        lambda batch: batch.status in ("completed", "failed", "expired"),
    )
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == (
        "completed",
        1,
        1,
    )
    (right,) = read_lines(it.client.files.content(done.output_file_id))
    assert (right["custom_id"], right["response"]["status_code"]) == ("right", 200)
    assert it.client.videos.retrieve(right["response"]["body"]["id"]).status == "completed"
    (wrong,) = read_lines(it.client.files.content(done.error_file_id))
    assert wrong["custom_id"] == "wrong"
    assert it.client.batches.retrieve(batch.id).id in {each.id for each in it.client.batches.list()}


def batches_cancel(it):
    line = {"custom_id": "a", "method": "POST", "url": "/v1/videos"}
    line["body"] = {"prompt": "x", "num_inference_steps": 200, **SMALL}
    file = it.client.files.create(file=("a.jsonl", json.dumps(line).encode()), purpose="batch")
    batch = it.client.batches.create(
        input_file_id=file.id, endpoint="/v1/videos", completion_window="24h"
    )
    assert it.client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    until(lambda: it.client.batches.retrieve(batch.id), lambda batch: batch.status == "cancelled")


def read_lines(content):
    return [json.loads(line) for line in content.read().splitlines()]


TRIED = {
    "models.list": models_list,
    "models.retrieve": models_retrieve,
    "files.create": files_create,
    "files.retrieve": files_retrieve,
    "files.list": files_list,
    "files.delete": files_delete,
    "batches.create": batches_create,
    "batches.cancel": batches_cancel,
}
