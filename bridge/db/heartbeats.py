"""The heartbeats of workers: each worker saves one about every ten seconds."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, select, update

from bridge.db.dialect_sql import dialect_insert
from bridge.db.tables import workers

WORKERS_KEPT = timedelta(days=1)
# A worker whose last heartbeat is older does not count as alive.
TICKED_WITHIN = timedelta(seconds=60)


def record(connection: Connection, worker: str, now: datetime, *, has_credentials: bool = False) -> None:
    """Save a worker's heartbeat, and delete the rows of workers that have been silent for WORKERS_KEPT.

    `has_credentials` is true when the worker's environment has credentials of the account `default`.
    """
    new = {"id": worker, "started_at": now, "ticked_at": now, "has_credentials": has_credentials}
    add = dialect_insert(connection, workers).values(new)
    alive = {"ticked_at": now, "silence_told": False}
    connection.execute(add.on_conflict_do_update(index_elements=["id"], set_=alive))
    connection.execute(delete(workers).where(workers.c.ticked_at < now - WORKERS_KEPT))


def remove(connection: Connection, worker: str) -> None:
    """Delete the row of a worker that stops, so that the worker is not reported as silent."""
    connection.execute(delete(workers).where(workers.c.id == worker))


def last_at(connection: Connection) -> datetime | None:
    """Return the instant of the newest stored heartbeat; None when none is stored."""
    return connection.execute(select(func.max(workers.c.ticked_at))).scalar()


def is_alive(ticked_at: datetime, now: datetime) -> bool:
    """Return whether a worker with its last heartbeat at `ticked_at` counts as alive."""
    # One from the future tells nothing: its worker's clock has been set back since, and the worker waits.
    return now - TICKED_WITHIN <= ticked_at <= now + TICKED_WITHIN


def count_alive(connection: Connection, now: datetime) -> int:
    """Return how many workers are alive at `now`, by `is_alive`."""
    return sum(is_alive(ticked_at, now) for ticked_at in connection.scalars(select(workers.c.ticked_at)))


def newly_silent(connection: Connection, now: datetime) -> dict[str, datetime]:
    """Return the silent workers that are not yet reported, and mark these workers as reported.

    The result maps the id of each worker to the instant of its last heartbeat. A worker is silent when its last
    heartbeat is older than TICKED_WITHIN.
    """
    silent = select(workers.c.id).where(workers.c.ticked_at < now - TICKED_WITHIN, ~workers.c.silence_told)
    # Rows that another process has locked are skipped: it reports them.
    report = update(workers).where(workers.c.id.in_(silent.with_for_update(skip_locked=True)))
    rows = connection.execute(report.values(silence_told=True).returning(workers.c.id, workers.c.ticked_at))
    return {row.id: row.ticked_at for row in rows}


def has_credentials(connection: Connection, *, since: datetime) -> bool:
    """Return whether the environment of any worker has credentials of the account `default`.

    Workers without a heartbeat since `since` do not count.
    """
    found = select(workers.c.id).where(workers.c.has_credentials, workers.c.ticked_at >= since)
    return connection.execute(found.limit(1)).first() is not None
