"""The connection to PostgreSQL."""

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
