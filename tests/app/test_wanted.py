"""The fields of a create that OpenAI's API lacks: what they become, and what is refused."""

import base64
import json
from dataclasses import replace

import pytest

from app.contract.job import Shot


@pytest.fixture
def able(client, capabilities):
    """A client of a service with a model that can do everything."""
    modes = ("text", "image", "first_last", "edit", "extend", "lead_in", "loop", "storyboard")
    can = replace(capabilities, model_id="able", modes=modes, guidance_2=3.0)
    client.parts.store.models.register("worker-2", can)
    return client


def create(client, status=200, **fields):
    body = {"prompt": "a red cube", "model": "able"} | fields
    answer = client.post("/v1/videos", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def spec_of(client, video):
    return client.parts.store.get(video["id"]).spec


def test_a_style_adds_the_models_words_to_the_prompt(able):
    video = create(able, style="black and white")
    assert (video["prompt"], video["style"]) == ("a red cube", "black and white")
    assert video["revised_prompt"] == "a red cube, black and white film"
    assert spec_of(able, video).prompt == video["revised_prompt"]


def test_what_is_given_beside_the_picture_is_told_again(able):
    fields = {
        "metadata": {"take": "7", "note": "Würfel"},
        "priority": -5,
        "guidance_scale_2": 2.5,
        "webhook_url": "https://1.1.1.1/hook",
        "negative_prompt": "green",
        "flow_shift": 4.5,
    }
    video = create(able, **fields)
    assert {name: video[name] for name in fields} == fields
    job = able.parts.store.get(video["id"])
    assert (job.priority, job.webhook_url) == (-5, "https://1.1.1.1/hook")
    assert (job.spec.guidance_2, job.spec.flow_shift) == (2.5, 4.5)


def test_a_guidance_given_alone_holds_for_both_experts(able):
    for fields, expected in (
        ({}, 3.0),
        ({"guidance_scale": 1}, 1.0),
        ({"guidance_scale": 1, "guidance_scale_2": 2.5}, 2.5),
    ):
        assert create(able, **fields)["guidance_scale_2"] == expected
    assert create(able, guidance_scale=1, model="tiny")["guidance_scale_2"] is None


def test_several_videos_of_one_request_differ_in_their_seeds_and_know_each_other(able):
    first = create(able, n=3, seed=2**53 - 2)
    assert len(first["siblings"]) == 2
    others = [able.get(f"/v1/videos/{video_id}").json() for video_id in first["siblings"]]
    assert [video["seed"] for video in (first, *others)] == [2**53 - 2, 2**53 - 1, 0]
    assert set(others[0]["siblings"]) == {first["id"], others[1]["id"]}
    assert len(able.get("/v1/videos").json()["data"]) == 3


def test_a_repeated_request_for_several_videos_gives_the_first_of_them(able):
    body = {"prompt": "a red cube", "n": 2}
    for headers in ({"idempotency-key": "k"}, {"x-stainless-retry-count": "1"}):
        first = able.post("/v1/videos", json=body, headers=headers).json()
        assert able.post("/v1/videos", json=body, headers=headers).json()["id"] == first["id"]
        assert len(first["siblings"]) == 1


def test_all_of_several_videos_fit_into_the_queue_or_none_is_made(settings, serve, able):
    with serve(replace(settings, max_queued=2)) as other:
        create(other, status=429, n=3)
        assert other.get("/v1/videos").json()["data"] == []
        create(other, n=2)


def test_a_loop_is_asked_for_in_any_encoding(able):
    assert spec_of(able, create(able, loop=True, seconds="2")).loop
    form = {"prompt": "x", "model": "able", "loop": "true", "seconds": "2"}
    looped = able.post("/v1/videos", files=[(name, (None, text)) for name, text in form.items()])
    assert looped.json()["loop"] is True
    assert not spec_of(able, create(able, loop=False)).loop


def test_a_last_frame_is_none_of_a_clip_of_one(able, png):
    picture = {"image_url": "data:image/png;base64," + base64.b64encode(png).decode()}
    ends = {"input_reference": picture, "last_frame": picture}
    assert create(able, status=400, seconds=0.01, **ends)["error"]["param"] == "seconds"
    assert create(able, seconds=0.5, **ends)["frames"] == 5


SHOTS = [{"prompt": "a red ball", "seconds": 1}, {"prompt": "a blue ball", "seconds": "1.5"}]


@pytest.mark.parametrize(
    "form",
    [
        [("storyboard", json.dumps(SHOTS))],
        [
            ("storyboard[][prompt]", "a red ball"),
            ("storyboard[][prompt]", "a blue ball"),
            ("storyboard[][seconds]", "1"),
            ("storyboard[][seconds]", "1.5"),
        ],
    ],
)
def test_a_storyboard_is_prompts_that_share_the_frames(able, form):
    fields = [("prompt", "two balls"), ("model", "able"), *form]
    sent = able.post("/v1/videos", files=[(name, (None, text)) for name, text in fields]).json()
    video = create(able, prompt="two balls", storyboard=SHOTS)
    for made in (sent, video):
        shots = (Shot(prompt="a red ball", frames=8), Shot(prompt="a blue ball", frames=13))
        assert spec_of(able, made).shots == shots
        assert made["storyboard"] == [
            {"prompt": "a red ball", "seconds": 1.0},
            {"prompt": "a blue ball", "seconds": 1.625},
        ]
        assert (made["prompt"], made["frames"]) == ("two balls", 21)


def test_a_video_is_found_by_its_title_and_by_its_parts(able):
    video = create(able, prompt="two balls", storyboard=SHOTS)
    create(able)
    for words in ("two", "BLUE ball", "red two"):
        found = able.get("/v1/videos", params={"search": words}).json()["data"]
        assert [one["id"] for one in found] == [video["id"]]


def test_a_style_holds_for_every_part_of_a_storyboard(able):
    shots = spec_of(able, create(able, storyboard=SHOTS, style="sketch")).shots
    assert [shot.prompt for shot in shots] == [
        "a red ball, pencil sketch",
        "a blue ball, pencil sketch",
    ]


def test_metadata_comes_in_brackets_too(able):
    form = {"prompt": "x", "metadata[a]": "1", "metadata[b]": "2"}
    sent = able.post("/v1/videos", files=[(name, (None, text)) for name, text in form.items()])
    assert sent.json()["metadata"] == {"a": "1", "b": "2"}


REFUSED = [
    ({"style": "baroque"}, "style"),
    ({"style": ""}, "style"),
    ({"loop": "perhaps"}, "loop"),
    ({"loop": 1}, "loop"),
    ({"loop": True, "seconds": "0.6"}, "seconds"),
    ({"n": 0}, "n"),
    ({"n": 5}, "n"),
    ({"n": 1.5}, "n"),
    ({"priority": 101}, "priority"),
    ({"priority": "high"}, "priority"),
    ({"guidance_scale_2": -1}, "guidance_scale_2"),
    ({"guidance_scale_2": 2, "model": "tiny"}, "guidance_scale_2"),
    ({"metadata": "x"}, "metadata"),
    ({"metadata": ["x"]}, "metadata"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
    ({"webhook_url": "ftp://example.com"}, "webhook_url"),
    ({"webhook_url": "http://127.0.0.1/"}, "webhook_url"),
    ({"webhook_url": "x" * 3000}, "webhook_url"),
    ({"storyboard": []}, "storyboard"),
    ({"storyboard": "["}, "storyboard"),
    ({"storyboard": "red"}, "storyboard"),
    ({"storyboard": ["red"]}, "storyboard.0"),
    ({"storyboard": [{"prompt": "red"}]}, "storyboard.0.seconds"),
    ({"storyboard": [{"prompt": "", "seconds": 1}]}, "storyboard.0.prompt"),
    ({"storyboard": [{"prompt": "x" * 101, "seconds": 1}]}, "storyboard.0.prompt"),
    ({"storyboard": [{"prompt": "red", "seconds": 0.1}, *SHOTS]}, "storyboard.0.seconds"),
    ({"storyboard": [{"prompt": "red", "seconds": 9}, *SHOTS]}, "storyboard"),
    ({"storyboard": [{"prompt": "red", "seconds": 1, "colour": 1}]}, "storyboard.0.colour"),
    ({"storyboard": [SHOTS[0]] * 21}, "storyboard"),
    ({"storyboard": SHOTS, "seconds": 4}, "seconds"),
    ({"storyboard": SHOTS, "model": "tiny"}, "storyboard"),
    ({"loop": True, "model": "tiny"}, "loop"),
    ({"characters": [{"id": "x"}]}, "characters"),
]


@pytest.fixture(scope="module")
def lasting(lasting_client, capabilities):
    modes = ("text", "image", "loop", "storyboard")
    can = replace(capabilities, model_id="able", modes=modes, guidance_2=3.0)
    lasting_client.parts.store.models.register("worker-2", can)
    return lasting_client


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=lambda value: repr(value)[:50])
def test_a_bad_field_is_refused_by_its_name_and_nothing_is_stored(lasting, fields, param):
    error = create(lasting, status=400, **fields)["error"]
    assert error["param"] == param, error
    assert error["message"].endswith(".")
    assert lasting.parts.store.list().jobs == []
    assert list(lasting.parts.blobs.list()) == []
