"""API keys. Only a hash is stored: a key is 256 random bits, so one round of SHA-256 is enough."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.contract.database import Database, now
from app.contract.tables import keys


class KeyNotFound(LookupError):
    """No such key, or it is revoked already."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"API key {key_id} does not exist or is revoked already")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is listed; the secret itself is shown once, when it is made."""

    id: str
    name: str
    #: the secret's last characters, to tell keys apart
    hint: str
    created_at: float
    revoked_at: float | None


class Keys:
    """The table of API keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str) -> tuple[ApiKey, str]:
        """A new key and its secret, which cannot be read again."""
        secret = "kinora-" + secrets.token_urlsafe(32)
        row = {
            "id": "key_" + secrets.token_hex(8),
            "name": name,
            "hash": _hash(secret),
            "hint": secret[-4:],
            "created_at": now(),
        }
        with self._database.write() as connection:
            made = connection.execute(sa.insert(keys).values(row).returning(*keys.c)).one()
        return _key(made), secret

    def list(self) -> list[ApiKey]:
        """All keys, revoked ones too, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*keys.c).order_by(keys.c.created_at, keys.c.id))
            return [_key(row) for row in rows]

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


def _key(row: sa.Row[Any]) -> ApiKey:
    return ApiKey(**{name: getattr(row, name) for name in ApiKey.__dataclass_fields__})
