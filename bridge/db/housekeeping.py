"""The workers' heartbeats, and the deletion of old watches and breakers."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select, update

from bridge.core.watch import State
from bridge.db.dialect_sql import dialect_insert, in_subquery
from bridge.db.tables import host_breakers, is_over, is_state, watches, workers

# Undelivered watches are kept so many times longer: their callbacks may still be redelivered.
UNDELIVERED_TIMES = 3
WORKERS_KEPT = timedelta(days=1)
BREAKERS_KEPT = timedelta(days=1)


def beat(connection: Connection, worker: str, now: datetime, *, has_credentials: bool = False) -> None:
    """Save a worker's heartbeat, and delete the workers whose last one is older than WORKERS_KEPT.

    `has_credentials`: the worker's environment has credentials of the account `default`.
    """
    new = {"id": worker, "started_at": now, "ticked_at": now, "has_credentials": has_credentials}
    add = dialect_insert(connection, workers).values(new)
    alive = {"ticked_at": now, "silence_told": False}
    connection.execute(add.on_conflict_do_update(index_elements=["id"], set_=alive))
    connection.execute(delete(workers).where(workers.c.ticked_at < now - WORKERS_KEPT))


def leave(connection: Connection, worker: str) -> None:
    """Delete a worker that stops, so that it is not reported as silent."""
    connection.execute(delete(workers).where(workers.c.id == worker))


def last_tick(connection: Connection) -> datetime | None:
    """Return the instant of the newest heartbeat of any worker; None when there is no worker."""
    return connection.execute(select(func.max(workers.c.ticked_at))).scalar()


def alive(connection: Connection, *, since: datetime) -> int:
    """Return how many workers have had a heartbeat since `since`."""
    found = select(func.count()).select_from(workers).where(workers.c.ticked_at >= since)
    return connection.execute(found).scalar_one()


def newly_silent(connection: Connection, *, since: datetime) -> dict[str, datetime]:
    """Return the last heartbeat of each worker that has had none since `since`, by worker, to be reported.

    A worker is returned once, to one process, also when several processes call this at the same time. If it has
    another heartbeat and falls silent again, it is returned again.
    """
    silent = select(workers.c.id).where(workers.c.ticked_at < since, ~workers.c.silence_told)
    # Rows that another process has locked are skipped: it reports them.
    report = update(workers).where(workers.c.id.in_(silent.with_for_update(skip_locked=True)))
    rows = connection.execute(report.values(silence_told=True).returning(workers.c.id, workers.c.ticked_at))
    return {row.id: row.ticked_at for row in rows}


def has_credentials(connection: Connection, *, since: datetime) -> bool:
    """Return whether a worker with a heartbeat since `since` has credentials of the account `default`."""
    found = select(workers.c.id).where(workers.c.has_credentials, workers.c.ticked_at >= since)
    return connection.execute(found.limit(1)).first() is not None


def prune(connection: Connection, now: datetime, *, retention: timedelta, limit: int) -> int:
    """Delete up to `limit` watches that were settled longer ago than `retention`, oldest first.

    Undelivered watches are kept UNDELIVERED_TIMES as long. Returns how many were deleted.
    """
    over = is_over() & (watches.c.settled_at < now - retention)
    deleted = _delete(connection, over, limit)
    # Of watches that old, only undelivered ones are left.
    long_over = watches.c.settled_at < now - UNDELIVERED_TIMES * retention
    return deleted + _delete(connection, long_over, limit - deleted)


def _delete(connection: Connection, over: ColumnElement[bool], limit: int) -> int:
    batch = select(watches.c.id).where(over).order_by(watches.c.settled_at).limit(limit)
    # `over` is repeated: PostgreSQL checks it again for a row that was redelivered meanwhile, but not the subquery.
    return connection.execute(delete(watches).where(in_subquery(watches.c.id, batch), over)).rowcount


def prune_breakers(connection: Connection, now: datetime, *, limit: int) -> int:
    """Delete up to `limit` breakers of hosts without callbacks to deliver; return how many.

    A paused breaker is kept until BREAKERS_KEPT after the end of its pause: its host may soon have callbacks again.
    """
    wanted = select(watches.c.id).where(
        is_state(State.DELIVERING), watches.c.callback_host == host_breakers.c.name
    )
    paused_until = host_breakers.c.paused_until
    idle = (
        select(host_breakers.c.name)
        .where(~wanted.exists(), or_(paused_until.is_(None), paused_until < now - BREAKERS_KEPT))
        .order_by(host_breakers.c.name)
        .limit(limit)
        # Breakers that another transaction is changing are skipped.
        .with_for_update(skip_locked=True)
    )
    return connection.execute(delete(host_breakers).where(in_subquery(host_breakers.c.name, idle))).rowcount
