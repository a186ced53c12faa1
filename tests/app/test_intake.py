"""References: from every form in which a client sends them to the same clean PNG in the store."""

import base64
import io
import json

import pytest
from PIL import Image

from app.contract.job import input_key


@pytest.fixture
def client(lasting_client):
    return lasting_client


def stored(client, answer):
    assert answer.status_code == 200, answer.text
    job = client.parts.store.get(answer.json()["id"])
    assert job.spec.image == input_key(job.id, "image.png")
    with Image.open(io.BytesIO(client.parts.blobs.get(job.spec.image))) as image:
        image.load()
        return image


def data_url(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


def test_every_way_to_send_an_image_stores_the_same_picture(client, png):
    url = data_url(png)
    part = ("a.png", png, "image/png")
    raw = ("upload", png, "application/octet-stream")
    lying = ("a.txt", png, "text/plain")
    text = {"prompt": (None, "x")}
    answers = [
        client.post("/v1/videos", files=text | {"input_reference": part}),
        client.post("/v1/videos", files=text | {"input_reference": raw}),
        client.post("/v1/videos", files=text | {"input_reference": lying}),
        client.post("/v1/videos", files=text | {"input_reference[image_url]": (None, url)}),
        client.post(
            "/v1/videos", files=text | {"input_reference": (None, json.dumps({"image_url": url}))}
        ),
        client.post("/v1/videos", json={"prompt": "x", "input_reference": {"image_url": url}}),
    ]
    pictures = [stored(client, answer) for answer in answers]
    assert {(picture.format, picture.mode, picture.size) for picture in pictures} == {
        ("PNG", "RGB", (64, 64))
    }
    assert {picture.getpixel((5, 5)) for picture in pictures} == {(255, 0, 0)}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_three_image_types_are_taken(client, image, kind):
    files = {"prompt": (None, "x"), "input_reference": ("upload", image(kind))}
    picture = stored(client, client.post("/v1/videos", files=files))
    assert all(abs(a - b) < 4 for a, b in zip(picture.getpixel((5, 5)), (255, 0, 0), strict=True))


def test_a_cameras_photo_with_a_second_picture_behind_it_is_a_still(client):
    file = io.BytesIO()
    small = Image.new("RGB", (32, 32), "blue")
    Image.new("RGB", (64, 64), "red").save(file, "MPO", save_all=True, append_images=[small])
    files = {"prompt": (None, "x"), "input_reference": ("upload.jpg", file.getvalue())}
    picture = stored(client, client.post("/v1/videos", files=files))
    assert picture.size == (64, 64)
    assert picture.getpixel((5, 5))[0] > 250


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_colour_mode_becomes_plain_rgb(client, image, mode):
    file = io.BytesIO()
    Image.new(mode, (64, 64), 0).save(file, "PNG")
    files = {"prompt": (None, "x"), "input_reference": ("upload", file.getvalue())}
    assert stored(client, client.post("/v1/videos", files=files)).mode == "RGB"


def test_sixteen_bit_grey_is_scaled_not_clipped(client):
    file = io.BytesIO()
    Image.new("I;16", (64, 64), 32768).save(file, "PNG")
    files = {"prompt": (None, "x"), "input_reference": ("upload", file.getvalue())}
    picture = stored(client, client.post("/v1/videos", files=files))
    assert picture.getpixel((0, 0)) == (128, 128, 128)


def test_transparent_parts_become_black(client):
    file = io.BytesIO()
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).save(file, "PNG")
    files = {"prompt": (None, "x"), "input_reference": ("upload", file.getvalue())}
    picture = stored(client, client.post("/v1/videos", files=files))
    assert picture.getpixel((0, 0)) == (0, 0, 0)


def test_a_rotated_photo_is_stored_upright_and_without_metadata(client):
    file = io.BytesIO()
    photo = Image.new("RGB", (64, 32), "red")
    exif = photo.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees to view
    exif[0x010E] = "secret place"
    photo.save(file, "JPEG", exif=exif)
    files = {"prompt": (None, "x"), "input_reference": ("upload", file.getvalue())}
    answer = client.post("/v1/videos", files=files)
    picture = stored(client, answer)
    assert picture.size == (32, 64)
    assert not picture.info.get("exif")
    assert dict(picture.getexif()) == {}


def test_without_a_size_the_video_takes_the_images(client, image):
    files = {"prompt": (None, "x"), "input_reference": ("upload", image("PNG", (96, 48)))}
    assert client.post("/v1/videos", files=files).json()["size"] == "96x48"


def test_bytes_behind_the_image_are_not_kept(client, png):
    polyglot = png + b"<script>alert(1)</script>"
    files = {"prompt": (None, "x"), "input_reference": ("upload", polyglot)}
    answer = client.post("/v1/videos", files=files)
    stored(client, answer)
    key = input_key(answer.json()["id"], "image.png")
    assert b"<script>" not in client.parts.blobs.get(key)


def test_a_repeated_request_stores_its_image_only_once(client, image):
    def send(color_mode):
        files = {
            "prompt": (None, "x"),
            "input_reference": ("upload", image("PNG", mode=color_mode)),
        }
        return client.post("/v1/videos", files=files, headers={"idempotency-key": "once"})

    first = send("RGB").json()
    blobs = {blob.key for blob in client.parts.blobs.list()}
    assert input_key(first["id"], "image.png") in blobs
    assert send("RGB").json()["id"] == first["id"]
    assert send("RGBA").status_code == 409
    assert {blob.key for blob in client.parts.blobs.list()} == blobs
