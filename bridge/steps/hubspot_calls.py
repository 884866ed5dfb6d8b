"""Keeps requests that are not polls (starts of imports, checks of accounts) within the accounts' quotas."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bridge.core import account_limits, quota
from bridge.core.account_limits import AccountLimits, AccountSignal, FinishedCall
from bridge.core.counters import ACCOUNT_ERRORS, ACCOUNT_REQUESTS
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.watch import State
from bridge.db import breakers as store
from bridge.db.accounts import DEFAULT, Account, Accounts
from bridge.db.counters import Counters
from bridge.hubspot.client import HubSpot
from bridge.steps import account_feedback
from bridge.steps.operator_events import NO_OPERATOR, OperatorOutbox

log = structlog.get_logger()

QUOTA_USED_UP = "The bridge's share of the account's request quota is used up for the moment."


@dataclass(frozen=True, kw_only=True, slots=True)
class Granted:
    """One request for `account` is granted.

    The request may be the account's trial request. The result of a trial must be recorded before `lease_ends_at`;
    otherwise another trial is due at `lease_ends_at`.
    """

    account: Account
    lease_ends_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryLater:
    """No request is granted now.

    `reason` is a sentence for the client; `retry_at` is when to try again.
    """

    retry_at: datetime
    reason: str


class HubSpotCalls:
    """Counts requests against accounts' quotas, and updates the accounts' limits from HubSpot's answers.

    Thread-safe. The callers send the requests, through the attribute `hubspot`. The first request granted after an
    account's pause is the account's trial. Another trial is due when the trial's result is not recorded within
    `lease_seconds` of the grant. Callers are not told which request is a trial. So every request must end within
    `lease_seconds`, and the caller calls `release_trial` for every granted request that was not sent or whose result
    says nothing about the account.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        accounts: Accounts,
        hubspot: HubSpot,
        clock: Callable[[], datetime],
        lease_seconds: float,
        counters: Counters,
        outbox: OperatorOutbox = NO_OPERATOR,
    ) -> None:
        self.engine = engine
        self.hubspot = hubspot
        self.clock = clock
        self._accounts = accounts
        self._counters = counters
        self._lease = timedelta(seconds=lease_seconds)
        self._outbox = outbox

    def acquire(self, name: str) -> Granted | RetryLater:
        """Take one request from an account's quota; return RetryLater when no request is granted now.

        For an account without credentials, returns Granted and leaves the quota as it is: the call that follows on
        `self.hubspot` returns a NoToken without sending a request.
        """
        with self.engine.begin() as connection:
            account, limits = self._load_and_lock(connection, name)
            # After the lock, which may have been waited for: the request counts from when it can be sent.
            now = self.clock()
            if limits is None:
                # Nothing will be sent.
                return Granted(account=account, lease_ends_at=now + self._lease)
            if not account_limits.grant(account.rate, limits, wanted=1, now=now):
                return _retry_later(account, limits, now)
            granted = Granted(account=account, lease_ends_at=now + self._lease)
            spent = account_limits.spend(
                account.rate, limits, requests=1, lease_ends_at=granted.lease_ends_at, now=now
            )
            store.save_account_limits(connection, {name: spent})
        return granted

    def _load_and_lock(self, connection: Connection, name: str) -> tuple[Account, AccountLimits | None]:
        """Return an account and its limits, with the limits' row locked.

        The limits are None, and nothing is locked, when the account has no credentials.
        """
        account = self._accounts.load(connection, [name])[name]
        if not account.has_credentials:
            return account, None
        limits = store.lock_account_limits(connection, [name])[name]
        # Loaded again, because an operator may have changed the account while the lock was waited for.
        account = self._accounts.load(connection, [name])[name]
        return account, limits if account.has_credentials else None

    def release_trial(self, granted: Granted) -> None:
        """If `granted` is the account's trial request, make the account's next trial due now.

        Without this call, the next trial is due only at `granted.lease_ends_at`. Call this when no request was sent,
        or when the request's result says nothing about the account. Database errors are logged, not raised.
        """
        name = granted.account.name
        try:
            with self.engine.begin() as connection:
                store.release_trials(
                    connection, State.WATCHING, [(name, granted.lease_ends_at)], self.clock()
                )
        except SQLAlchemyError as error:
            log.warning("account_update_lost", account=name, error=type(error).__name__)

    def acquire_at_once(self, name: str) -> Account | None:
        """Take one request from an account's quota, even in a pause or beyond the quota; return the account.

        If the account has no credentials, the quota stays as it is. Returns None when there is no such account.
        """
        with self.engine.begin() as connection:
            account, limits = self._load_and_lock(connection, name)
            if not account.stored and name != DEFAULT:
                return None
            if limits is not None:
                spent = account_limits.spend_ungranted(account.rate, limits, now=self.clock())
                store.save_account_limits(connection, {name: spent})
        return account

    def record_call(
        self,
        account: Account,
        answer: HttpResponse | NoResponse | NoToken,
        signal: AccountSignal | None,
        *,
        asked_at: datetime,
        retry: bool = False,
    ) -> None:
        """Update an account's limits, statistics and counters after a call.

        Database errors are logged, not raised. A `signal` other than None is applied to the account's breaker. If the
        call failed, and an operator has changed or removed the account since it was loaded, only the requests are
        counted. `asked_at` is the instant just before the call. With `retry`, the account's watches are made due now if
        their last poll failed and no worker has claimed them. With `retry`, the trial of a paused account is made due
        now, too. Does nothing for an account without credentials.
        """
        # Other processes may have credentials of the account: it must not be paused because this process has none.
        if not account.has_credentials:
            return
        now = self.clock()
        finished = FinishedCall(answer=answer, signal=signal, asked_at=asked_at, rate=account.rate)
        try:
            with self.engine.begin() as connection:
                events = account_feedback.record_calls(connection, self._accounts, [(account, finished)], now)
                if retry:
                    account_feedback.make_trial_due(connection, account.name, now)
                self._outbox.add(connection, events)
        except SQLAlchemyError as error:
            # Not raised: the caller still needs the answer.
            log.warning("account_update_lost", account=account.name, error=type(error).__name__)
        else:
            self._counters.inc(ACCOUNT_REQUESTS, account.name, by=finished.requests)
            self._counters.inc(ACCOUNT_ERRORS, account.name, by=finished.errors)


def _retry_later(account: Account, limits: AccountLimits, now: datetime) -> RetryLater:
    until = limits.breaker.paused_until
    if until is not None and until > now:
        why = (limits.breaker.reason or "").rstrip(".")
        return RetryLater(retry_at=until, reason=f"The account is paused: {why}.")
    wait_seconds = quota.wait_seconds(account.rate, limits.usage, now=now)
    return RetryLater(retry_at=now + timedelta(seconds=wait_seconds), reason=QUOTA_USED_UP)
