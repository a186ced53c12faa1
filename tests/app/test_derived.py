"""Extensions and blends: from videos, strange or one's own, to a job that is longer than they."""

import io
from dataclasses import replace

import pytest

from app.clips import READERS

EXTENSIONS, BLENDS = "/v1/videos/extensions", "/v1/videos/blends"


@pytest.fixture(scope="module")
def clip(tmp_path_factory, make_video):
    return make_video(tmp_path_factory.mktemp("clips") / "a.mp4")


@pytest.fixture
def able(client, capabilities):
    """A client of a service with a model that goes on from videos and leads into them."""
    modes = ("text", "image", "edit", "extend", "lead_in")
    can = replace(capabilities, model_id="able", modes=modes, max_frames=401)
    client.parts.store.models.register("worker-2", can)
    return client


@pytest.fixture
def own(able, finish):
    """Makes a finished video of one's own; its id."""

    def own(**fields):
        made = able.post("/v1/videos", json={"prompt": "x", "model": "tiny"} | fields).json()
        finish(able.parts, made["id"], b"own")
        return made["id"]

    return own


def post(able, url, status=200, **fields):
    answer = able.post(url, json={"prompt": "on and on", "model": "able"} | fields)
    assert answer.status_code == status, answer.text
    return answer.json()


def spec_of(able, video):
    return able.parts.store.get(video["id"]).spec


def test_an_uploaded_video_is_made_longer_at_its_end(able, clip):
    form = {"prompt": "on", "model": "able", "seconds": "2"}
    files = {"video": ("upload", clip, "application/octet-stream")}
    video = able.post(EXTENSIONS, data=form, files=files).json()
    spec = spec_of(able, video)
    assert (spec.frames, spec.before_frames, spec.stitch, spec.after) == (16, 11, True, None)
    assert able.parts.blobs.get(spec.before)[4:8] == b"ftyp"
    assert (video["frames"], video["seconds"]) == (27, "3.375")
    assert (video["operation"], video["direction"]) == ("extension", "forward")
    assert (video["size"], video["fps"], video["source_video_ids"]) == ("96x64", 8, [])


def test_an_own_video_is_made_longer_at_its_beginning(able, own):
    source = own(seconds="1")
    video = post(able, EXTENSIONS, video={"id": source}, seconds="2", direction="backward")
    spec = spec_of(able, video)
    assert (spec.frames, spec.after_frames, spec.before) == (17, 9, None)
    assert able.parts.blobs.get(spec.after) == b"own"
    assert (video["seconds"], video["frames"]) == ("3", 26)
    assert (video["direction"], video["source_video_ids"]) == ("backward", [source])


def test_an_extension_can_be_extended_again(able, own, finish):
    source = own(seconds="1")
    first = post(able, EXTENSIONS, video={"id": source}, seconds="1", model="able")
    job = able.parts.store.claim("able", "worker-2", 60)
    assert job.id == first["id"]
    from app.contract.job import Output, output_key

    key = output_key(job.id, job.attempt, "video.mp4")
    able.parts.blobs.put(key, b"longer", "video/mp4")
    able.parts.store.complete(job.id, job.attempt, Output(key=key, size_bytes=6))

    second = post(able, EXTENSIONS, video={"id": first["id"]}, seconds="1")

    assert spec_of(able, second).before_frames == 17
    assert (second["frames"], second["seconds"]) == (25, "3")


def test_an_extension_that_loops_ends_where_its_source_begins(able, own):
    video = post(able, EXTENSIONS, video={"id": own(seconds="1")}, seconds="1", loop=True)
    spec = spec_of(able, video)
    assert spec.before == spec.after
    assert (spec.before_frames, spec.after_frames, spec.frames) == (9, 9, 8)
    assert (video["frames"], video["loop"]) == (17, True)


def test_two_videos_become_one_with_a_way_between(able, own, clip):
    first, last = own(size="96x64"), own(size="96x64", seconds="1")
    video = post(
        able, BLENDS, from_video={"id": first}, to_video={"id": last}, seconds="1", model="able"
    )
    spec = spec_of(able, video)
    assert (spec.before_frames, spec.frames, spec.after_frames) == (5, 8, 9)
    assert (video["operation"], video["frames"]) == ("blend", 22)
    assert video["source_video_ids"] == [first, last]
    form = {"prompt": "x", "model": "able", "from_video[id]": first}
    mixed = able.post(BLENDS, data=form, files={"to_video": ("a.mp4", clip)})
    assert (mixed.status_code, mixed.json()["source_video_ids"]) == (200, [first])


def test_a_video_blends_with_itself(able, own):
    source = own()
    video = post(able, BLENDS, from_video={"id": source}, to_video={"id": source}, seconds="1")
    assert video["frames"] == 5 + 8 + 5


