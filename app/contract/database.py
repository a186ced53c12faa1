"""The SQL connection, SQLite (WAL) or PostgreSQL, and the one clock of all rows."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

BUSY_TIMEOUT_S = 15
#: libpq's options, unless the URL has them. By default a connection to a PostgreSQL server whose
#: machine is gone is noticed after a quarter of an hour, or two hours, and who waits hangs as long.
NOTICE_LOSS = {
    "connect_timeout": "10",
    "tcp_user_timeout": "20000",
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}


class DatabaseError(RuntimeError):
    """The database cannot be used as it was configured."""


class now(sa.ColumnElement[float]):  # noqa: N801 - reads as SQL's functions do
    """The database server's time as Unix seconds.

    Never the time of a process: workers on several machines compare leases by this clock alone.
    """

    type: sa.types.TypeEngine[float] = sa.Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(_element: now, _compiler: SQLCompiler, **_options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Database:
    """An engine with one way to read and one way to write; safe to share between threads."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self._turn = threading.Lock()

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        """A transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Generator[sa.Connection]:
        """A transaction that writes. SQLite takes its write lock at the start, so that two writers
        wait for each other instead of failing in the middle.
        """
        with (
            self._in_turn(),
            self.engine.connect() as connection,
            connection.execution_options(writes=True).begin(),
        ):
            yield connection

    @contextmanager
    def _in_turn(self) -> Generator[None]:
        """SQLite's writers wait by sleeping, longer and longer, and of many threads the unlucky
        ones sleep for seconds: here they take turns. Whoever had none for as long as SQLite waits,
        since another process writes, then waits as SQLite does: it fails in the end, as before.
        """
        if self.engine.dialect.name != "sqlite":
            yield
            return
        has_turn = self._turn.acquire(timeout=BUSY_TIMEOUT_S)
        try:
            yield
        finally:
            if has_turn:
                self._turn.release()

    def close(self) -> None:
        """Closes pooled connections."""
        self.engine.dispose()


def _engine(url: str) -> sa.Engine:
    parsed = sa.make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(query={**NOTICE_LOSS, **parsed.query})
        return sa.create_engine(
            parsed, pool_pre_ping=True, pool_size=10, max_overflow=20, hide_parameters=True
        )
    if parsed.get_backend_name() != "sqlite":
        raise DatabaseError(
            f"KINORA_DATABASE_URL names {parsed.drivername!r}; "
            "sqlite:///FILE and postgresql://… are possible"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise DatabaseError(
            "KINORA_DATABASE_URL must name a file: several processes share the database"
        )
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    # Parameters are hidden from errors, since those are logged and a spec holds a prompt.
    engine = sa.create_engine(
        parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, hide_parameters=True
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # an accepted job survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
