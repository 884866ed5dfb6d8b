"""Which lanes (an account's polls, a host's callbacks) have something due, whatever else waits."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, select, union

from bridge.core.watch import State
from bridge.db.breakers import BREAKERS
from bridge.db.claims import LANES
from bridge.db.column_types import Instant
from bridge.db.dialect_sql import each
from bridge.db.tables import is_state, watches

# More than any worker has slots for.
MOST_LANES = 5_000
# A step may become visible later than it falls due, by the time that its transaction took.
LATEST_COMMIT = timedelta(seconds=2)
# What comes even later, as after an outage of the database, is found when all lanes are visited.
VISIT_ALL_EVERY = timedelta(seconds=10)

# Statements are built once: to build one costs more than to run it.
_NOW = bindparam("now", type_=Instant)


class DueLanes:
    """Finds the lanes with due watches of one state. It remembers from look to look; for one thread.

    A look reads what has fallen due since the last one, and visits the lanes that had something due then. What
    waits for later costs nothing, nor does what waits inside a lane.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._remembered: set[str] = set()
        self._looked_at: datetime | None = None
        self._visited_all_at: datetime | None = None

    def look(self, connection: Connection, now: datetime) -> dict[str, datetime]:
        """Return the oldest `due_at` of each lane with due watches, without the paused lanes.

        Those that have waited longest come first; there are at most MOST_LANES.
        """
        since_all = now - self._visited_all_at if self._visited_all_at else None
        # Negative when the clock was set back.
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
    # The lane whose watch has been due longest is always visited, so that no lane is overlooked for ever.
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
    """Return the oldest `due_at` of each lane with due watches, including the paused lanes.

    Hops from lane to lane along the index, if anything is due at all: what waits inside a lane costs nothing.
    """
    rows = connection.execute(_DUE_LANES[state], {"now": now})
    return {row.name: row.oldest_due_at for row in rows}


def _due_lanes_statement(state: State) -> Select[Any]:
    lane = LANES[state]
    # The smallest of an index is one probe; whether there is any below `now` might be a scan of the whole table.
    anything = select(func.min(watches.c.due_at)).where(is_state(state)).scalar_subquery() <= _NOW
    first = select(func.min(lane)).where(is_state(state)).scalar_subquery()
    lanes = select(case((anything, first)).label("name")).cte("lanes", recursive=True)
    following = select(func.min(lane)).where(is_state(state), lane > lanes.c.name)
    lanes = lanes.union_all(select(following.scalar_subquery()).where(lanes.c.name.is_not(None)))
    oldest = select(func.min(watches.c.due_at)).where(is_state(state), lane == lanes.c.name)
    found = select(lanes.c.name, oldest.scalar_subquery().label("oldest_due_at")).where(
        lanes.c.name.is_not(None)
    )
    due = found.subquery()
    return select(due).where(due.c.oldest_due_at <= _NOW)


_DUE_LANES = {state: _due_lanes_statement(state) for state in LANES}
