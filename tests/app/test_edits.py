"""`/v1/videos/edits` and `/v1/videos/{id}/remix`: from a video, strange or one's own, to a job."""

import json
import os
import subprocess
import time

import imageio_ffmpeg
import pytest

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
EDITS = "/v1/videos/edits"
PROMPT = {"prompt": "the same, in blue"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_video):
    """Videos by name, each made once."""
    folder = tmp_path_factory.mktemp("videos")
    front = ("-movflags", "+faststart")
    return {
        "mp4": make_video(folder / "a.mp4", options=front),
        "mov": make_video(folder / "a.mov", options=("-metadata", "title=secret")),
        "webm": make_video(folder / "a.webm", rate="30000/1001"),
        "odd": make_video(folder / "odd.webm", size="97x65"),
        "wide pixels": make_video(folder / "wide.mp4", options=("-vf", "setsar=4/3")),
        "long": make_video(folder / "long.mp4", frames=90),
        "just fits": make_video(folder / "fits.mp4", frames=84),
        "tiny": make_video(folder / "tiny.mp4", size="8x8"),
        "huge": make_video(folder / "huge.mp4", size="4096x2304", frames=1),
        "fast": make_video(folder / "fast.mp4", rate="500"),
        "sound only": sound(folder / "sound.mp4"),
        "avi": make_video(folder / "a.avi"),
    }


def sound(path):
    command = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-y", str(path)]
    subprocess.run(command, check=True)
    return path.read_bytes()


@pytest.fixture
def editor(client, capabilities):
    """A client of a service whose model can edit; the model's own limits stay."""
    from dataclasses import replace

    able = replace(capabilities, model_id="editor", modes=("text", "image", "edit"))
    client.parts.store.models.register("worker-2", able)
    return client


def edit(client, data, **fields):
    files = {"video": ("upload", data, "application/octet-stream")}
    return client.post(EDITS, data={"model": "editor"} | PROMPT | fields, files=files)


def refused(client, answer, param, status=400):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == param, error
    assert error["code"] and error["message"].endswith("."), error
    assert "/tmp" not in error["message"]
    assert [blob.key for blob in client.parts.blobs.list() if blob.key.startswith("inputs/")] == []


def finished(client, finish, data=b"0123456789", **fields):
    video = client.post("/v1/videos", json={"prompt": "x", "model": "tiny"} | fields).json()
    finish(client.parts, video["id"], data)
    return video


@pytest.mark.parametrize(
    ("name", "size", "fps", "frames"),
    [
        ("mp4", "96x64", 8, 9),
        ("mov", "96x64", 8, 9),
        ("webm", "96x64", 30, 9),
        ("odd", "96x64", 8, 9),
        ("wide pixels", "128x64", 8, 9),
        ("just fits", "96x64", 8, 81),
    ],
)
def test_an_uploaded_video_gives_the_job_its_size_rate_and_length(
    editor, made, name, size, fps, frames
):
    answer = edit(editor, made[name], strength="0.5", seed="7", num_inference_steps="3")
    assert answer.status_code == 200, answer.text
    video = answer.json()
    assert (video["size"], video["fps"], video["frames"]) == (size, fps, frames)
    assert (video["seed"], video["num_inference_steps"]) == (7, 3)
    assert video["remixed_from_video_id"] is None
    spec = editor.parts.store.get(video["id"]).spec
    assert (spec.model, spec.strength) == ("editor", 0.5)


@pytest.mark.parametrize("name", ["mp4", "mov", "webm"])
def test_what_is_stored_is_a_new_mp4_with_the_same_pictures(editor, made, tmp_path, name):
    video = edit(editor, made[name]).json()
    stored = editor.parts.blobs.get(editor.parts.store.get(video["id"]).spec.video)
    assert stored != made[name]
    assert stored[4:8] == b"ftyp"
    assert b"secret" not in stored
    frames = [pixels(tmp_path, data, kind) for data, kind in ((made[name], name), (stored, "mp4"))]
    assert len(frames[0]) == len(frames[1]) == 11 * 96 * 64
    error = sum(abs(a - b) for a, b in zip(*frames, strict=True)) / len(frames[0])
    assert error < 3


