"""Files, through the official client."""

import openai
import pytest

from app import uploads
from app.contract.files import file_key
from app.contract.keys import KeyLimits
from app.errors import InvalidRequest
from worker.sweep import remove_files


@pytest.fixture
def sdk(server):
    with openai.OpenAI(base_url=f"{server.client.base_url}/v1", api_key="none") as client:
        yield client


def test_an_uploaded_file_is_found_listed_read_and_deleted(sdk, server):
    made = sdk.files.create(file=("cats.jsonl", b"{}\n"), purpose="batch")
    assert ("cats.jsonl", 3, "batch", "processed") == (
        made.filename,
        made.bytes,
        made.purpose,
        made.status,
    )
    assert made.expires_at - made.created_at == 30 * 24 * 3600
    assert made == sdk.files.retrieve(made.id)
    assert b"{}\n" == sdk.files.content(made.id).content
    assert sdk.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(made.id)
    remove_files(server.parts.store, server.parts.blobs)
    assert [] == list(server.parts.blobs.list("files"))


def test_files_are_listed_in_pages_by_purpose(sdk):
    ids = [sdk.files.create(file=b"x", purpose="vision").id for _ in range(3)]
    sdk.files.create(file=b"x", purpose="user_data")
    assert ids[::-1] == [file.id for file in sdk.files.list(purpose="vision", limit=2)]
    assert ids == [file.id for file in sdk.files.list(purpose="vision", order="asc", limit=1)]


def test_files_can_be_deleted_while_they_are_listed(sdk):
    made = [sdk.files.create(file=b"x", purpose="vision").id for _ in range(3)]
    assert made[::-1] == [sdk.files.delete(file.id).id for file in sdk.files.list(limit=2)]


def test_an_expired_file_is_gone_and_its_bytes_are_swept(sdk, server):
    made = sdk.files.create(
        file=b"x", purpose="vision", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert 3600 == made.expires_at - made.created_at
    with server.parts.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE files SET expires_at = 1")
    with pytest.raises(openai.NotFoundError):
        sdk.files.content(made.id)
    remove_files(server.parts.store, server.parts.blobs)
    assert [] == list(server.parts.blobs.list("files"))


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "never", "seconds": 3600}}, "expires_after.anchor"),
        ({"extra_body": {"colour": "red"}}, "colour"),
    ],
)
def test_a_bad_upload_names_what_is_wrong(sdk, change, param):
    with pytest.raises(openai.BadRequestError) as refused:
        sdk.files.create(**{"file": b"x", "purpose": "vision"} | change)
    assert param == refused.value.param


def test_a_file_is_a_file_part(client):
    for body in ({"json": {"file": "x", "purpose": "vision"}}, {"data": {"purpose": "vision"}}):
        refused = client.post("/v1/files", **body)
        assert refused.status_code == 400


def test_an_upload_above_the_limit_is_refused(settings_in, serve, tmp_path):
    with serve(settings_in(tmp_path, max_file_bytes=2**21)) as client:
        form = {"files": {"file": b"x" * (2**20 + 10)}, "data": {"purpose": "vision"}}
        assert client.post("/v1/files", **form).status_code == 200
        words = {"purpose": "vision", "file": "x" * (2**20 + 10)}
        assert client.post("/v1/files", json=words).status_code == 413
        part = {name: (None, text) for name, text in words.items()}
        assert client.post("/v1/files", files=part).status_code == 400
        form["files"]["file"] *= 2
        assert client.post("/v1/files", **form).status_code == 413


def test_a_text_beside_a_file_is_short(client):
    form = {"files": {"file": b"x"}, "data": {"purpose": "vision" * 2**14}}
    assert client.post("/v1/files", **form).json()["error"]["code"] == "invalid_form"


def test_owners_do_not_see_each_others_files(sdk, server):
    secrets = [server.parts.store.keys.create(name)[1] for name in "ab"]
    one, other = (sdk.with_options(api_key=secret) for secret in secrets)
    made = one.files.create(file=b"x", purpose="vision")
    assert [] == other.files.list().data
    for look in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError):
            look(made.id)
    assert b"x" == one.files.content(made.id).read()


def test_a_key_stores_no_more_than_its_quota(sdk, server):
    limits = KeyLimits(storage_bytes=10)
    one = sdk.with_options(api_key=server.parts.store.keys.create("a", limits=limits)[1])
    first = one.files.create(file=b"x" * 8, purpose="vision")
    with pytest.raises(openai.RateLimitError) as refused:
        one.files.create(file=b"x" * 3, purpose="vision")
    assert ("storage_full", "false") == (
        refused.value.code,
        refused.value.response.headers["x-should-retry"],
    )
    assert 1 == len(list(server.parts.blobs.list("files")))
    one.files.delete(first.id)
    one.files.create(file=b"x" * 3, purpose="vision")


def test_a_named_file_is_read_for_its_owner_only(client):
    parts, caller = client.parts, uploads.Caller("a", None)
    made = uploads.store(
        parts, caller, b"pixels", purpose="vision", filename="../../x\n.png", expire_s=None
    )
    text = uploads.store(parts, caller, b"{}", purpose="batch", filename="x", expire_s=None)
    assert "x.png" == made.filename
    assert b"pixels" == uploads.read_file(parts, "a", made.id, "image", 100)
    with uploads.open_file(parts, "a", made.id, "video") as file:
        assert b"pixels" == file.read()
    parts.blobs.delete(file_key(made.id))
    for owner, file_id, limit in (
        ("b", made.id, 100),
        ("a", made.id, 100),
        ("a", made.id, 5),
        ("a", text.id, 100),
        ("a", "file-\0", 100),
    ):
        with pytest.raises(InvalidRequest, match="image: "):
            uploads.read_file(parts, owner, file_id, "image", limit)
