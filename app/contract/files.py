"""Uploaded files, and those that batches write. Their bytes are blobs, removed by the courier."""

import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.contract.database import Database, now
from app.contract.keys import ApiKey
from app.contract.limits import take_storage
from app.contract.pages import check_id, page
from app.contract.tables import files


class FileNotFound(LookupError):
    """No such file, or it belongs to somebody else, was deleted, or has expired."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"file {file_id} does not exist")
        self.file_id = file_id


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file's row. Times are Unix seconds of the database's clock."""

    id: str
    owner: str
    key_id: str
    #: vision, batch, user_data or batch_output
    purpose: str
    filename: str
    size_bytes: int
    created_at: float
    expires_at: float | None


def new_file_id() -> str:
    """An id that cannot be guessed."""
    return "file-" + secrets.token_hex(16)


def file_key(file_id: str) -> str:
    """Where a file's bytes are stored."""
    return f"files/{file_id}"


class Files:
    """The table of files. An owner of None means everybody's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        *,
        file_id: str,
        owner: str,
        key: ApiKey | None,
        purpose: str,
        filename: str,
        size_bytes: int,
        expire_s: float | None = None,
    ) -> File:
        """Records a file whose blob is stored. Raises LimitReached when the key's quota is full."""
        row = {
            "id": file_id,
            "owner": owner,
            "key_id": key.id if key is not None else "",
            "purpose": purpose,
            "filename": filename,
            "size_bytes": size_bytes,
            "created_at": now(),
            "expires_at": None if expire_s is None else now() + expire_s,
        }
        with self._database.write() as connection:
            take_storage(connection, key, size_bytes)
            return _file(connection.execute(sa.insert(files).values(row).returning(*files.c)).one())

    def get(self, file_id: str, owner: str | None = None) -> File:
        """The file as it is now. Raises FileNotFound."""
        check_id(file_id, FileNotFound)
        with self._database.read() as connection:
            found = connection.execute(_visible(owner).where(files.c.id == file_id)).first()
        if found is None:
            raise FileNotFound(file_id)
        return _file(found)

    def over(self, limit: int = 100) -> list[str]:
        """Ids of files that were deleted or have expired."""
        query = sa.select(files.c.id).where(
            sa.or_(files.c.deleted_at.is_not(None), files.c.expires_at < now())
        )
        with self._database.read() as connection:
            return list(connection.execute(query.limit(limit)).scalars())

    def list(
        self,
        owner: str | None = None,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = True,
    ) -> tuple[list[File], bool]:
        """A page of files, and whether more follow. Raises CursorNotFound."""
        query = _visible(owner)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        with self._database.read() as connection:
            rows, more = page(
                connection,
                files,
                query,
                known=_owned(owner),  # a client may delete what it lists
                after=after,
                limit=limit,
                newest_first=newest_first,
            )
        return [_file(row) for row in rows], more

    def delete(self, file_id: str, owner: str | None = None) -> None:
        """Hides the file; the courier removes its blob and its row. Raises FileNotFound."""
        mine = [files.c.id == file_id, files.c.deleted_at.is_(None)]
        if owner is not None:
            mine.append(files.c.owner == owner)
        with self._database.write() as connection:
            hidden = connection.execute(sa.update(files).where(*mine).values(deleted_at=now()))
        if hidden.rowcount == 0:
            raise FileNotFound(file_id)

    def known(self, file_ids: set[str]) -> set[str]:
        """Those of the ids that have a row."""
        with self._database.read() as connection:
            query = sa.select(files.c.id).where(files.c.id.in_(file_ids))
            return set(connection.execute(query).scalars())

    def purge(self, file_id: str) -> None:
        """Removes the row, after its blob."""
        with self._database.write() as connection:
            connection.execute(sa.delete(files).where(files.c.id == file_id))


def _owned(owner: str | None) -> sa.Select[Any]:
    query = sa.select(*files.c)
    return query if owner is None else query.where(files.c.owner == owner)


def _visible(owner: str | None) -> sa.Select[Any]:
    alive = sa.or_(files.c.expires_at.is_(None), files.c.expires_at >= now())
    return _owned(owner).where(files.c.deleted_at.is_(None), alive)


def _file(row: sa.Row[Any]) -> File:
    return File(**{name: getattr(row, name) for name in File.__dataclass_fields__})
