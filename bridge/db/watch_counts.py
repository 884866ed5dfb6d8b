"""Counts watches by state and by outcome, stores the counts by state, and finds the oldest `due_at`."""

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Engine, func, literal, literal_column, select, union_all

from bridge.core.watch import Outcome, State
from bridge.db import batches
from bridge.db.breakers import BREAKERS
from bridge.db.claims import LANES
from bridge.db.due_lanes import due_lanes
from bridge.db.engine import reading
from bridge.db.tables import IS_NOT_DELIVERED, is_state, watch_counts, watches

# Not at each Prometheus scrape: to count a million watches takes longer than a scrape may.
COUNTED_EVERY = timedelta(seconds=60)
OLDEST_DUE_SAMPLE = 100


def counts(connection: Connection, client: str | None) -> tuple[Counter[State], Counter[Outcome]]:
    """Count a client's watches by state, and by outcome; all clients' watches when `client` is None."""
    states: Counter[State] = Counter()
    outcomes: Counter[Outcome] = Counter()
    found = select(watches.c.state, watches.c.outcome, func.count())
    if client is not None:
        found = found.where(watches.c.client == client)
    for state, outcome, count in connection.execute(found.group_by(watches.c.state, watches.c.outcome)):
        states[state] += count
        if outcome is not None:
            outcomes[outcome] += count
    return states, outcomes


def count_up_to(connection: Connection, most: int, *which: ColumnElement[bool]) -> int:
    """Return how many watches meet all conditions in `which`, but at most `most`."""
    found = select(literal(1)).select_from(watches).where(*which).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(found)).scalar_one()


def oldest_due_at(connection: Connection, state: State, client: str | None, now: datetime) -> datetime | None:
    """Return the oldest `due_at` of the due watches in a state; None if there is no such watch.

    Only the watches of `client` count; with `client` None, the watches of all clients. Watches that wait for a paused
    account or host do not count.
    """
    breakers, lane = BREAKERS[state], LANES[state]
    paused = select(breakers.c.name).where(breakers.c.paused_until.is_not(None))
    due = select(lane, watches.c.due_at).where(is_state(state), watches.c.due_at <= now)
    if client is not None:
        theirs = due.where(watches.c.client == client, lane.not_in(paused)).subquery()
        return connection.execute(select(func.min(theirs.c.due_at))).scalar()
    waiting = set(connection.scalars(paused))
    longest_due = connection.execute(due.order_by(watches.c.due_at).limit(OLDEST_DUE_SAMPLE)).all()
    if len(longest_due) < OLDEST_DUE_SAMPLE or not waiting.issuperset(name for name, _ in longest_due):
        return next((due_at for name, due_at in longest_due if name not in waiting), None)
    # All watches of the sample wait for paused accounts or hosts, and more may follow: each lane is looked at instead.
    lanes = due_lanes(connection, state, now)
    return min((due_at for name, due_at in lanes.items() if name not in waiting), default=None)


def read(connection: Connection) -> dict[str, int]:
    """Return how many watches were in each state at the last count; an empty dict before the first one."""
    return {row.state: row.watches for row in connection.execute(select(watch_counts))}


def recount_if_due(engine: Engine, now: datetime) -> None:
    """Count the watches and store the counts, unless a process has done so within the last minute."""
    with reading(engine) as connection:
        counted_at = connection.scalar(select(func.max(watch_counts.c.counted_at)))
    if counted_at is None or counted_at <= now - COUNTED_EVERY:
        recount(engine, now)


def recount(engine: Engine, now: datetime) -> None:
    """Count the watches of each state, and store the counts."""
    with reading(engine) as connection:
        found = {row.state: row.number for row in connection.execute(_COUNT)}
    found[State.DELIVERED] = found.pop(_ALL) - sum(found.values())
    rows = [{"state": state, "watches": found.get(state, 0), "counted_at": now} for state in sorted(State)]
    # A transaction of its own: SQLite has one writer at a time, and others must not wait for the count.
    with engine.begin() as connection:
        batches.run(connection, _KEEP, rows)


_ALL = "all"
# Nearly all watches are delivered. The others are counted by an index; the number of delivered ones is the total less
# the others.
_COUNT = union_all(
    select(watches.c.state, func.count().label("number")).where(IS_NOT_DELIVERED).group_by(watches.c.state),
    select(literal_column(f"'{_ALL}'"), func.count()).select_from(watches),
)
_KEEP = batches.inserting(
    watch_counts,
    ("state", "watches", "counted_at"),
    lambda insert: insert.on_conflict_do_update(
        index_elements=["state"],
        set_={name: insert.excluded[name] for name in ("watches", "counted_at")},
    ),
)
