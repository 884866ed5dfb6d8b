"""What keeps the tables honest and small: who is at work, and what is long over."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, or_, select

from bridge.core.watch import State
from bridge.edges import database
from bridge.edges.tables import watches, workers

# An undelivered callback may still be wanted when somebody at last looks.
UNDELIVERED_TIMES = 3
WORKERS_KEPT = timedelta(days=1)


def beat(connection: Connection, worker: str, now: datetime) -> None:
    """Note that a worker is alive; forget those that died long ago."""
    add = database.insert(connection, workers).values(id=worker, started_at=now, ticked_at=now)
    connection.execute(add.on_conflict_do_update(index_elements=["id"], set_={"ticked_at": now}))
    connection.execute(delete(workers).where(workers.c.ticked_at < now - WORKERS_KEPT))


def leave(connection: Connection, worker: str) -> None:
    """Note that a worker has stopped."""
    connection.execute(delete(workers).where(workers.c.id == worker))


def last_tick(connection: Connection) -> datetime | None:
    """Return when any worker was last known to be alive."""
    return connection.execute(select(func.max(workers.c.ticked_at))).scalar()


def alive(connection: Connection, *, since: datetime) -> int:
    """Return how many workers gave a sign of life."""
    found = select(func.count()).select_from(workers).where(workers.c.ticked_at >= since)
    return connection.execute(found).scalar_one()


def prune(connection: Connection, now: datetime, *, retention: timedelta, limit: int) -> int:
    """Delete up to `limit` watches that were settled longer ago than the retention, oldest first."""
    long_over = or_(
        watches.c.state != State.UNDELIVERED, watches.c.settled_at < now - UNDELIVERED_TIMES * retention
    )
    over = select(watches.c.id).where(watches.c.settled_at < now - retention, long_over)
    batch = over.order_by(watches.c.settled_at).limit(limit)
    # Said again outside: PostgreSQL looks once more at a row that was redelivered meanwhile, not at the choice.
    still_over = watches.c.settled_at < now - retention
    return connection.execute(delete(watches).where(watches.c.id.in_(batch), still_over)).rowcount