def pixels(folder, data, kind):
    """All frames in grey, as bytes."""
    file = folder / f"video.{kind}"
    file.write_bytes(data)
    command = [FFMPEG, "-v", "error", "-i", file, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def playlist(made):
    return b"ffconcat version 1.0\nfile /etc/passwd\n" + made["mp4"]


def lying_about_its_size(made):
    """The container says 96x64; the frames are huge."""
    small, huge = ((96).to_bytes(2) + (64).to_bytes(2), (4096).to_bytes(2) + (2304).to_bytes(2))
    assert huge in made["huge"]
    return made["huge"].replace(huge, small)


BAD_VIDEOS = {
    "empty": lambda made: b"",
    "text": lambda made: b"hello, this is not a video",
    "a picture": lambda made: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "a playlist": playlist,
    "a playlist behind a box": lambda made: b"\0\0\0\x10ftypisom\0\0\0\0" + playlist(made),
    "an hls playlist": lambda made: b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n",
    "avi": lambda made: made["avi"],
    "only a box": lambda made: b"\0\0\0\x10ftypisom\0\0\0\0",
    "only an ebml mark": lambda made: b"\x1a\x45\xdf\xa3" + bytes(100),
    "truncated": lambda made: made["mp4"][:-2000],
    "truncated before its index": lambda made: made["mov"][:-2000],
    "damaged": lambda made: made["mp4"][:4000] + bytes(3000) + made["mp4"][7000:],
    "sound only": lambda made: made["sound only"],
    "huge": lambda made: made["huge"],
    "huge, and lying about it": lying_about_its_size,
    "too small": lambda made: made["tiny"],
    "too long": lambda made: made["long"],
    "too fast": lambda made: made["fast"],
}


@pytest.mark.parametrize("name", BAD_VIDEOS)
def test_a_bad_video_is_refused(editor, made, name):
    refused(editor, edit(editor, BAD_VIDEOS[name](made)), "video")
    assert editor.parts.store.list().jobs == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"strength": "0"}, "strength"),
        ({"strength": "2"}, "strength"),
        ({"strength": "-1"}, "strength"),
        ({"strength": "nan"}, "strength"),
        ({"strength": "much"}, "strength"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 101}, "prompt"),
        ({"size": "64x64"}, "size"),
        ({"seconds": "4"}, "seconds"),
        ({"fps": "8"}, "fps"),
        ({"model": "tiny"}, "video"),
        ({"model": "wan-99"}, "model"),
        ({"num_inference_steps": "201"}, "num_inference_steps"),
    ],
)
def test_a_bad_field_beside_a_video_is_refused_by_its_name(editor, made, fields, param):
    refused(editor, edit(editor, made["mp4"], **fields), param)
    assert editor.parts.store.list().jobs == []


@pytest.mark.parametrize(
    "video", [None, "", "video_none", "{", [], {}, {"id": ""}, {"id": 5}, {"url": "https://a.b/c"}]
)
def test_a_video_that_is_neither_a_file_nor_an_id_is_refused(editor, video):
    body = PROMPT | {"model": "editor", "video": video}
    refused(editor, editor.post(EDITS, json=body), "video")
    refused(editor, editor.post(EDITS, json=PROMPT), "video")


def test_an_own_finished_video_is_edited_however_its_id_is_sent(editor, finish):
    source = finished(editor, finish, b"the source", size="128x64", seconds="1.1", fps=10)
    body = PROMPT | {"model": "editor", "video": {"id": source["id"]}, "strength": 0.25}
    form = {"video[id]": source["id"], "strength": "0.25", "model": "editor"} | PROMPT
    text = form | {"video": json.dumps({"id": source["id"]})}
    del text["video[id]"]
    for answer in (
        editor.post(EDITS, json=body),
        editor.post(EDITS, files=[(k, (None, v)) for k, v in form.items()]),
        editor.post(EDITS, files=[(k, (None, v)) for k, v in text.items()]),
    ):
        assert answer.status_code == 200, answer.text
        video = answer.json()
        assert [video[k] for k in ("size", "fps", "frames")] == ["128x64", 10, source["frames"]]
        spec = editor.parts.store.get(video["id"]).spec
        assert spec.strength == 0.25
        assert spec.video.startswith(f"inputs/{video['id']}/")
        assert editor.parts.blobs.get(spec.video) == b"the source"


