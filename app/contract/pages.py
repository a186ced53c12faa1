"""Lists in pages, by time of creation: the one way in which every table is listed."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa


class CursorNotFound(LookupError):
    """A page was to begin behind something that is not in the list."""

    def __init__(self, after: str) -> None:
        super().__init__(f"there is nothing with the id {after!r} in this list")
        self.after = after


def check_id(text: str, missing: Callable[[str], Exception]) -> None:
    """Raises `missing` for an id with a NUL, which PostgreSQL would not even compare."""
    if "\0" in text:
        raise missing(text)


def page(
    connection: sa.Connection,
    table: sa.Table,
    query: sa.Select[Any],
    *,
    known: sa.Select[Any] | None = None,
    after: str | None,
    limit: int,
    newest_first: bool = True,
) -> tuple[list[sa.Row[Any]], bool]:
    """At most `limit` rows of the query, beginning behind the row `after`, and whether more follow.
    Raises CursorNotFound when `after` is not in `known`, which is the query itself unless its rows
    may leave it while somebody reads on.
    """
    place = (table.c.created_at, table.c.id)
    ordered = query.order_by(*(c.desc() if newest_first else c.asc() for c in place))
    if after is not None:
        check_id(after, CursorNotFound)
        known = query if known is None else known
        cursor = connection.execute(known.where(table.c.id == after)).first()
        if cursor is None:
            raise CursorNotFound(after)
        here, there = sa.tuple_(*place), sa.tuple_(cursor.created_at, cursor.id)
        ordered = ordered.where(here < there if newest_first else here > there)
    rows = list(connection.execute(ordered.limit(limit + 1)))
    return rows[:limit], len(rows) > limit
