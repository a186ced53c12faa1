"""Who is told of events: an owner's webhook endpoints, and the secrets that sign deliveries.

Secrets are kept as they are, since signing needs them; they are shown when they are made.
"""

import base64
import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.contract.database import Database, now
from app.contract.outbox import Outbox
from app.contract.pages import check_id, page
from app.contract.tables import webhook_endpoints as endpoints
from app.contract.tables import webhook_secrets

#: How long a replaced secret still signs, beside the new one, when its owner asks for that.
OLD_SECRET_S = 24 * 3600


class EndpointNotFound(LookupError):
    """No such webhook endpoint, or it belongs to somebody else."""

    def __init__(self, endpoint_id: str) -> None:
        super().__init__(f"webhook endpoint {endpoint_id} does not exist")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A webhook endpoint's row."""

    id: str
    owner: str
    name: str
    url: str
    event_types: tuple[str, ...]
    secret: str
    created_at: float
    updated_at: float


class Webhooks:
    """The tables of webhook endpoints and secrets; `outbox` has what is sent to them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.outbox = Outbox(database)

    def create(self, owner: str, name: str, url: str, event_types: Collection[str]) -> Endpoint:
        """A new endpoint with its secret."""
        row = {
            "id": "we_" + secrets.token_hex(12),
            "owner": owner,
            "name": name,
            "url": url,
            "event_types": _types(event_types),
            "secret": new_secret(),
            "created_at": now(),
            "updated_at": now(),
        }
        with self._database.write() as connection:
            made = connection.execute(sa.insert(endpoints).values(row).returning(*endpoints.c))
            return _endpoint(made.one())

    def get(self, endpoint_id: str, owner: str) -> Endpoint:
        """The owner's endpoint. Raises EndpointNotFound."""
        check_id(endpoint_id, EndpointNotFound)
        with self._database.read() as connection:
            query = sa.select(*endpoints.c).where(*_mine(endpoint_id, owner))
            found = connection.execute(query).first()
        if found is None:
            raise EndpointNotFound(endpoint_id)
        return _endpoint(found)

    def list(
        self, owner: str, *, after: str | None = None, limit: int = 20
    ) -> tuple[list[Endpoint], bool]:
        """A page of endpoints, newest first, and whether more follow. Raises CursorNotFound."""
        query = sa.select(*endpoints.c).where(endpoints.c.owner == owner)
        with self._database.read() as connection:
            rows, more = page(connection, endpoints, query, after=after, limit=limit)
        return [_endpoint(row) for row in rows], more

    def update(
        self,
        endpoint_id: str,
        owner: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Collection[str] | None = None,
    ) -> Endpoint:
        """Changes what is given. Raises EndpointNotFound."""
        before = self.get(endpoint_id, owner)
        values: dict[str, Any] = {
            "name": before.name if name is None else name,
            "url": before.url if url is None else url,
            "event_types": _types(before.event_types if event_types is None else event_types),
        }
        changed = (before.name, before.url, _types(before.event_types)) != tuple(values.values())
        return self._change(endpoint_id, owner, values) if changed else before

    def rotate(self, endpoint_id: str, owner: str, *, keep_old: bool) -> Endpoint:
        """A new secret; with `keep_old`, the present one signs for another day. Raises
        EndpointNotFound.
        """
        old = {"old_secret": endpoints.c.secret, "old_secret_until": now() + OLD_SECRET_S}
        gone = {"old_secret": None, "old_secret_until": None}
        values = (old if keep_old else gone) | {"secret": new_secret()}
        return self._change(endpoint_id, owner, values)

    def delete(self, endpoint_id: str, owner: str) -> None:
        """Removes an endpoint and what was still to be sent to it. Raises EndpointNotFound."""
        with self._database.write() as connection:
            gone = connection.execute(sa.delete(endpoints).where(*_mine(endpoint_id, owner)))
        if gone.rowcount == 0:
            raise EndpointNotFound(endpoint_id)

    def secret_of(self, owner: str) -> str:
        """What signs the deliveries to the owner's `webhook_url`s; made when first asked for."""
        query = sa.select(webhook_secrets.c.secret).where(webhook_secrets.c.owner == owner)
        with self._database.read() as connection:
            found = connection.execute(query).scalar()
        if found is not None:
            return found
        try:
            with self._database.write() as connection:
                row = {"owner": owner, "secret": new_secret()}
                connection.execute(sa.insert(webhook_secrets).values(row))
        except IntegrityError:  # another process was faster
            pass
        with self._database.read() as connection:
            return connection.execute(query).scalar_one()

    def rotate_secret_of(self, owner: str) -> str:
        """Replaces that secret at once."""
        self.secret_of(owner)
        mine = sa.update(webhook_secrets).where(webhook_secrets.c.owner == owner)
        change = mine.values(secret=new_secret()).returning(webhook_secrets.c.secret)
        with self._database.write() as connection:
            return connection.execute(change).scalar_one()

    def _change(self, endpoint_id: str, owner: str, values: dict[str, Any]) -> Endpoint:
        update = sa.update(endpoints).where(*_mine(endpoint_id, owner))
        with self._database.write() as connection:
            changed = connection.execute(
                update.values(values | {"updated_at": now()}).returning(*endpoints.c)
            ).first()
        if changed is None:
            raise EndpointNotFound(endpoint_id)
        return _endpoint(changed)


def new_secret() -> str:
    """A signing secret as Standard Webhooks writes it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _mine(endpoint_id: str, owner: str) -> tuple[sa.ColumnElement[bool], ...]:
    return endpoints.c.id == endpoint_id, endpoints.c.owner == owner


def _types(event_types: Collection[str]) -> str:
    return json.dumps(sorted(set(event_types)))


def _endpoint(row: sa.Row[Any]) -> Endpoint:
    values = {name: getattr(row, name) for name in Endpoint.__dataclass_fields__}
    values["event_types"] = tuple(json.loads(row.event_types))
    return Endpoint(**values)
