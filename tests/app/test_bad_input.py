"""Requests that cannot be done: refused by the name of the field, and nothing is left behind."""

import base64
import json
import zlib

import pytest
from pydantic import ValidationError

from app.api.schemas import VideoCreate
from app.api.webhooks import EndpointCreate

PNG = "data:image/png;base64,"
NOT_BASE64 = PNG + "%%%"


@pytest.fixture
def client(lasting_client):
    return lasting_client


def url_of(data):
    return {"image_url": PNG + base64.b64encode(data).decode()}


BAD_FIELDS = [
    ({}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": "  \n"}, "prompt"),
    ({"prompt": "x" * 101}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": ["x"]}, "prompt"),
    ({"prompt": "a\0b"}, "prompt"),
    ({"negative_prompt": "x" * 101}, "negative_prompt"),
    ({"colour": "red"}, "colour"),
    ({"output_path": "/tmp/x"}, "output_path"),
    ({"path": "/tmp/x"}, "path"),
    ({"body": "red"}, "body"),
    ({"metadata": {"query": 5}}, "metadata.query"),
    ({"model": "wan-99"}, "model"),
    ({"model": ""}, "model"),
    ({"model": 7}, "model"),
    ({"size": "big"}, "size"),
    ({"size": "64"}, "size"),
    ({"size": "0x64"}, "size"),
    ({"size": "-64x64"}, "size"),
    ({"size": "64x63"}, "size"),
    ({"size": "8x8"}, "size"),
    ({"size": "4096x4096"}, "size"),
    ({"size": "99999x99999"}, "size"),
    ({"size": "64x64x64"}, "size"),
    ({"size": 64}, "size"),
    ({"size": "६४x६४"}, "size"),
    ({"seconds": "soon"}, "seconds"),
    ({"seconds": "0"}, "seconds"),
    ({"seconds": -1}, "seconds"),
    ({"seconds": "-0.0"}, "seconds"),
    ({"seconds": "nan"}, "seconds"),
    ({"seconds": "inf"}, "seconds"),
    ({"seconds": 1e9}, "seconds"),
    ({"seconds": 20}, "seconds"),
    ({"seconds": True}, "seconds"),
    ({"seconds": [4]}, "seconds"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**53}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"seed": "abc"}, "seed"),
    ({"seed": True}, "seed"),
    ({"num_inference_steps": 0}, "num_inference_steps"),
    ({"num_inference_steps": 201}, "num_inference_steps"),
    ({"num_inference_steps": "many"}, "num_inference_steps"),
    ({"guidance_scale": -1}, "guidance_scale"),
    ({"guidance_scale": "nan"}, "guidance_scale"),
    ({"flow_shift": 0}, "flow_shift"),
    ({"fps": 0}, "fps"),
    ({"fps": 1000}, "fps"),
    ({"fps": 8.5}, "fps"),
    ({"last_frame": {"image_url": "https://example.com/a.png"}}, "last_frame"),
    ({"input_reference": "https://example.com/a.png"}, "input_reference"),
    ({"input_reference": ""}, "input_reference"),
    ({"input_reference": "{"}, "input_reference"),
    ({"input_reference": []}, "input_reference"),
    ({"input_reference": {}}, "input_reference"),
    ({"input_reference": {"url": "https://example.com/a.png"}}, "input_reference"),
    ({"input_reference": {"image_url": 5}}, "input_reference"),
    ({"input_reference": {"image_url": "a", "file_id": "b"}}, "input_reference"),
    ({"input_reference": {"file_id": "file_none"}}, "input_reference"),
    ({"input_reference": {"image_url": "http://example.com/a.png"}}, "input_reference"),
    ({"input_reference": {"image_url": "file:///etc/passwd"}}, "input_reference"),
    ({"input_reference": {"image_url": "ftp://example.com/a.png"}}, "input_reference"),
    ({"input_reference": {"image_url": "https://127.0.0.1/a.png"}}, "input_reference"),
    ({"input_reference": {"image_url": "https://localhost/a.png"}}, "input_reference"),
    ({"input_reference": {"image_url": "https://10.0.0.1/a.png"}}, "input_reference"),
    ({"input_reference": {"image_url": "https://169.254.169.254/"}}, "input_reference"),
    ({"input_reference": {"image_url": "https://[::1]/a.png"}}, "input_reference"),
    ({"input_reference": {"image_url": "https://user:pass@1.1.1.1/a.png"}}, "input_reference"),
    ({"input_reference": {"image_url": "https://"}}, "input_reference"),
    ({"input_reference": {"image_url": "nonsense"}}, "input_reference"),
    ({"input_reference": {"image_url": "data:image/png,abc"}}, "input_reference"),
    ({"input_reference": {"image_url": NOT_BASE64}}, "input_reference"),
    ({"input_reference": {"image_url": PNG}}, "input_reference"),
    ({"input_reference": url_of(b"hello")}, "input_reference"),
    ({"input_reference": url_of(b"GIF89a....")}, "input_reference"),
]


