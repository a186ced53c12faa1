"""The options of `kinora generate` as one request."""

import json
from pathlib import Path

import pytest

from app.wishes import Wish, WishError, wish


def wished(prompt="x", remix=None, video=None, extend=None, blend=None, **options):
    sources = {"video": video, "remix": remix, "extend": extend, "blend": blend}
    return wish(prompt, sources, {name.replace("_", "-"): v for name, v in options.items()})


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"a clip")
    return path


def test_options_become_the_fields_of_the_api():
    found = wished(seed=0, steps=4, guidance=2.5, negative_prompt="blur", size=None, loop=True)
    expected = {"seed": 0, "num_inference_steps": 4, "guidance_scale": 2.5, "loop": True}
    assert Wish({"prompt": "x", "negative_prompt": "blur"} | expected) == found


def test_a_picture_is_fitted_and_an_address_is_left_to_the_server():
    found = wished(image="https://example.org/a.png", last_image=__file__)
    assert {"image_url": "https://example.org/a.png"} == found.fields["input_reference"]
    assert {"last_frame": Path(__file__)} == found.pictures


@pytest.mark.parametrize(
    ("given", "path", "fields"),
    [
        ({"remix": "video_1"}, "/v1/videos/video_1/remix", {}),
        ({"video": "video_1"}, "/v1/videos/edits", {"video": {"id": "video_1"}}),
        (
            {"extend": "video_1", "direction": "backward"},
            "/v1/videos/extensions",
            {"video": {"id": "video_1"}, "direction": "backward"},
        ),
        (
            {"blend": ("video_1", "video_2"), "seconds": 2.0},
            "/v1/videos/blends",
            {"from_video": {"id": "video_1"}, "to_video": {"id": "video_2"}, "seconds": 2.0},
        ),
    ],
)
def test_a_finished_video_is_named_by_its_id(given, path, fields):
    assert Wish({"prompt": "x"} | fields, path) == wished(**given)


def test_files_are_sent_where_ids_could_be_given(clip):
    assert {"video": clip} == wished(extend=str(clip)).files
    found = wished(blend=("video_1", str(clip)))
    assert ({"to_video": clip}, {"id": "video_1"}) == (found.files, found.fields["from_video"])


def test_a_storyboard_is_lines_or_json(tmp_path):
    shots = [{"prompt": "a red ball", "seconds": 2.0}, {"prompt": "a blue 2 ball", "seconds": 1.5}]
    lines = tmp_path / "shots.txt"
    lines.write_text("\ufeff2 a red ball\n\n 1.5s  a blue 2 ball \n", encoding="utf-8")
    written = tmp_path / "shots.json"
    written.write_text(json.dumps(shots))
    assert shots == wished(storyboard=lines).fields["storyboard"]
    assert shots == wished(storyboard=written).fields["storyboard"]


def test_metadata_is_pairs():
    assert {"a": "1", "b": "x=y"} == wished(metadata=["a=1", "b=x=y"]).fields["metadata"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"video": "video_1", "extend": "video_2"}, "--video and --extend"),
        ({"remix": "video_1", "size": "64x64"}, "--size cannot be given with --remix"),
        ({"extend": "video_1", "n": 2}, "--n cannot be given with --extend"),
        ({"blend": ("video_1", "video_2"), "loop": True}, "--loop cannot be given with --blend"),
        ({"strength": 0.5}, "--strength needs --remix or --video"),
        ({"direction": "forward"}, "--direction needs --extend"),
        ({"remix": "../models"}, "not the id of a video"),
        ({"video": "/nowhere/a.mp4"}, "/nowhere/a.mp4 is neither a file nor the id"),
        ({"metadata": ["a"]}, "NAME=VALUE"),
        ({"image": "/nowhere/a.png"}, "--image: /nowhere/a.png is neither a file nor an address"),
        ({"guidance": float("inf")}, "--guidance is a number"),
    ],
)
def test_options_that_do_not_go_together_are_named(given, said):
    with pytest.raises(WishError, match=said):
        wished(**given)


def test_a_storyboard_that_cannot_be_read_names_its_line(tmp_path):
    broken = tmp_path / "shots.txt"
    broken.write_text("2 a red ball\nsoon a blue ball\n")
    with pytest.raises(WishError, match="line 2 of"):
        wished(storyboard=broken)
    broken.write_bytes("2 ein grüner Ball".encode("latin-1"))
    with pytest.raises(WishError, match="is not UTF-8"):
        wished(storyboard=broken)
    broken.write_text("[{")
    with pytest.raises(WishError, match="is not JSON"):
        wished(storyboard=broken)