def test_a_clip_in_use_keeps_no_other_from_being_read(able, clip):
    clips = able.parts.clips
    with clips.read(io.BytesIO(clip), 10**6, 100, "from_video"):
        assert all(clips.slots.acquire(blocking=False) for _ in range(READERS))


def test_a_file_that_was_uploaded_before_is_extended(able, clip):
    sent = {"purpose": (None, "user_data"), "file": ("a.mp4", clip, "video/mp4")}
    uploaded = able.post("/v1/files", files=sent).json()
    video = post(able, EXTENSIONS, video={"file_id": uploaded["id"]})
    assert spec_of(able, video).before_frames == 11


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"seconds": "20.5"}, "seconds"),
        ({"seconds": 0}, "seconds"),
        ({"direction": "sideways"}, "direction"),
        ({"direction": "backward", "loop": True}, "loop"),
        ({"loop": "maybe"}, "loop"),
        ({"model": "tiny"}, "video"),
        ({"video": {"id": "video_none"}}, "video"),
        ({"video": {"file_id": "file-none"}}, "video"),
        ({"video": {}}, "video"),
        ({"video": "text"}, "video"),
        ({"size": "64x64"}, "size"),
        ({"strength": 0.5}, "strength"),
        ({"priority": 1000}, "priority"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_field_of_an_extension_is_refused_by_its_name(able, own, fields, param):
    status = 404 if fields.get("video") == {"id": "video_none"} else 400
    sent = {"video": {"id": own()}} | fields
    assert post(able, EXTENSIONS, status, **sent)["error"]["param"] == param
    assert len(able.parts.store.list().jobs) == 1


def test_what_gets_longer_than_two_minutes_is_refused(able, tmp_path, make_video):
    # as long as a hundred seconds that were made here: their first frame is one more
    long = make_video(tmp_path / "long.mp4", size="32x32", rate="4", frames=401)
    files = {"video": ("a.mp4", long)}
    form = {"prompt": "x", "model": "able", "seconds": "20"}
    assert able.post(EXTENSIONS, data=form, files=files).json()["frames"] == 401 + 80
    longer = make_video(tmp_path / "longer.mp4", size="32x32", rate="4", frames=411)
    answer = able.post(EXTENSIONS, data=form, files={"video": ("a.mp4", longer)})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "seconds")


def test_videos_of_unlike_size_or_rate_do_not_blend(able, own):
    first = own(size="96x64")
    for other in ({"size": "64x64"}, {"size": "96x64", "fps": 12}):
        sent = {"from_video": {"id": first}, "to_video": {"id": own(**other)}}
        assert post(able, BLENDS, 400, **sent)["error"]["param"] == "to_video"
    half = {"from_video": {"id": first}}
    assert post(able, BLENDS, 400, **half)["error"]["param"] == "to_video"


def test_a_picture_is_no_video_to_extend(able, finish):
    from app.contract.job import Output, output_key

    able.parts.store.create(
        replace(spec_of(able, post(able, "/v1/videos")), output="png", frames=1)
    )
    job = able.parts.store.list().jobs[0]
    assert job.spec.output == "mp4"  # pictures are not in the list of videos
    claimed = [able.parts.store.claim("able", "w", 60) for _ in range(2)][-1]
    key = output_key(claimed.id, claimed.attempt, "video.png")
    able.parts.store.complete(claimed.id, claimed.attempt, Output(key=key, size_bytes=1))
    error = post(able, EXTENSIONS, 400, video={"id": claimed.id})["error"]
    assert (error["param"], error["code"]) == ("video", "invalid_video")


def test_characters_are_refused_as_no_model_can_keep_them(able, clip):
    files = {"video": ("a.mp4", clip)}
    answer = able.post("/v1/videos/characters", data={"name": "Ada"}, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
    nameless = able.post("/v1/videos/characters", data={}, files=files)
    assert nameless.json()["error"]["param"] == "name"
    missing = able.get("/v1/videos/characters/char_1")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "character_not_found")


@pytest.mark.parametrize(
    ("modes", "url", "fields", "param"),
    [
        (("text",), BLENDS, {}, "from_video"),
        (("image", "extend"), BLENDS, {}, "to_video"),
        (("image", "extend"), EXTENSIONS, {"loop": True}, "loop"),
        (("image", "extend"), EXTENSIONS, {"direction": "backward"}, "direction"),
        (("text",), EXTENSIONS, {}, "video"),
        (("image",), "/v1/images/generations", {}, "model"),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_a_name_that_the_call_has(
    able, capabilities, own, modes, url, fields, param
):
    unable = replace(capabilities, model_id="unable", modes=modes)
    able.parts.store.models.register("worker-3", unable)
    source = {"id": own()}
    given = {EXTENSIONS: {"video": source}, BLENDS: {"from_video": source, "to_video": source}}
    sent = given.get(url, {}) | fields | {"model": "unable"}
    assert post(able, url, 400, **sent)["error"]["param"] == param
