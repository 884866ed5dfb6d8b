"""Whether work is moving: the steps that are long overdue without a pause or a quota as the reason."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.quota import SLOWEST_SECONDS
from bridge.core.watch import State
from bridge.db.breakers import BREAKERS, every_account
from bridge.db.claims import LANES
from bridge.db.due_lanes import due_lanes
from bridge.db.tables import account_breakers, is_state, watches
from bridge.db.watches import is_watched

TICKED_WITHIN = timedelta(seconds=60)
OVERDUE_AFTER = timedelta(seconds=300)
# A worker that serves an account spends its quota, however slowly; one that does not has stopped.
SERVED = timedelta(seconds=60)
# An account whose quota is spent further ahead than this is not served slowly, but not at all.
SPENT_AHEAD = timedelta(seconds=SLOWEST_SECONDS) + SERVED


def paused_accounts(connection: Connection, now: datetime) -> dict[str, CircuitBreaker]:
    """Return the breakers of the accounts that are to be shown as paused.

    Their pause goes on, or is over and a watch waits to probe whether the fault is mended.
    """
    breakers = {name: held.breaker for name, held in every_account(connection).items()}
    return {name: breaker for name, breaker in breakers.items() if _is_paused(connection, name, breaker, now)}


def _is_paused(connection: Connection, name: str, breaker: CircuitBreaker, now: datetime) -> bool:
    if breaker.paused_until is None:
        return False
    if breaker.paused_until > now:
        return True
    # Its pause is over: the breaker closes with the next success, which somebody has to ask for.
    return breaker.pause_seconds > 0 and is_watched(connection, name)


def overdue_accounts(connection: Connection, *, since: datetime, now: datetime) -> dict[str, datetime]:
    """Return the accounts with a poll due since before `since`: the oldest `due_at` of each.

    Left out are those that are paused, and those that are being polled, as fast as their quota allows.
    """
    late = _late(connection, State.WATCHING, since)
    served = account_breakers.c.free_at.between(now - SERVED, now + SPENT_AHEAD)
    busy = set(connection.scalars(select(account_breakers.c.name).where(served)))
    return {name: due_at for name, due_at in late.items() if name not in busy}


def overdue_hosts(connection: Connection, *, since: datetime, now: datetime) -> dict[str, datetime]:
    """Return the hosts with a callback due since before `since`: the oldest `due_at` of each.

    Left out are those that are paused, and those that have an attempt on the way: they are slow.
    """
    late = _late(connection, State.DELIVERING, since)
    return {name: due_at for name, due_at in late.items() if not _is_attempted(connection, name, now)}


def _late(connection: Connection, state: State, since: datetime) -> dict[str, datetime]:
    late, breakers = due_lanes(connection, state, since), BREAKERS[state]
    paused = select(breakers.c.name).where(breakers.c.paused_until.is_not(None))
    waiting = set(connection.scalars(paused)) if late else set()
    return {name: due_at for name, due_at in late.items() if name not in waiting}


def _is_attempted(connection: Connection, host: str, now: datetime) -> bool:
    """Return whether an attempt to this host is in flight: a claimed watch is due at the end of its lease."""
    claimed = select(watches.c.id).where(
        is_state(State.DELIVERING),
        LANES[State.DELIVERING] == host,
        watches.c.due_at > now,
        watches.c.claimed_by.is_not(None),
    )
    return connection.execute(claimed.limit(1)).first() is not None
