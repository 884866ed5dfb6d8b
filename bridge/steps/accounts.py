"""Sets, lists and removes HubSpot accounts, for the command line, the REST API and the admin page."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from bridge.core import account_limits
from bridge.core.account_limits import AccountLimits
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.instants import rfc3339_or_none
from bridge.core.operator_events import OperatorEventType, new_event
from bridge.core.quota import Usage
from bridge.db import breakers, readiness, watches
from bridge.db.accounts import DEFAULT, Account, AccountChange, Accounts
from bridge.db.engine import reading
from bridge.steps.operator_events import OperatorOutbox


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountStatus:
    """An account as it is shown to people.

    `breaker` is the account's breaker if the account is to be shown as paused (`is_paused` of `bridge.db.readiness`);
    otherwise it is a closed breaker.

    An account is unproven if all of this is true: failures caused its last pause, the pause is over, no request has
    succeeded since, and the account has no watch to poll. `unproven_reason` is the reason of an unproven account's
    last pause; for any other account it is None.
    """

    account: Account
    breaker: CircuitBreaker
    usage: Usage
    unproven_reason: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountNotRemoved:
    """The account was not removed; `reason` is a sentence for the caller."""

    reason: str
    known: bool  # whether there is a stored account of this name


def list_all(engine: Engine, accounts: Accounts, *, now: datetime) -> list[AccountStatus]:
    """Return the status of each account, sorted by name."""
    with reading(engine) as connection:
        return statuses(connection, accounts, now)


def statuses(connection: Connection, accounts: Accounts, now: datetime) -> list[AccountStatus]:
    """Return the status of each account, sorted by name."""
    known = accounts.list_all(connection)
    limits = breakers.all_account_limits(connection)
    return [
        _status(connection, account, limits.get(name, AccountLimits()), now)
        for name, account in sorted(known.items())
    ]


def _status(connection: Connection, account: Account, limits: AccountLimits, now: datetime) -> AccountStatus:
    breaker = limits.breaker
    is_paused = readiness.is_paused(connection, account.name, breaker, now)
    is_unproven = not is_paused and breaker.paused and breaker.pause_seconds > 0
    return AccountStatus(
        account=account,
        breaker=breaker if is_paused else CircuitBreaker(),
        usage=limits.usage,
        unproven_reason=breaker.reason if is_unproven else None,
    )


def put(
    engine: Engine, accounts: Accounts, name: str, change: AccountChange, *, now: datetime
) -> tuple[AccountStatus, bool]:
    """Add or replace a stored account; return the account's status, and True if the account was added.

    The account's watches whose last poll failed become due now, unless a worker has claimed them. If the account is
    paused, the account's trial request becomes due now, too.
    """
    with engine.begin() as connection:
        # Locked first, as in `remove`: otherwise the two might deadlock.
        before = breakers.lock_account_limits(connection, [name])[name]
        new = accounts.put(connection, name, change, now)
        account = accounts.load(connection, [name])[name]
        # The new credentials may work, and the new rate applies to the quota.
        after = account_limits.after_account_change(account.rate, before, now=now)
        breakers.save_account_limits(connection, {name: after})
        watches.make_failed_polls_due(connection, name, now)
        return _status(connection, account, after, now), new


def remove(
    engine: Engine, accounts: Accounts, name: str, *, outbox: OperatorOutbox, now: datetime
) -> AccountStatus | AccountNotRemoved:
    """Remove a stored account, and return its last status.

    If the account is paused, tells the operator that the pause is over. Returns AccountNotRemoved when no account of
    this name is stored, or when the account's tasks are being watched. But `default` can be removed even while its
    tasks are being watched.
    """
    not_stored = AccountNotRemoved(known=False, reason=f"There is no stored account {name}.")
    with engine.begin() as connection:
        account = accounts.load(connection, [name])[name]
        if not account.stored:
            return not_stored
        if name != DEFAULT and watches.is_watched(connection, name):
            why = f"Tasks in {name} are being watched: withdraw their watches first."
            return AccountNotRemoved(known=True, reason=why)
        limits = breakers.lock_account_limits(connection, [name])[name]
        removed = _status(connection, account, limits, now)
        breakers.forget_account(connection, name)
        if not accounts.remove(connection, name):
            return not_stored  # another request has removed it, while this one waited for the lock
        if limits.breaker.paused:
            over = new_event(OperatorEventType.ACCOUNT_RESUMED, name, "The account was removed.", now)
            outbox.add(connection, [over])
    return removed


def to_json(status: AccountStatus) -> dict[str, object]:
    """Return an account's fields as a dict of JSON values, without secrets, for the API and the command line."""
    account, breaker = status.account, status.breaker
    return {
        "name": account.name,
        "source": "stored" if account.stored else "environment",
        "auth": account.credentials.scheme,
        "base_url": account.base_url,
        "api_version": account.api_version,
        "rate_limit": f"{account.rate.requests}/{account.rate.seconds:g}",
        "rate_share": account.rate.share,
        "paused_until": rfc3339_or_none(breaker.paused_until),
        "paused_reason": breaker.reason,
    }
