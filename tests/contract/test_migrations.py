import subprocess
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from app.contract.database import Database, DatabaseError
from app.contract.tables import metadata
from app.migrations.upgrade import is_current, upgrade


def test_the_migrations_make_exactly_the_tables_of_the_program(store):
    with store.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_database_is_current_after_the_upgrade_and_not_before(tmp_path):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    database = Database(url)
    assert not is_current(database)
    upgrade(url)
    upgrade(url)
    assert is_current(database)
    database.close()


def test_a_newer_versions_database_is_left_alone_and_said_to_be_one(tmp_path):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    upgrade(url)
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseError, match=r"newer version .*'9999'"):
        upgrade(url)
    assert not is_current(database)
    database.close()


def test_processes_that_upgrade_at_the_same_time_wait_for_each_other(tmp_path):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    program = f"from app.migrations.upgrade import upgrade; upgrade({url!r})"
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]


def test_two_connections_to_postgresql_upgrade_one_after_the_other(postgresql):
    program = f"from app.migrations.upgrade import upgrade; upgrade({postgresql!r})"
    engine = sa.create_engine(sa.make_url(postgresql).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
    engine.dispose()
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