def assert_refused(client, answer, param, status=400):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == param, error
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["code"]
    assert error["message"].endswith("."), error["message"]
    assert_nothing_stored(client)


def assert_nothing_stored(client):
    assert client.parts.store.list().jobs == []
    assert list(client.parts.blobs.list()) == []


@pytest.mark.parametrize(("fields", "param"), BAD_FIELDS, ids=lambda value: repr(value)[:60])
def test_a_bad_field_is_refused_by_its_name_in_json(client, fields, param):
    body = {"prompt": "a red cube"} | fields if fields else {}
    assert_refused(client, client.post("/v1/videos", json=body), param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (fields, param)
        for fields, param in BAD_FIELDS
        if all(isinstance(v, str) for v in fields.values())
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_bad_field_is_refused_by_its_name_in_a_form(client, fields, param):
    body = {"prompt": "a red cube"} | fields if fields else {"size": "64x64"}
    files = [(name, (None, value)) for name, value in body.items()]
    assert_refused(client, client.post("/v1/videos", files=files), param)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'"x"',
        b"null",
        b'{"prompt": NaN}',
        b'{"prompt": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"prompt": "x", "metadata": {"\xed\xa0\x80": "half a pair"}}',
        '{"prompt": "x", "metadata": {"\\ud800": "in UTF-16"}}'.encode("utf-16"),
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"prompt": "one", "prompt": "another"}',
        b'{"prompt": "x", "metadata": {"take": "1", "take": "2"}}',
        b'{"seed": ' + b"1" * 10_000 + b"}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_is_not_a_json_object_is_refused(client, body):
    answer = client.post("/v1/videos", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] in ("invalid_json", "invalid_value")
    assert_nothing_stored(client)


def test_an_object_of_too_many_names_is_refused_before_each_is_looked_at(client):
    body = {"prompt": "x", "metadata": {str(number): number for number in range(257)}}
    answer = client.post("/v1/videos", json=body)
    assert_refused(client, answer, None)
    assert answer.json()["error"]["message"] == (
        "The body cannot be read as JSON: an object has more than 256 names."
    )


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (VideoCreate, {"prompt": "x", "storyboard": [1] * 99}),
        (VideoCreate, {"prompt": "x", "storyboard": [{"prompt": "", "seconds": 1}] * 99}),
        (EndpointCreate, {"name": "n", "url": "u", "event_types": ["x"] * 99}),
    ],
)
def test_of_many_mistakes_in_a_list_one_is_looked_for(kind, fields):
    with pytest.raises(ValidationError) as refused:
        kind.model_validate(fields)
    assert refused.value.error_count() == 1


def test_a_body_is_refused_at_whatever_depth_its_reader_ends(client):
    headers = {"content-type": "application/json"}
    for depth in range(960, 1000):
        body = b'{"prompt": "x", "metadata": ' + depth * b"[" + depth * b"]" + b"}"
        assert client.post("/v1/videos", content=body, headers=headers).status_code == 400
    assert_nothing_stored(client)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("metadata", r'{"take": "\ud800"}'),
        ("metadata", r'{"\uD800": "1"}'),
        ("metadata", '{"take": "1", "take": "2"}'),
        ("storyboard", '[{"prompt": "x", "seconds": 1, "seconds": 2}]'),
        ("input_reference", r'{"image_url": "\ud800"}'),
    ],
)
def test_json_in_a_form_is_read_as_strictly_as_a_body(client, field, text):
    form = [("prompt", (None, "x")), (field, (None, text))]
    assert_refused(client, client.post("/v1/videos", files=form), field)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "video/mp4", "json", ""]
)
def test_another_content_type_is_refused(client, content_type):
    headers = {"content-type": content_type}
    answer = client.post("/v1/videos", content=b'{"prompt": "x"}', headers=headers)
    assert_refused(client, answer, "content-type")


def form(*parts, end=b"--b--\r\n"):
    head = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    return b"".join(head % part for part in parts) + end


