"""The connections to PostgreSQL and SQLite."""

from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa

from app.contract.database import NOTICE_LOSS, Database


def options(url):
    """What libpq was told, as it tells itself."""
    database = Database(url)
    with database.read() as connection:
        told = connection.connection.driver_connection.info.get_parameters()
    database.close()
    return told


def test_a_server_whose_machine_is_gone_is_noticed(postgresql):
    assert NOTICE_LOSS.items() <= options(postgresql).items()


def test_the_urls_own_options_win(postgresql):
    url = sa.make_url(postgresql).update_query_dict({"connect_timeout": "3"})
    assert options(url.render_as_string(hide_password=False))["connect_timeout"] == "3"


def test_sqlites_writers_of_one_process_take_turns(tmp_path):
    """None of them finds the file busy, though here SQLite would not wait for it at all."""
    database = Database(f"sqlite:///{tmp_path / 'kinora.db'}")
    sa.event.listen(
        database.engine,
        "connect",
        lambda connection, _: connection.execute("PRAGMA busy_timeout = 0"),
    )
    with database.write() as connection:
        connection.execute(sa.text("CREATE TABLE counts (n INTEGER)"))
        connection.execute(sa.text("INSERT INTO counts VALUES (0)"))

    def count(_):
        with database.write() as connection:
            n = connection.execute(sa.text("SELECT n FROM counts")).scalar_one()
            connection.execute(sa.text("UPDATE counts SET n = :n"), {"n": n + 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(200)))
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT n FROM counts")).scalar_one() == 200
    database.close()
