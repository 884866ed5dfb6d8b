"""How many watches are in each state, counted about once a minute and stored."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, func, literal_column, select, union_all

from bridge.core.watch import State
from bridge.db import batches
from bridge.db.engine import reading
from bridge.db.tables import is_not_delivered, watch_counts, watches

# Not at each Prometheus scrape: to count a million watches takes longer than a scrape may.
COUNTED_EVERY = timedelta(seconds=60)


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
    select(watches.c.state, func.count().label("number")).where(is_not_delivered()).group_by(watches.c.state),
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
