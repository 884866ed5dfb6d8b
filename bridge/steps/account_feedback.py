"""What answers tell about their accounts, noted in one way, whoever asked."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog
from sqlalchemy import Connection

from bridge.core.account_limits import FinishedCall, after_answers, count, tried_at_once
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.db import breakers, daily_stats, watches

log = structlog.get_logger()


def record_calls(
    connection: Connection, finished: Mapping[str, Sequence[FinishedCall]], now: datetime
) -> None:
    """Save what was heard of each account, by name, and count it in the account's day."""
    held = breakers.lock_accounts(connection, finished)
    after = {name: after_answers(before, finished[name], now=now) for name, before in held.items()}
    breakers.save_accounts(connection, after)
    daily_stats.count(connection, now.date(), {name: count(answers) for name, answers in finished.items()})
    for name, both in after.items():
        if both.breaker.paused_until != held[name].breaker.paused_until:
            _tell(name, held[name].breaker, both.breaker)


def retry(connection: Connection, name: str, now: datetime) -> None:
    """Let an account's next poll be tried at once, as its probe while it is paused: its trouble may be mended."""
    held = breakers.lock_accounts(connection, [name])[name]
    breakers.save_accounts(connection, {name: tried_at_once(held, now=now)})
    watches.retry(connection, name, now)


def _tell(name: str, before: CircuitBreaker, breaker: CircuitBreaker) -> None:
    if not breaker.paused:
        log.info("account_resumed", account=name)
    elif before.paused and _gist(before.reason) == _gist(breaker.reason):
        # A probe has found what is known already.
        log.debug("account_paused", account=name, until=breaker.paused_until, reason=breaker.reason)
    else:
        log.warning("account_paused", account=name, until=breaker.paused_until, reason=breaker.reason)


def _gist(reason: str | None) -> str:
    """Return a reason without its figures: HubSpot says for how many seconds a token has been over."""
    return re.sub(r"\d+", "", reason or "")
