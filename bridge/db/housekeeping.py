"""Deletes old watches, and the circuit breakers of hosts without callbacks to deliver."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, or_, select

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.db.breakers import HOST_HAS_CALLBACKS, to_breaker
from bridge.db.dialect_sql import in_subquery
from bridge.db.tables import IS_OVER, host_breakers, watches

# Undelivered watches are kept this many times as long: their callbacks may still be redelivered.
UNDELIVERED_TIMES = 3
# A paused host's breaker is kept for this long after the pause: the host may soon have callbacks again.
BREAKERS_KEPT = timedelta(days=1)


def prune(connection: Connection, now: datetime, *, retention: timedelta, limit: int) -> int:
    """Delete up to `limit` watches that were settled longer ago than `retention`; return how many.

    Watches in the state `undelivered` are kept UNDELIVERED_TIMES times as long.
    """
    over = IS_OVER & (watches.c.settled_at < now - retention)
    deleted = _delete(connection, over, limit)
    # Of watches that old, only undelivered ones are left.
    long_over = watches.c.settled_at < now - UNDELIVERED_TIMES * retention
    return deleted + _delete(connection, long_over, limit - deleted)


def _delete(connection: Connection, over: ColumnElement[bool], limit: int) -> int:
    batch = select(watches.c.id).where(over).order_by(watches.c.settled_at).limit(limit)
    # `over` is repeated: PostgreSQL checks it again for a row that was redelivered meanwhile, but not the subquery.
    return connection.execute(delete(watches).where(in_subquery(watches.c.id, batch), over)).rowcount


def prune_breakers(connection: Connection, now: datetime, *, limit: int) -> dict[str, CircuitBreaker]:
    """Delete up to `limit` breakers of hosts without callbacks to deliver; return the deleted breakers, by host.

    A paused host's breaker is kept for BREAKERS_KEPT after the end of the pause.
    """
    paused_until = host_breakers.c.paused_until
    idle = (
        select(host_breakers.c.name)
        .where(~HOST_HAS_CALLBACKS, or_(paused_until.is_(None), paused_until < now - BREAKERS_KEPT))
        .order_by(host_breakers.c.name)
        .limit(limit)
        # Breakers that another transaction is changing are skipped.
        .with_for_update(skip_locked=True)
    )
    old = delete(host_breakers).where(in_subquery(host_breakers.c.name, idle))
    return {row.name: to_breaker(row) for row in connection.execute(old.returning(host_breakers))}
