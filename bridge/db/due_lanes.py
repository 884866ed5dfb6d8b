"""Finds the lanes (an account's polls, a host's callbacks) with due watches, fast even when many watches wait."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Select, bindparam, case, func, select, true, union

from bridge.core.watch import State
from bridge.db.breakers import BREAKERS
from bridge.db.claims import LANES
from bridge.db.column_types import Instant
from bridge.db.dialect_sql import each
from bridge.db.tables import is_state, watches

# A look returns at most this many lanes: more than any worker has slots for.
MOST_LANES = 5_000
# A watch can become visible this much later than its `due_at`: when the transaction that set it commits.
LATEST_COMMIT = timedelta(seconds=2)
# Watches that become visible even later, as after an outage of the database, are found by a visit to all lanes.
VISIT_ALL_EVERY = timedelta(seconds=10)

# Statements are built once: to build one costs more than to run it.
_NOW = bindparam("now", type_=Instant)
_ALWAYS = true()


class DueLanes:
    """Finds the lanes with due watches of one state: accounts with due polls, or hosts with due callbacks.

    Most calls of `look` check only the lanes that the last one found, and what has fallen due since. Not thread-safe.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._remembered: set[str] = set()
        self._looked_at: datetime | None = None
        self._visited_all_at: datetime | None = None

    def look(self, connection: Connection, now: datetime) -> dict[str, datetime]:
        """Return the oldest `due_at` of each lane with due watches; paused lanes are left out.

        A lane is paused while its `paused_until` is yet to come. At most MOST_LANES lanes are returned: those with
        the oldest `due_at`, in the order of `due_at`. A look may miss a watch that was committed long after its
        `due_at`; a later look finds it.
        """
        since_all = now - self._visited_all_at if self._visited_all_at else None
        # `since_all` is negative when the clock was set back.
        visit_all = since_all is None or not timedelta() <= since_all < VISIT_ALL_EVERY
        names = due_lanes(connection, self._state, now) if visit_all else self._remembered
        since = min(self._looked_at or now, now) - LATEST_COMMIT
        found = connection.execute(_VISIT[self._state], {"names": names, "since": since, "now": now}).all()
        due = {row.name: row.oldest_due_at for row in found if row.oldest_due_at and row.oldest_due_at <= now}
        self._remembered = due.keys() | {row.name for row in found if row.is_paused}
        self._looked_at = now
        if visit_all:
            self._visited_all_at = now
        return {name: due[name] for name in sorted(due, key=due.__getitem__)[:MOST_LANES]}


def _visit_statement(state: State) -> Select[Any]:
    lane, remembered = LANES[state], each("names")
    is_due = is_state(state), watches.c.due_at <= _NOW
    fallen_due = select(lane).where(*is_due, watches.c.due_at > bindparam("since", type_=Instant))
    # The lane of the longest due watch is always visited, so that no lane is overlooked for ever.
    longest_due = select(select(lane).where(*is_due).order_by(watches.c.due_at).limit(1).scalar_subquery())
    names = union(select(remembered.c.value.label("name")), fallen_due, longest_due).subquery()
    breaker = BREAKERS[state]
    is_paused = (
        select(breaker.c.name).where(breaker.c.name == names.c.name, breaker.c.paused_until > _NOW).exists()
    )
    oldest = select(func.min(watches.c.due_at)).where(is_state(state), lane == names.c.name)
    return select(
        names.c.name,
        is_paused.label("is_paused"),
        case((~is_paused, oldest.scalar_subquery())).label("oldest_due_at"),
    ).where(names.c.name.is_not(None))


_VISIT = {state: _visit_statement(state) for state in LANES}


def due_lanes(connection: Connection, state: State, now: datetime) -> dict[str, datetime]:
    """Return the oldest `due_at` of each lane with due watches in `state`, keyed by the lane's name.

    Paused lanes are included.
    """
    rows = connection.execute(_DUE_LANES[state], {"now": now})
    return {row.name: row.oldest_due_at for row in rows}


def _due_lanes_statement(state: State) -> Select[Any]:
    lane = LANES[state]
    # min() is one look-up in the index; EXISTS with `due_at <= now` might scan the whole table.
    anything = select(func.min(watches.c.due_at)).where(is_state(state)).scalar_subquery() <= _NOW
    lanes = distinct_values(lane, is_state(state), only_if=anything)
    oldest = select(func.min(watches.c.due_at)).where(is_state(state), lane == lanes.c.name)
    found = select(lanes.c.name, oldest.scalar_subquery().label("oldest_due_at")).where(
        lanes.c.name.is_not(None)
    )
    due = found.subquery()
    return select(due).where(due.c.oldest_due_at <= _NOW)


def distinct_values(
    column: ColumnElement[str], which: ColumnElement[bool], *, only_if: ColumnElement[bool] = _ALWAYS
) -> CTE:
    """Return an SQL table whose column `name` holds each distinct value of `column`, and one extra null.

    The SQL condition `which` selects the watches whose values count. The extra null is a by-product of the query, not
    the value of a watch. When `only_if` is false, the table holds this null alone. The query is fast only with a
    database index that covers the selected watches and has `column` as its first column.
    """
    # A loose index scan skips from value to value: the cost depends on the number of values, not of watches.
    first = select(func.min(column)).where(which).scalar_subquery()
    found = select(case((only_if, first)).label("name")).cte("found", recursive=True)
    following = select(func.min(column)).where(which, column > found.c.name)
    return found.union_all(select(following.scalar_subquery()).where(found.c.name.is_not(None)))


_DUE_LANES = {state: _due_lanes_statement(state) for state in LANES}
