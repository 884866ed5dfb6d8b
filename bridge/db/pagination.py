"""Lists watches by page; each page reads a limited number of rows, even if few match the filters.

So a page may hold fewer watches than were asked for, even none, although another page follows.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, literal, select, true, tuple_

from bridge.core.watch import Outcome, State, Watch
from bridge.db.column_types import Instant
from bridge.db.dialect_sql import in_parameter
from bridge.db.rows import COLUMNS, to_watch
from bridge.db.tables import HAS_NOT_COMPLETED, IS_NOT_DELIVERED, is_outcome, is_state, watches
from bridge.db.watch_filters import IS_REDELIVERABLE, Filters, conditions

MOST_SCANNED = 1_000
# PostgreSQL may read many rows of other outcomes for each row that is counted.
MOST_SCANNED_TO_COUNT = 250
FURTHER = 4  # each step of `_find` looks at this many times as many rows as the step before

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(-?)(=?)(?:(\d{1,17})\.)?([A-Za-z0-9_]{8,64})", re.ASCII)


class Order(StrEnum):
    """The instant by which a list is sorted, newest first."""

    CREATED_AT = "created_at"
    ENDED_AT = "ended_at"  # watches without an outcome are not in the list


# Ids sort by the instant of the registration.
_KEYS: dict[Order, tuple[ColumnElement[Any], ...]] = {
    Order.CREATED_AT: (watches.c.id,),
    Order.ENDED_AT: (watches.c.ended_at, watches.c.id),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """Where a page begins: after a watch or, with `backwards`, before it; with `inclusive`, at the watch itself.

    `ended_at` is None in a list that is sorted by `created_at`. `str(cursor)` is the text that clients get.
    """

    watch_id: str
    ended_at: datetime | None = None
    backwards: bool = False
    inclusive: bool = False

    def turned(self) -> "Cursor":
        """Return the cursor of the page that begins at the same watch, and goes in the other direction.

        Exactly one of the two pages includes that watch.
        """
        return replace(self, backwards=not self.backwards, inclusive=not self.inclusive)

    def __str__(self) -> str:
        instant = "" if self.ended_at is None else f"{(self.ended_at - _EPOCH) // timedelta(microseconds=1)}."
        signs = f"{'-' if self.backwards else ''}{'=' if self.inclusive else ''}"
        return _encoded(f"{signs}{instant}{self.watch_id}")

    @classmethod
    def read(cls, text: str) -> "Cursor | None":
        """Parse a cursor; None when the text does not have the form of the bridge's cursors."""
        try:
            found = _CURSOR.fullmatch(urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
        except ValueError:
            return None
        # b64decode skips characters that are not base64, so the text must also equal what `_encoded` makes.
        if found is None or _encoded(found[0]) != text:
            return None
        minus, equals, ended, watch_id = found.groups()
        ended_at = _EPOCH + timedelta(microseconds=int(ended)) if ended else None
        return cls(watch_id=watch_id, ended_at=ended_at, backwards=bool(minus), inclusive=bool(equals))

    def fits(self, order: Order) -> bool:
        """Return whether the cursor comes from a list sorted by `order`."""
        return (self.ended_at is not None) == (order is Order.ENDED_AT)


def _encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page of a list, newest first.

    `following` is the cursor of the next page, which has older watches. `previous` is the cursor of the page before,
    which has newer watches. Each cursor is None when there is no such page.
    """

    watches: Sequence[Watch]
    following: Cursor | None
    previous: Cursor | None


def page(
    connection: Connection, filters: Filters, *, order: Order, cursor: Cursor | None, limit: int
) -> Page:
    """Return the page at the cursor, at most `limit` watches; without a cursor, the first page."""
    listed, on = _find(connection, filters, order, cursor, limit)
    if cursor is None:
        return Page(watches=listed, following=on, previous=None)
    back = _beyond(listed[0], order, backwards=not cursor.backwards) if listed else cursor.turned()
    if cursor.backwards:
        return Page(watches=listed[::-1], following=back, previous=on)
    return Page(watches=listed, following=on, previous=back)


def count_some_redeliverable(connection: Connection, filters: Filters) -> tuple[int, bool]:
    """Count the redeliverable watches that match `filters`, among the newest rows only.

    Runs one query for each WHERE condition that `_index_parts` returns, and adds up the counts. Each query takes the
    newest MOST_SCANNED_TO_COUNT rows that meet this condition and the bounds of `filters` on `created_at`, and counts
    those of them that match all of `filters`. Returns the sum and a flag: True means that the sum is complete, False
    means that more watches may match.
    """
    is_match = and_(IS_REDELIVERABLE, *conditions(filters))
    count, is_all = 0, True
    for part in _index_parts(filters, Order.CREATED_AT):
        newest = (
            select(case((is_match, 1), else_=0).label("is_match"))
            .where(part, *conditions(_bounds(filters, Order.CREATED_AT)))
            .order_by(watches.c.id.desc())
            .limit(MOST_SCANNED_TO_COUNT)
            .subquery()
        )
        totals = select(func.coalesce(func.sum(newest.c.is_match), 0), func.count()).select_from(newest)
        matches, looked_at = connection.execute(totals).one()
        count, is_all = count + matches, is_all and looked_at < MOST_SCANNED_TO_COUNT
    return count, is_all


def _beyond(row: Watch | Row[Any], order: Order, *, backwards: bool) -> Cursor:
    ended_at = row.ended_at if order is Order.ENDED_AT else None
    return Cursor(watch_id=row.id, ended_at=ended_at, backwards=backwards)


def _find(
    connection: Connection, filters: Filters, order: Order, cursor: Cursor | None, limit: int
) -> tuple[list[Watch], Cursor | None]:
    """Return up to `limit` watches that match `filters`, and the cursor from which to go on.

    The watches follow `cursor` in its direction; without a cursor, they are the first of the list. The returned
    cursor is None when no more watches follow.
    """
    backwards = cursor is not None and cursor.backwards
    keys: list[Row[Any]] = []
    on, left, most = cursor, MOST_SCANNED, min(limit + 1, MOST_SCANNED)
    while most:
        looked_at = _look(connection, filters, order, on, most)
        keys += [row for row in looked_at if row.is_match]
        if len(keys) > limit:
            on = _beyond(keys[limit - 1], order, backwards=backwards)
            break
        if len(looked_at) < most:
            on = None
            break
        on = _beyond(looked_at[-1], order, backwards=backwards)
        left -= most
        most = min(FURTHER * most, left)
    by_ids = select(*COLUMNS).where(in_parameter(watches.c.id, "ids"))
    by_ids = by_ids.order_by(*_direction(order, backwards=backwards))
    rows = connection.execute(by_ids, {"ids": [key.id for key in keys[:limit]]})
    return [to_watch(row) for row in rows], on


def _look(
    connection: Connection, filters: Filters, order: Order, cursor: Cursor | None, most: int
) -> Sequence[Row[Any]]:
    """Return up to `most` rows from `cursor` on; each row's `is_match` says whether the row meets all filters.

    The rows are found by the conditions of `_index_parts` and `_bounds` alone, so some may not meet all filters.
    """
    backwards = cursor is not None and cursor.backwards
    bounds = [*conditions(_bounds(filters, order)), *_from(cursor, order)]
    # A column, not a WHERE condition: with a condition, the database might read all rows of another index.
    is_match = case((and_(true(), *conditions(filters)), 1), else_=0).label("is_match")
    rows: list[Any] = [
        row
        for part in _index_parts(filters, order)
        for row in connection.execute(
            select(watches.c.id, watches.c.ended_at, is_match)
            .where(part, *bounds)
            .order_by(*_direction(order, backwards=backwards))
            .limit(most)
        )
    ]
    rows.sort(
        key=lambda row: (row.ended_at, row.id) if order is Order.ENDED_AT else row.id, reverse=not backwards
    )
    return rows[:most]


def _index_parts(filters: Filters, order: Order) -> Sequence[ColumnElement[bool]]:
    """Return one or more WHERE conditions; the caller runs one query for each condition.

    Together, the queries find every watch that matches `filters` (with Order.ENDED_AT, every such watch that has an
    outcome). They may also find watches that do not match, because the conditions test only a part of `filters`.
    """
    # One index serves each condition, and gives its rows sorted by `order`, so that only the first few are read.
    if order is Order.ENDED_AT:
        return [watches.c.ended_at.is_not(None)]
    if filters.task_id is not None:
        return [watches.c.task_id == filters.task_id]  # not sorted, but a task id has few watches
    # The partial indexes leave out the most common outcome and state, which are found quickly without an index.
    if filters.outcome is not None and Outcome.COMPLETED not in filters.outcome:
        return [and_(is_outcome(outcome), HAS_NOT_COMPLETED) for outcome in filters.outcome]
    if filters.state is not None and State.DELIVERED not in filters.state:
        return [and_(is_state(state), IS_NOT_DELIVERED) for state in filters.state]
    return [true() if filters.client is None else watches.c.client == filters.client]


def _bounds(filters: Filters, order: Order) -> Filters:
    """Return a copy of `filters` that keeps only two fields; all others are None.

    Order.CREATED_AT keeps `created_after` and `created_before`. Order.ENDED_AT keeps `ended_after` and
    `ended_before`.
    """
    stem = "created" if order is Order.CREATED_AT else "ended"
    return Filters(**{name: getattr(filters, name) for name in (f"{stem}_after", f"{stem}_before")})


def _from(cursor: Cursor | None, order: Order) -> list[ColumnElement[bool]]:
    if cursor is None:
        return []
    here: list[Any] = [literal(cursor.watch_id)]
    if order is Order.ENDED_AT:
        here.insert(0, literal(cursor.ended_at, Instant))
    key, position = tuple_(*_KEYS[order]), tuple_(*here)
    if cursor.inclusive:
        return [key >= position if cursor.backwards else key <= position]
    return [key > position if cursor.backwards else key < position]


def _direction(order: Order, *, backwards: bool) -> list[ColumnElement[Any]]:
    return [key.asc() if backwards else key.desc() for key in _KEYS[order]]
