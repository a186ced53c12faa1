"""Brings a database to this program's revision."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from app.contract.database import Database, DatabaseError

#: Any number, the same for every process that migrates.
ADVISORY_LOCK = 0x6B696E6F7261


def upgrade(url: str) -> None:
    """Runs the missing revisions in one transaction; a second process that does so at the same time
    waits and then finds nothing to do. Raises DatabaseError for a newer program's database.
    """
    database = Database(url)
    try:
        with database.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
            config = _config()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:  # it knows no such revision
                raise DatabaseError(
                    f"the database is of a newer version ({error}). Start that version, or "
                    "restore a backup from before it."
                ) from None
    finally:
        database.close()


def is_current(database: Database) -> bool:
    """Whether the database is at this program's revision."""
    with database.read() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config