def test_a_remix_tells_what_it_was_made_from_and_outlives_it(editor, finish):
    source = finished(editor, finish, b"the source", seconds="1")
    fields = PROMPT | {"model": "editor", "seed": 3}
    answer = editor.post(f"/v1/videos/{source['id']}/remix", json=fields)
    assert answer.status_code == 200, answer.text
    video = answer.json()
    assert video["remixed_from_video_id"] == source["id"]
    assert (video["prompt"], video["seed"], video["status"]) == (PROMPT["prompt"], 3, "queued")
    for name in ("size", "fps", "frames", "seconds"):
        assert video[name] == source[name]
    assert editor.delete(f"/v1/videos/{source['id']}").status_code == 200
    spec = editor.parts.store.get(video["id"]).spec
    assert editor.parts.blobs.get(spec.video) == b"the source"


def test_a_remix_uses_the_sources_model_unless_another_is_named(editor, finish):
    source = finished(editor, finish)  # made by tiny, which cannot edit
    answer = editor.post(f"/v1/videos/{source['id']}/remix", json=PROMPT)
    refused(editor, answer, "video_id")
    assert "tiny" in answer.json()["error"]["message"]


def test_a_source_that_is_not_finished_is_refused(editor):
    source = editor.post("/v1/videos", json={"prompt": "x"}).json()["id"]
    fields = PROMPT | {"model": "editor"}
    refused(editor, editor.post(f"/v1/videos/{source}/remix", json=fields), "video_id")
    refused(editor, editor.post(EDITS, json=fields | {"video": {"id": source}}), "video")
    editor.post(f"/v1/videos/{source}/cancel")
    refused(editor, editor.post(f"/v1/videos/{source}/remix", json=fields), "video_id")


def test_a_source_whose_file_is_gone_is_refused(editor, finish):
    source = finished(editor, finish)["id"]
    editor.parts.blobs.delete_prefix(f"videos/{source}/")
    fields = PROMPT | {"model": "editor"}
    answer = editor.post(f"/v1/videos/{source}/remix", json=fields)
    refused(editor, answer, "video_id")
    assert answer.json()["error"]["code"] == "video_expired"
    assert len(editor.parts.store.list().jobs) == 1


def test_an_unknown_source_is_a_404(editor):
    fields = PROMPT | {"model": "editor"}
    refused(editor, editor.post("/v1/videos/video_none/remix", json=fields), None, 404)
    for name in ("video_none", "a\0b", "../x"):
        answer = editor.post(EDITS, json=fields | {"video": {"id": name}})
        refused(editor, answer, "video", 404)


def test_somebody_elses_video_is_a_404(editor, finish):
    keys = editor.parts.store.keys
    mine, yours = ({"authorization": f"Bearer {keys.create(n)[1]}"} for n in ("me", "you"))
    body = {"prompt": "x", "model": "tiny"}
    source = editor.post("/v1/videos", json=body, headers=mine).json()["id"]
    finish(editor.parts, source)
    fields = PROMPT | {"model": "editor"}
    by_id = fields | {"video": {"id": source}}
    assert editor.post(EDITS, json=by_id, headers=mine).status_code == 200
    for url, sent in ((EDITS, by_id), (f"/v1/videos/{source}/remix", fields)):
        assert editor.post(url, json=sent, headers=yours).status_code == 404
    assert editor.parts.store.list(None).jobs[0].owner == editor.parts.store.get(source).owner


def test_a_repeated_edit_is_answered_with_the_first_job(editor, made, finish):
    source = finished(editor, finish)["id"]
    retry = {"x-stainless-retry-count": "1"}
    fields = PROMPT | {"model": "editor"}
    for url, body in (
        (EDITS, {"data": fields, "files": {"video": made["mp4"]}}),
        (f"/v1/videos/{source}/remix", {"json": fields}),
    ):
        first, again = editor.post(url, **body), editor.post(url, **body, headers=retry)
        assert first.json()["id"] == again.json()["id"]
        assert editor.post(url, **body).json()["id"] != first.json()["id"]


def test_what_killed_processes_left_of_clips_is_removed_a_day_later(
    settings, serve, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, fresh = tmp_path / "kinora-clip-old", tmp_path / "kinora-clip-new"
    for folder in (left, fresh):
        folder.mkdir()
        (folder / "upload").write_bytes(b"half a clip")
    day_ago = time.time() - 25 * 3600
    os.utime(left, (day_ago, day_ago))
    with serve(settings):
        assert (False, True) == (left.exists(), fresh.exists())
