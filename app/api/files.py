"""`/v1/files`: upload, look at, list, download and delete files that other requests name."""
# ruff: noqa: FAST003  (the id in the path is taken by `file_of`, which the rule does not follow)

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.datastructures import UploadFile

from app import uploads
from app.api import content
from app.api.body import BodyFields
from app.api.document import COMMON, ERRORS, MISSING, body_of
from app.api.fields import Fields, Number, parsed, validated
from app.auth import CallerOf, Owner, caller_of
from app.contract.files import File, FileNotFound, file_key
from app.contract.pages import CursorNotFound
from app.errors import InvalidRequest, NotFound
from app.parts import Parts, PartsOf

HOUR_S, DAY_S = 3600, 24 * 3600
#: As OpenAI keeps the files of batches; others are kept until somebody deletes them.
BATCH_EXPIRE_S = 30 * DAY_S
MEDIA_TYPES = {"batch": "application/jsonl", "batch_output": "application/jsonl"}

router = APIRouter(prefix="/v1/files", tags=["files"], dependencies=[Depends(caller_of)])


def _file_part(value: Any) -> Any:
    if not isinstance(value, UploadFile):
        raise PydanticCustomError(
            "invalid_type", "must be a file part (with a filename in its Content-Disposition)"
        )
    return value


FilePart = Annotated[
    UploadFile,
    BeforeValidator(_file_part),
    WithJsonSchema({"type": "string", "format": "binary"}),
]


class ExpiresAfter(Fields):
    """When a file is to be removed."""

    anchor: Literal["created_at"]
    seconds: Annotated[Number, Field(ge=HOUR_S, le=30 * DAY_S)]


class FileCreate(Fields):
    """A file to keep."""

    file: Annotated[FilePart, Field(description="The file.")]
    purpose: Annotated[
        Literal["vision", "batch", "user_data"],
        Field(description="vision: an image; user_data: an image or video; batch: JSONL."),
    ]
    expires_after: Annotated[ExpiresAfter | None, BeforeValidator(parsed)] = None


FORM = body_of(FileCreate)
del FORM["requestBody"]["content"]["application/json"]  # which carries no files


class FileObject(BaseModel):
    """A file as the API shows it."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: str | None = None


class FilePage(BaseModel):
    """A page of files; the next one starts after `last_id`."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(BaseModel):
    """The answer to a deletion."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


@router.post("", responses=COMMON | {413: ERRORS[413]}, openapi_extra=FORM)
def create_file(caller: CallerOf, fields: BodyFields, parts: PartsOf) -> FileObject:
    """Upload a file, to name it in requests."""
    wanted = validated(FileCreate, fields)
    default_s = BATCH_EXPIRE_S if wanted.purpose == "batch" else None
    file = uploads.store(
        parts,
        caller,
        wanted.file.file,
        purpose=wanted.purpose,
        filename=wanted.file.filename or "",
        expire_s=wanted.expires_after.seconds if wanted.expires_after else default_s,
    )
    return shown(file)


@router.get("", responses=COMMON)
def list_files(
    owner: Owner,
    parts: PartsOf,
    purpose: Annotated[
        Literal["vision", "batch", "user_data", "batch_output"] | None,
        Query(description="Only files of this purpose"),
    ] = None,
    after: Annotated[str | None, Query(description="The `last_id` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="By time of creation")] = "desc",
) -> FilePage:
    """Files by time of creation, a page at a time."""
    try:
        files, more = parts.store.files.list(
            owner,
            purpose=purpose,
            after=after or None,
            limit=limit,
            newest_first=order == "desc",
        )
    except CursorNotFound:
        raise InvalidRequest(f"after: there is no file {after!r}.", param="after") from None
    ids = [file.id for file in files] or [None]
    data = [shown(file) for file in files]
    return FilePage(data=data, first_id=ids[0], last_id=ids[-1], has_more=more)


def file_of(
    file_id: Annotated[str, Path(description="The id of a file")], owner: Owner, parts: PartsOf
) -> File:
    """The file named in the path. Raises NotFound, also for another owner's."""
    return find(file_id, owner, parts)


def find(file_id: str, owner: str, parts: Parts) -> File:
    """The owner's file of this id. Raises NotFound."""
    try:
        return parts.store.files.get(file_id, owner)
    except FileNotFound:
        raise _no_file(file_id) from None


FileOf = Annotated[File, Depends(file_of)]


@router.get("/{file_id}", responses=MISSING)
def retrieve_file(file: FileOf) -> FileObject:
    """A file's size, name and purpose."""
    return shown(file)


@router.delete("/{file_id}", responses=MISSING)
def delete_file(file: FileOf, owner: Owner, parts: PartsOf) -> FileDeleted:
    """Delete a file. Videos that were made from it stay."""
    try:
        parts.store.files.delete(file.id, owner)
    except FileNotFound:
        raise _no_file(file.id) from None
    return FileDeleted(id=file.id)


@router.head("/{file_id}/content", include_in_schema=False)
@router.get(
    "/{file_id}/content",
    responses=MISSING | {416: ERRORS[416], 206: {"description": "The range asked for"}},
    response_class=Response,
)
def download_file(file: FileOf, parts: PartsOf, request: Request) -> Response:
    """The bytes of a file, as they were uploaded."""
    media_type = MEDIA_TYPES.get(file.purpose, "application/octet-stream")
    stored = content.StoredFile(
        file_key(file.id), media_type, file.filename, file.created_at, attached=True
    )
    return content.answer(request, parts.blobs, stored)


def shown(file: File) -> FileObject:
    """A file as the API shows it."""
    return FileObject(
        id=file.id,
        bytes=file.size_bytes,
        created_at=int(file.created_at),
        expires_at=None if file.expires_at is None else int(file.expires_at),
        filename=file.filename,
        purpose=file.purpose,
    )


def _no_file(file_id: str) -> NotFound:
    return NotFound(f"There is no file with the id {file_id[:80]!r}.", code="file_not_found")
