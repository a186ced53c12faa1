"""`kinora keys`: make, list and revoke API keys, in the database itself."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.options import Data, fail, settings_of

if TYPE_CHECKING:
    from app.contract.keys import ApiKey
    from app.contract.store import Store

keys = typer.Typer(
    help="API keys: while there is none, only this machine may call.", no_args_is_help=True
)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    tenant: Annotated[
        str | None, typer.Option(help="Keys of one tenant share its videos. Default: its own.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it is for: videos, images, files, batches, webhooks or models, each also"
            " with :read; may repeat. Default: everything."
        ),
    ] = None,
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Videos queued or being made.")] = None,
    queued: Annotated[int | None, typer.Option(help="Videos that wait.")] = None,
    seconds_per_day: Annotated[
        float | None, typer.Option(help="Seconds of video in 24 hours.")
    ] = None,
    storage_mb: Annotated[int | None, typer.Option(help="Megabytes that it may keep.")] = None,
    data: Data = None,
) -> None:
    """Make a key. Its secret is printed once and cannot be read again."""
    from app.contract.keys import KeyLimits

    try:
        limits = KeyLimits(
            rpm=rpm,
            jobs=jobs,
            queued=queued,
            seconds_day=seconds_per_day,
            storage_bytes=None if storage_mb is None else storage_mb * 10**6,
        )
        with _store(data) as store:
            made, secret = store.keys.create(name, tenant=tenant, scopes=scope or (), limits=limits)
    except ValueError as error:
        fail(str(error))
    typer.echo(f"{made.id}\t{made.name}", err=True)
    typer.echo(secret)


@keys.command("list")
def list_keys(data: Data = None) -> None:
    """List all keys, revoked ones too."""
    from datetime import datetime

    with _store(data) as store:
        for key in store.keys.list():
            made = datetime.fromtimestamp(key.created_at).astimezone().isoformat(" ", "minutes")
            state = "revoked" if key.revoked_at else "valid"
            typer.echo(
                f"{key.id}\t{key.name}\t…{key.hint}\t{made}\t{key.tenant}\t"
                f"{','.join(key.scopes) or 'everything'}\t{_limits(key)}\t{state}"
            )


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")], data: Data = None
) -> None:
    """Make a key useless from now on."""
    from app.contract.keys import KeyNotFound

    with _store(data) as store:
        try:
            store.keys.revoke(key_id)
        except KeyNotFound as error:
            fail(str(error))
    typer.echo(f"{key_id} is revoked")


def _limits(key: "ApiKey") -> str:
    from dataclasses import asdict

    given = {name: value for name, value in asdict(key.limits).items() if value is not None}
    return ",".join(f"{name}={value}" for name, value in given.items()) or "unlimited"


@contextmanager
def _store(data: Path | None) -> "Generator[Store]":
    """The database, brought to this version; closed at the end of the `with`."""
    from sqlalchemy.exc import OperationalError

    from app.contract.database import DatabaseError
    from app.contract.store import Store
    from app.migrations.upgrade import upgrade

    settings = settings_of(data=data)
    try:
        upgrade(settings.database_url)
        with closing(Store.open(settings.database_url)) as store:
            yield store
    except DatabaseError as error:
        fail(str(error))
    except OperationalError as error:
        fail(f"the database does not answer: {error.orig}", 1)  # which may pass
