"""HubSpot accounts: set, shown and removed in one way, from the command line and over REST."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from bridge.core import account_limits
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.instants import rfc3339
from bridge.db import breakers, readiness, watches
from bridge.db.accounts import DEFAULT, Account, AccountChange, Accounts
from bridge.db.engine import reading


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountStatus:
    """An account, whether it is in the table or from the environment, and its breaker while that is paused."""

    account: Account
    stored: bool
    breaker: CircuitBreaker


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountNotRemoved:
    """It cannot be done to this account: `reason` is a sentence for whoever asked."""

    reason: str
    known: bool  # whether there is such an account at all


def every(engine: Engine, accounts: Accounts, *, now: datetime) -> list[AccountStatus]:
    """Return all accounts, by name."""
    with reading(engine) as connection:
        stored = accounts.stored(connection)
        paused = readiness.paused_accounts(connection, now)
        known = accounts.every(connection)
    return [
        AccountStatus(account=account, stored=name in stored, breaker=paused.get(name, CircuitBreaker()))
        for name, account in sorted(known.items())
    ]


def put(
    engine: Engine, accounts: Accounts, name: str, change: AccountChange, *, now: datetime
) -> tuple[AccountStatus, bool]:
    """Set an account, the whole of it; return it, and whether it is new. One that was paused is tried at once."""
    with engine.begin() as connection:
        new = accounts.put(connection, name, change, now)
        rate = accounts.load(connection, [name])[name].rate
        # What the old credentials were paused for may be mended, and the old rate is no more.
        limits = breakers.lock_accounts(connection, [name])[name]
        breakers.save_accounts(connection, {name: account_limits.renewed(rate, limits, now=now)})
        watches.retry(connection, name, now)
        return _stored(connection, accounts, name, now), new


def remove(
    engine: Engine, accounts: Accounts, name: str, *, now: datetime
) -> AccountStatus | AccountNotRemoved:
    """Forget a stored account; what the environment says of `default` then holds again."""
    with engine.begin() as connection:
        if name not in accounts.stored(connection):
            return AccountNotRemoved(known=False, reason=f"There is no stored account {name}.")
        if name != DEFAULT and watches.is_watched(connection, name):
            why = f"Tasks in {name} are being watched: withdraw their watches first."
            return AccountNotRemoved(known=True, reason=why)
        removed = _stored(connection, accounts, name, now)
        accounts.remove(connection, name)
        breakers.forget_account(connection, name)
    return removed


def _stored(connection: Connection, accounts: Accounts, name: str, now: datetime) -> AccountStatus:
    breaker = readiness.paused_accounts(connection, now).get(name, CircuitBreaker())
    return AccountStatus(account=accounts.load(connection, [name])[name], stored=True, breaker=breaker)


def public(status: AccountStatus) -> dict[str, object]:
    """Return what may be shown of an account: everything but its secrets."""
    account, breaker = status.account, status.breaker
    return {
        "name": account.name,
        "source": "stored" if status.stored else "environment",
        "auth": account.credentials.scheme,
        "base_url": account.base_url,
        "api_version": account.api_version,
        "rate_limit": f"{account.rate.requests}/{account.rate.seconds:g}",
        "rate_share": account.rate.share,
        "paused_until": rfc3339(breaker.paused_until) if breaker.paused_until else None,
        "paused_reason": breaker.reason,
    }
