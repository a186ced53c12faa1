"""API keys. Only a hash is stored: a key is 256 random bits, so one round of SHA-256 is enough, and
looking a hash up tells nothing about the others.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from app.contract.database import Database, now
from app.contract.tables import keys

#: What a key may be for; `NAME:read` is the part of it that changes nothing.
RESOURCES = ("videos", "images", "files", "batches", "webhooks", "models")
#: Longest name of a key or tenant.
MAX_NAME_CHARS = 64


class KeyNotFound(LookupError):
    """No such key, or it is revoked already."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"API key {key_id} does not exist or is revoked already")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """How much a key may ask for; None is no limit."""

    #: requests a minute
    rpm: int | None = None
    #: jobs that are queued or in progress
    jobs: int | None = None
    #: jobs that wait in the queue
    queued: int | None = None
    #: seconds of video in any 24 hours
    seconds_day: float | None = None
    #: bytes of files and finished videos
    storage_bytes: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 1:
                raise ValueError(f"{field.name} is {value}, but must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is listed; the secret itself is shown once, when it is made."""

    id: str
    name: str
    #: the secret's last characters, to tell keys apart
    hint: str
    created_at: float
    revoked_at: float | None
    #: the owner of everything made with the key; keys of one tenant share it
    tenant: str
    #: what it may be used for; none is everything
    scopes: tuple[str, ...]
    limits: KeyLimits

    def allows(self, resource: str, *, reading: bool) -> bool:
        """Whether a call to this resource is within the key's scopes."""
        wanted = {resource, f"{resource}:read"} if reading else {resource}
        return not self.scopes or bool(wanted & set(self.scopes))


class Keys:
    """The table of API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        name: str,
        *,
        tenant: str | None = None,
        scopes: Iterable[str] = (),
        limits: KeyLimits | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which cannot be read again. Without a tenant it is its own.

        Raises ValueError, a sentence, for a scope that does not exist or a name that is too long.
        """
        secret = "kinora-" + secrets.token_urlsafe(32)
        key_id = "key_" + secrets.token_hex(8)
        row = {
            "id": key_id,
            "name": _name("name", name),
            "hash": _hash(secret),
            "hint": secret[-4:],
            "created_at": now(),
            "tenant": key_id if tenant is None else _name("tenant", tenant),
            "scopes": json.dumps(_scopes(scopes)),
            "limits": json.dumps(asdict(limits or KeyLimits())),
        }
        with self._database.write() as connection:
            made = connection.execute(sa.insert(keys).values(row).returning(*keys.c)).one()
        return _key(made), secret

    def list(self) -> list[ApiKey]:
        """All keys, revoked ones too, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*keys.c).order_by(keys.c.created_at, keys.c.id))
            return [_key(row) for row in rows]

    def get(self, key_id: str) -> ApiKey:
        """The key of this id, also a revoked one. Raises KeyNotFound."""
        with self._database.read() as connection:
            found = connection.execute(sa.select(*keys.c).where(keys.c.id == key_id)).first()
        if found is None:
            raise KeyNotFound(key_id)
        return _key(found)

    def revoke(self, key_id: str) -> ApiKey:
        """Makes a key useless from now on. Raises KeyNotFound."""
        update = sa.update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        with self._database.write() as connection:
            revoked = connection.execute(update.values(revoked_at=now()).returning(*keys.c)).first()
        if revoked is None:
            raise KeyNotFound(key_id)
        return _key(revoked)

    def verify(self, secret: str) -> ApiKey | None:
        """The valid key with this secret."""
        query = sa.select(*keys.c).where(keys.c.hash == _hash(secret), keys.c.revoked_at.is_(None))
        with self._database.read() as connection:
            found = connection.execute(query).first()
        return _key(found) if found is not None else None

    def any_valid(self) -> bool:
        """Whether at least one key is in force."""
        query = sa.select(sa.exists().where(keys.c.revoked_at.is_(None)))
        with self._database.read() as connection:
            return bool(connection.execute(query).scalar_one())


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _name(what: str, name: str) -> str:
    if not 0 < len(name) <= MAX_NAME_CHARS or "\0" in name:
        raise ValueError(f"{what} must have between 1 and {MAX_NAME_CHARS} characters")
    return name


def _scopes(scopes: Iterable[str]) -> list[str]:
    wanted = sorted(set(scopes))
    for scope in wanted:
        resource, _, part = scope.partition(":")
        if resource not in RESOURCES or part not in ("", "read") or scope.endswith(":"):
            raise ValueError(
                f"{scope!r} is no scope; possible are {', '.join(RESOURCES)},"
                " each also with :read behind it"
            )
    return wanted


def _key(row: sa.Row[Any]) -> ApiKey:
    values = {name: getattr(row, name) for name in ApiKey.__dataclass_fields__}
    values["scopes"] = tuple(json.loads(row.scopes))
    values["limits"] = KeyLimits(**json.loads(row.limits))
    return ApiKey(**values)
