"""Downloads: the whole file, a part of it, or the news that the client has it already."""

from dataclasses import replace

import pytest

from app.contract.blobs import Blobs

DATA = bytes(range(256)) * 4


@pytest.fixture
def video(client, finish):
    answer = client.post("/v1/videos", json={"prompt": 'a "red" cube / Würfel\n'})
    finish(client.parts, answer.json()["id"], DATA)
    return f"/v1/videos/{answer.json()['id']}/content"


def test_a_finished_video_is_downloaded_whole(client, video):
    answer = client.get(video, headers={"accept": "application/binary"})
    assert answer.status_code == 200
    assert answer.content == DATA
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == (
        "inline; filename=\"a red cube - Wrfel.mp4\"; filename*=UTF-8''"
        "a%20%22red%22%20cube%20-%20W%C3%BCrfel.mp4"
    )


def test_head_has_the_headers_of_get_and_no_body(client, video):
    get, head = client.get(video), client.head(video)
    assert (head.status_code, head.content) == (200, b"")
    drop = {"x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in drop} == {
        k: v for k, v in get.headers.items() if k not in drop
    }


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=1000-", 1000, 1023),
        ("bytes=1000-9999", 1000, 1023),
        ("bytes=-24", 1000, 1023),
        ("bytes=-9999", 0, 1023),
    ],
)
def test_a_range_is_answered_with_exactly_that_part(client, video, wanted, first, last):
    answer = client.get(video, headers={"range": wanted})
    assert answer.status_code == 206
    assert answer.content == DATA[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/1024"
    assert answer.headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("wanted", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_outside_the_file_is_a_416_that_tells_the_size(client, video, wanted):
    answer = client.get(video, headers={"range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */1024"
    assert answer.json()["error"]["code"] == "range_not_satisfiable"


@pytest.mark.parametrize(
    "wanted",
    ["bytes=0-1,4-5", "lines=1-2", "bytes=5-2", "bytes=-", "bytes=x-", "bytes=" + "9" * 40 + "-"],
)
def test_a_range_that_need_not_be_understood_gives_the_whole_file(client, video, wanted):
    answer = client.get(video, headers={"range": wanted})
    assert (answer.status_code, answer.content) == (200, DATA)


def test_a_client_that_has_this_version_is_told_so(client, video):
    first = client.get(video)
    for name, value in (
        ("if-none-match", first.headers["etag"]),
        ("if-none-match", f'"other", W/{first.headers["etag"]}'),
        ("if-none-match", "*"),
        ("if-modified-since", first.headers["last-modified"]),
    ):
        answer = client.get(video, headers={name: value})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == first.headers["etag"]
    for name, value in (
        ("if-none-match", '"other"'),
        ("if-modified-since", "Sat, 01 Jan 2000 00:00:00 GMT"),
        ("if-modified-since", "yesterday"),
    ):
        assert client.get(video, headers={name: value}).status_code == 200


def test_a_range_of_another_version_gives_the_whole_file(client, video):
    etag = client.head(video).headers["etag"]
    for condition, status in ((etag, 206), ('"other"', 200)):
        headers = {"range": "bytes=0-9", "if-range": condition}
        assert client.get(video, headers=headers).status_code == status


def test_a_video_that_is_not_there_yet_is_a_conflict_not_worth_a_retry(client):
    made = client.post("/v1/videos", json={"prompt": "a red cube"}).json()
    answer = client.get(f"/v1/videos/{made['id']}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "video_not_ready")
    assert answer.headers["x-should-retry"] == "false"


def test_a_video_that_failed_or_expired_has_no_content(client, video):
    made = client.post("/v1/videos", json={"prompt": "a red cube"}).json()
    client.post(f"/v1/videos/{made['id']}/cancel")
    answer = client.get(f"/v1/videos/{made['id']}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_failed")
    client.parts.blobs.delete_prefix("videos/" + video.split("/")[3])
    answer = client.get(video)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_expired")


def test_a_variant_that_does_not_exist_is_refused_by_name(client, video):
    answer = client.get(video, params={"variant": "hologram"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "variant")
    assert client.get(video, params={"variant": "video"}).content == DATA


@pytest.mark.parametrize(
    ("variant", "file", "media_type"),
    [
        ("thumbnail", "thumbnail.webp", "image/webp"),
        ("spritesheet", "spritesheet.jpg", "image/jpeg"),
        ("spritesheet_map", "spritesheet.vtt", "text/vtt; charset=utf-8"),
        ("preview_webp", "preview.webp", "image/webp"),
        ("preview_gif", "preview.gif", "image/gif"),
    ],
)
def test_each_file_that_was_made_with_a_video_is_a_variant(
    client, video, variant, file, media_type
):
    key = client.parts.store.list().jobs[0].output_key
    client.parts.blobs.put(key.replace("video.mp4", file), b"12345", media_type)
    answer = client.get(video, params={"variant": variant})
    assert (answer.content, answer.headers["content-type"]) == (b"12345", media_type)
    assert answer.headers["etag"] != client.head(video).headers["etag"]
    assert f'.{file.rpartition(".")[2]}"' in answer.headers["content-disposition"]
    part = client.get(video, params={"variant": variant}, headers={"range": "bytes=1-2"})
    assert (part.status_code, part.content) == (206, b"23")


def test_the_map_names_the_sprite_sheet_by_an_address_that_exists(client, video):
    key = client.parts.store.list().jobs[0].output_key
    client.parts.blobs.put(key.replace("video.mp4", "spritesheet.jpg"), b"sheet", "image/jpeg")
    assert client.get(video.replace("content", "spritesheet.jpg")).content == b"sheet"


def test_a_browser_shows_a_video_unless_it_is_told_to_save_it(client, video):
    shown, saved = (client.head(video, params={"download": d}) for d in ("false", "true"))
    assert shown.headers["content-disposition"].startswith("inline; ")
    assert saved.headers["content-disposition"].startswith("attachment; ")


def test_a_folder_serves_downloads_itself_even_when_redirects_are_wanted(settings, serve, video):
    with serve(replace(settings, download_redirect_s=60.0)) as other:
        answer = other.get(video, follow_redirects=False)
    assert (answer.status_code, answer.content) == (200, DATA)


def test_a_video_that_is_removed_while_it_is_asked_for_is_gone(client, video, monkeypatch):
    info = Blobs.info

    def look_and_remove(blobs, key):
        found = info(blobs, key)
        blobs.delete(key)
        return found

    monkeypatch.setattr(Blobs, "info", look_and_remove)
    answer = client.get(video)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "video_expired")


def test_a_wrong_method_is_told_which_ones_are_right(client, video):
    answer = client.delete(video)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert client.put("/v1/videos").headers["allow"] == "GET, POST"
    for path in ("/openapi.json", "/static-offline-docs/swagger-ui.css"):
        answer = client.delete(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert "; GET and HEAD is." in answer.json()["error"]["message"]
