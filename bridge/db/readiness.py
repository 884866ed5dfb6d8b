"""Finds the paused accounts, and the accounts and hosts whose polls or callbacks are overdue for no known reason."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.quota import SLOWEST_SECONDS
from bridge.core.watch import State
from bridge.db.breakers import BREAKERS, all_account_limits
from bridge.db.claims import LANES
from bridge.db.due_lanes import due_lanes
from bridge.db.tables import account_breakers, is_state, watches
from bridge.db.watches import is_watched

OVERDUE_AFTER = timedelta(seconds=300)
# An account whose `free_at` (when its next request may be sent) is not longer past than this is still being polled.
SERVED = timedelta(seconds=60)
# An account whose `free_at` is further ahead of the clock than this is not being polled at all.
SPENT_AHEAD = timedelta(seconds=SLOWEST_SECONDS) + SERVED


def paused_accounts(connection: Connection, now: datetime) -> dict[str, CircuitBreaker]:
    """Return the circuit breaker of each account that is shown as paused, by account name.

    `is_paused` says which accounts are shown as paused.
    """
    breakers = {name: limits.breaker for name, limits in all_account_limits(connection).items()}
    return {name: breaker for name, breaker in breakers.items() if is_paused(connection, name, breaker, now)}


def is_paused(connection: Connection, name: str, breaker: CircuitBreaker, now: datetime) -> bool:
    """Return whether to show the account `name` as paused; `breaker` is the account's circuit breaker.

    During a pause, the result is True. After a pause that failures caused, the result is True while two conditions
    hold: no request has succeeded since, and the account has watches to poll. In all other cases, the result is
    False.
    """
    if breaker.paused_until is None:
        return False
    if breaker.paused_until > now:
        return True
    # The pause is over. The breaker closes when a request succeeds; without a watch, perhaps none is ever sent.
    return breaker.pause_seconds > 0 and is_watched(connection, name)


def overdue_accounts(connection: Connection, now: datetime) -> dict[str, datetime]:
    """Return the oldest `due_at` of each account that has polls due for OVERDUE_AFTER or longer.

    Left out are accounts whose breaker is open or half open. Left out, too, are accounts of which a task was polled a
    short while ago (SERVED): their other polls are late only because of their quota.
    """
    late = _late(connection, State.WATCHING, now)
    # Each request moves an account's `free_at` forward.
    served = account_breakers.c.free_at.between(now - SERVED, now + SPENT_AHEAD)
    busy = set(connection.scalars(select(account_breakers.c.name).where(served)))
    return {name: due_at for name, due_at in late.items() if name not in busy}


def overdue_hosts(connection: Connection, now: datetime) -> dict[str, datetime]:
    """Return the oldest `due_at` of each host with callbacks that have been due for OVERDUE_AFTER or longer.

    Left out are hosts whose breaker is open or half open, and hosts with a callback whose lease is running.
    """
    late = _late(connection, State.DELIVERING, now)
    return {name: due_at for name, due_at in late.items() if not _is_attempted(connection, name, now)}


def _late(connection: Connection, state: State, now: datetime) -> dict[str, datetime]:
    late, breakers = due_lanes(connection, state, now - OVERDUE_AFTER), BREAKERS[state]
    paused = select(breakers.c.name).where(breakers.c.paused_until.is_not(None))
    waiting = set(connection.scalars(paused)) if late else set()
    return {name: due_at for name, due_at in late.items() if name not in waiting}


def _is_attempted(connection: Connection, host: str, now: datetime) -> bool:
    """Return whether a worker has claimed a callback to this host, and the lease has not run out."""
    claimed = select(watches.c.id).where(
        is_state(State.DELIVERING),
        LANES[State.DELIVERING] == host,
        watches.c.due_at > now,
        watches.c.claimed_by.is_not(None),
    )
    return connection.execute(claimed.limit(1)).first() is not None