PROMPT = (b"prompt", b"", b"a red cube")


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape", "nonsense"])
def test_a_form_in_another_encoding_is_refused(client, charset):
    body = b'--b\r\ncontent-disposition: form-data; name="metadata[a\\ud800]"\r\n\r\nx\r\n--b--\r\n'
    headers = {"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = client.post("/v1/videos", content=body, headers=headers)
    assert_refused(client, answer, "content-type")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (form(PROMPT, end=b""), None),
        (form(PROMPT)[:40], None),
        (b"no form at all", None),
        (b"", None),
        (form(PROMPT, PROMPT), "prompt"),
        (form(PROMPT, (b"prompt[a]", b"", b"x")), "prompt"),
        (form(PROMPT, (b"[]", b"", b"x")), "[]"),
        (form(PROMPT, (b"a[b", b"", b"x")), "a[b"),
        (form(PROMPT, (b"seed[]", b"", b"1")), "seed"),
        (form(PROMPT, (b"input_reference[image_url]", b"", b"nonsense")), "input_reference"),
        (form(PROMPT, (b"input_reference[bad]", b"", b"x")), "input_reference"),
        (form(PROMPT, (b"input_reference", b"", b"\x89PNG\r\n\x1a\n....")), "input_reference"),
        (form(PROMPT, (b"prompt2", b'; filename="a.txt"', b"x")), "prompt2"),
        (form((b"prompt", b'; filename="a.txt"', b"x")), "prompt"),
        (form(PROMPT, (b"tags[][a][][b]", b"", b"x")), "tags"),
    ],
)
def test_a_broken_form_is_refused(client, body, param):
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/videos", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param, answer.text
    assert_nothing_stored(client)


def test_a_form_without_a_boundary_is_refused(client):
    headers = {"content-type": "multipart/form-data"}
    answer = client.post("/v1/videos", content=form(PROMPT), headers=headers)
    assert answer.status_code == 400
    assert_nothing_stored(client)


def huge_png(side):
    """A small PNG file that claims `side` x `side` pixels of one bit."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    sizes = side.to_bytes(4, "big") * 2
    pixels = zlib.compress(bytes(1 + side // 8) * min(side, 1000))
    header = chunk(b"IHDR", sizes + b"\x01\x00\x00\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


BAD_IMAGES = {
    "empty": lambda image: b"",
    "text": lambda image: b"hello, this is not an image",
    "gif": lambda image: image("GIF"),
    "bmp": lambda image: image("BMP"),
    "svg": lambda image: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "truncated png": lambda image: image("PNG")[:-40],
    "truncated jpeg": lambda image: image("JPEG")[:-200],
    "truncated webp": lambda image: image("WEBP")[:-20],
    "only a png signature": lambda image: b"\x89PNG\r\n\x1a\n",
    "damaged png": lambda image: image("PNG").replace(b"IDAT", b"IDOT"),
    "100000 pixels wide": lambda image: huge_png(100_000),
    "a wav file": lambda image: b"RIFF\x00\x00\x00\x00WAVEfmt ",
    "animated webp": lambda image: image("WEBP", save_all=True, append_images=[blue()]),
    "another size": lambda image: image("PNG", (32, 64)),
}


def blue():
    from PIL import Image

    return Image.new("RGB", (64, 64), "blue")


def test_an_image_of_too_many_pixels_is_refused_in_one_sentence(client):
    given = {"prompt": "x", "input_reference": url_of(huge_png(8000))}
    error = client.post("/v1/videos", json=given).json()["error"]
    assert error["code"] == "image_too_large"
    assert error["message"] == "input_reference has more than the 50000000 pixels that are taken."


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_refused(client, image, name):
    data = BAD_IMAGES[name](image)
    for filename in ("a.png", "upload"):
        files = {"input_reference": (filename, data, "application/octet-stream")}
        answer = client.post("/v1/videos", data={"prompt": "x", "size": "64x64"}, files=files)
        assert_refused(client, answer, "input_reference")
    body = {"prompt": "x", "size": "64x64", "input_reference": url_of(data)}
    assert_refused(client, client.post("/v1/videos", json=body), "input_reference")


def test_a_body_over_the_limit_is_a_413(client):
    files = {"input_reference": ("a.png", bytes(2**20 + 1), "image/png")}
    answer = client.post("/v1/videos", data={"prompt": "x"}, files=files)
    assert_refused(client, answer, None, 413)


def test_a_body_over_the_limit_is_a_413_even_when_it_hides_its_length(client):
    chunks = (json.dumps({"prompt": "x" * 2**16}).encode() for _ in range(20))
    answer = client.post("/v1/videos", content=chunks, headers={"content-type": "application/json"})
    assert_refused(client, answer, None, 413)


def test_with_no_worker_registered_a_create_says_that_the_service_is_not_ready(settings, serve):
    with serve(settings) as client:
        answer = client.post("/v1/videos", json={"prompt": "x"})
        assert answer.status_code == 503
        assert answer.json()["error"]["type"] == "server_error"
        assert_nothing_stored(client)
