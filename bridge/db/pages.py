"""Pages of watches: each costs the same, however many watches there are and however few match the filter.

A page looks at no more than MOST_SCANNED rows of the index that fits the filter best. So it may hold fewer watches
than were asked for, even none, and yet lead on to the next.
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
from bridge.db.tables import has_not_completed, is_not_delivered, is_outcome, is_state, watches
from bridge.db.watch_lists import Filters, conditions, is_settled

MOST_SCANNED = 1_000
FURTHER = 4  # each step is so many times as long as the one before it

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(-?)(?:(\d{1,17})\.)?([A-Za-z0-9_]{8,64})", re.ASCII)


class Order(StrEnum):
    """What a list goes by, newest first."""

    CREATED_AT = "created_at"
    ENDED_AT = "ended_at"  # what has not ended is not in the list


# Ids sort by the instant of the registration.
_KEYS: dict[Order, tuple[ColumnElement[Any], ...]] = {
    Order.CREATED_AT: (watches.c.id,),
    Order.ENDED_AT: (watches.c.ended_at, watches.c.id),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cursor:
    """A place in a list: after a watch or, `backwards`, before it. `ended_at` where the list goes by it."""

    watch_id: str
    ended_at: datetime | None = None
    backwards: bool = False

    def __str__(self) -> str:
        instant = "" if self.ended_at is None else f"{(self.ended_at - _EPOCH) // timedelta(microseconds=1)}."
        return _encoded(f"{'-' if self.backwards else ''}{instant}{self.watch_id}")

    @classmethod
    def read(cls, text: str) -> "Cursor | None":
        """Parse a cursor; None when the text is not one that the bridge has made."""
        try:
            found = _CURSOR.fullmatch(urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
        except ValueError:
            return None
        # The decoder skips what it does not know, so a cursor must also be what it would be written as.
        if found is None or _encoded(found[0]) != text:
            return None
        ended_at = _EPOCH + timedelta(microseconds=int(found[2])) if found[2] else None
        return cls(watch_id=found[3], ended_at=ended_at, backwards=bool(found[1]))

    def fits(self, order: Order) -> bool:
        """Return whether the cursor comes from a list in this order."""
        return (self.ended_at is not None) == (order is Order.ENDED_AT)


def _encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Some watches of a list, with the cursors of the older and newer pages; None where there is none."""

    watches: Sequence[Watch]
    following: Cursor | None
    previous: Cursor | None


def page(
    connection: Connection, filters: Filters, *, order: Order, cursor: Cursor | None, limit: int
) -> Page:
    """Return at most `limit` watches from the cursor on, newest first."""
    listed, on = _find(connection, filters, order, cursor, limit)
    back = _cursor(listed[0], order) if listed else cursor
    if cursor is not None and cursor.backwards:
        return Page(
            watches=listed[::-1],
            following=_turned(back, backwards=False),
            previous=_turned(on, backwards=True),
        )
    return Page(
        watches=listed,
        following=_turned(on, backwards=False),
        previous=_turned(back, backwards=True) if cursor else None,
    )


def count_settled(connection: Connection, filters: Filters) -> tuple[int, bool]:
    """Return how many of the newest MOST_SCANNED watches are settled and match, and whether that counts all."""
    is_match = and_(is_settled(), *conditions(filters))
    count, is_all = 0, True
    for part in _index_parts(filters, Order.CREATED_AT):
        newest = (
            select(case((is_match, 1), else_=0).label("is_match"))
            .where(part, *conditions(_bounds(filters, Order.CREATED_AT)))
            .order_by(watches.c.id.desc())
            .limit(MOST_SCANNED)
            .subquery()
        )
        totals = select(func.coalesce(func.sum(newest.c.is_match), 0), func.count()).select_from(newest)
        matches, looked_at = connection.execute(totals).one()
        count, is_all = count + matches, is_all and looked_at < MOST_SCANNED
    return count, is_all


def _turned(cursor: Cursor | None, *, backwards: bool) -> Cursor | None:
    return cursor and replace(cursor, backwards=backwards)


def _cursor(row: Watch | Row[Any], order: Order) -> Cursor:
    return Cursor(watch_id=row.id, ended_at=row.ended_at if order is Order.ENDED_AT else None)


def _find(
    connection: Connection, filters: Filters, order: Order, cursor: Cursor | None, limit: int
) -> tuple[list[Watch], Cursor | None]:
    """Return at most `limit` matches, and where to go on; None when there are no more rows.

    It looks at as many rows as it wants, which are often enough, and then further in ever longer steps.
    """
    backwards = cursor is not None and cursor.backwards
    keys: list[Row[Any]] = []
    on, left, most = cursor, MOST_SCANNED, min(limit + 1, MOST_SCANNED)
    while most:
        looked_at = _look(connection, filters, order, on, most)
        keys += [row for row in looked_at if row.is_match]
        if len(keys) > limit:
            on = _cursor(keys[limit - 1], order)
            break
        if len(looked_at) < most:
            on = None
            break
        on = _turned(_cursor(looked_at[-1], order), backwards=backwards)
        left -= most
        most = min(FURTHER * most, left)
    by_ids = select(*COLUMNS).where(in_parameter(watches.c.id, "ids"))
    by_ids = by_ids.order_by(*_direction(order, backwards=backwards))
    rows = connection.execute(by_ids, {"ids": [key.id for key in keys[:limit]]})
    return [to_watch(row) for row in rows], on


def _look(
    connection: Connection, filters: Filters, order: Order, cursor: Cursor | None, most: int
) -> Sequence[Row[Any]]:
    """Return the keys of the next `most` rows, from the parts of the index that fits best, and whether each matches."""
    backwards = cursor is not None and cursor.backwards
    bounds = [*conditions(_bounds(filters, order)), *_beyond(cursor, order)]
    # Not a condition of the statement: databases would choose another index by it, and read all that is in there.
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
    """Return the narrowest part of an index in this order that holds all matches; several to be merged."""
    if order is Order.ENDED_AT:
        return [watches.c.ended_at.is_not(None)]
    if filters.task_id is not None:
        return [watches.c.task_id == filters.task_id]
    # No index holds the most common outcome and state: they are found without one.
    if filters.outcome is not None and Outcome.COMPLETED not in filters.outcome:
        return [and_(is_outcome(outcome), has_not_completed()) for outcome in filters.outcome]
    if filters.state is not None and State.DELIVERED not in filters.state:
        return [and_(is_state(state), is_not_delivered()) for state in filters.state]
    return [true() if filters.client is None else watches.c.client == filters.client]


def _bounds(filters: Filters, order: Order) -> Filters:
    """Return those of the filters that bound the list's own key."""
    stem = "created" if order is Order.CREATED_AT else "ended"
    return Filters(**{name: getattr(filters, name) for name in (f"{stem}_after", f"{stem}_before")})


def _beyond(cursor: Cursor | None, order: Order) -> list[ColumnElement[bool]]:
    if cursor is None:
        return []
    here: list[Any] = [literal(cursor.watch_id)]
    if order is Order.ENDED_AT:
        here.insert(0, literal(cursor.ended_at, Instant))
    key = tuple_(*_KEYS[order])
    return [key > tuple_(*here) if cursor.backwards else key < tuple_(*here)]


def _direction(order: Order, *, backwards: bool) -> list[ColumnElement[Any]]:
    return [key.asc() if backwards else key.desc() for key in _KEYS[order]]
