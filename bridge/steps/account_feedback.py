"""Updates accounts' circuit breakers, quotas and daily statistics after calls to HubSpot, answered or not."""

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy import Connection

from bridge.core.account_limits import (
    SUSPICION,
    FinishedCall,
    after_answers,
    count,
    only_counted,
    with_trial_due,
)
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.operator_events import OperatorEvent, OperatorEventType, new_event
from bridge.db import breakers, daily_stats, watches
from bridge.db.accounts import Account, Accounts

log = structlog.get_logger()


def record_calls(
    connection: Connection,
    accounts: Accounts,
    finished: Sequence[tuple[Account, FinishedCall]],
    now: datetime,
) -> list[OperatorEvent]:
    """Update accounts' limits and daily statistics from finished calls; return the events for the operator.

    Each call comes with its account as it was loaded for the call. If the call failed, and an operator has changed or
    removed the account since then, only the call's requests are counted. The calls of an account are applied in their
    order.
    """
    limits = breakers.lock_account_limits(connection, {account.name for account, _ in finished})
    failed = {account.name for account, call in finished if call.failed}
    # Under the lock, which an operator's change takes first, too.
    current = accounts.load(connection, failed) if failed else {}
    calls: dict[str, list[FinishedCall]] = defaultdict(list)
    for account, call in finished:
        is_outdated = call.failed and account != current[account.name]
        calls[account.name].append(only_counted(call) if is_outdated else call)
    after = {name: after_answers(before, calls[name], now=now) for name, before in limits.items()}
    breakers.save_account_limits(connection, after)
    daily_stats.count(connection, now.date(), {name: count(made) for name, made in calls.items()})
    events = [
        _log_change(name, limits[name].breaker, limits_after.breaker, now)
        for name, limits_after in after.items()
    ]
    return [event for event in events if event]


def make_trial_due(connection: Connection, name: str, now: datetime) -> None:
    """Make an account's watches due now if their last poll failed and no worker has claimed them.

    If the account is paused, its next trial becomes due now, too. A trial is one request, such as a poll of one due
    watch. Until a trial succeeds, the account's watches are polled only as trials.
    """
    limits = breakers.lock_account_limits(connection, [name])[name]
    breakers.save_account_limits(connection, {name: with_trial_due(limits, now=now)})
    watches.make_failed_polls_due(connection, name, now)


def _log_change(
    name: str, before: CircuitBreaker, breaker: CircuitBreaker, now: datetime
) -> OperatorEvent | None:
    """Log that an account's pause began, changed or ended; return the event for the operator, if any.

    `before` and `breaker` are the account's breaker before and after the calls. An equal `paused_until` in both is no
    change: nothing is logged, and there is no event. If a pause gets a new `paused_until` for the same cause, this is
    logged, but there is no event.
    """
    if breaker.paused_until == before.paused_until:
        return None
    if not breaker.paused:
        log.info("account_resumed", account=name)
        return new_event(OperatorEventType.ACCOUNT_RESUMED, name, "HubSpot answers again.", now)
    if before.paused and _cause(before.reason) == _cause(breaker.reason):
        # A trial request failed for the cause that the operator knows already.
        log.debug("account_paused", account=name, until=breaker.paused_until, reason=breaker.reason)
        return None
    log.warning("account_paused", account=name, until=breaker.paused_until, reason=breaker.reason)
    return new_event(OperatorEventType.ACCOUNT_PAUSED, name, breaker.reason, now)


def _cause(reason: str | None) -> str:
    # HubSpot's messages for one cause may differ in numbers, such as the seconds since a token expired, and those that
    # refuse a task may name it.
    text = reason or ""
    return SUSPICION if text.endswith(SUSPICION) else re.sub(r"\d+", "", text)
