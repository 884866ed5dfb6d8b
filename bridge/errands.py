"""Errands: single requests to HubSpot that are no polls, within an account's quota and counted like polls."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bridge.core import findings, gates, quota
from bridge.core.answers import Answer, NoAnswer, NoToken
from bridge.core.findings import AccountAtFault, Ended, NoNews, Refused, Throttled, Trouble, Unfinished
from bridge.core.gates import Failure, Fault, Gate, Hold, Signal, Success
from bridge.core.kinds import DEFAULT_KIND, KINDS
from bridge.edges.accounts import Account, Accounts
from bridge.edges.hubspot import HubSpot
from bridge.edges.store import days
from bridge.edges.store import gates as store
from bridge.edges.store.gates import AccountGate

log = structlog.get_logger()

QUOTA_USED_UP = "The bridge's share of the account's request quota is used up for the moment."


@dataclass(frozen=True, kw_only=True, slots=True)
class NotNow:
    """The account may not be asked before `retry_at`; `reason` is a sentence."""

    retry_at: datetime
    reason: str


class Errands:
    """Takes requests from accounts' quotas, and notes what HubSpot's answers tell. Thread-safe.

    `lease_seconds` must exceed the time that a request may take: so long a probe keeps a pause up.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        accounts: Accounts,
        hubspot: HubSpot,
        clock: Callable[[], datetime],
        lease_seconds: float,
    ) -> None:
        self.engine = engine
        self.hubspot = hubspot
        self.clock = clock
        self._accounts = accounts
        self._lease = timedelta(seconds=lease_seconds)

    def turn(self, name: str) -> Account | NotNow:
        """Take one request from an account's quota, unless the account is paused or the quota used up.

        Once a pause is over, the first request is its probe: nothing else goes until it is answered.
        """
        now = self.clock()
        with self.engine.begin() as connection:
            account, held = self._locked(connection, name)
            if not_now := _not_now(account, held, now):
                return not_now
            gate = held.gate
            if gate.paused:
                gate = gates.probing(gate, until=now + self._lease)
            _spend(connection, account, replace(held, gate=gate), now)
        return account

    def turn_at_once(self, name: str) -> Account:
        """Take one request from an account's quota, though it may be paused or the quota used up."""
        with self.engine.begin() as connection:
            account, held = self._locked(connection, name)
            _spend(connection, account, held, self.clock())
        return account

    def _locked(self, connection: Connection, name: str) -> tuple[Account, AccountGate]:
        account = self._accounts.load(connection, [name])[name]
        return account, store.lock_accounts(connection, [name])[name]

    def learn(self, name: str, answer: Answer | NoAnswer | NoToken, *, asked_at: datetime) -> None:
        """Note what an answer tells about the account. Never raises: the answer matters more than the note."""
        now = self.clock()
        try:
            with self.engine.begin() as connection:
                held = store.lock_accounts(connection, [name])[name]
                store.save_accounts(connection, {name: _learnt(name, held, answer, asked_at, now)})
                if not isinstance(answer, NoToken):
                    days.count(connection, now.date(), {name: (1, int(_is_error(answer)))})
        except SQLAlchemyError as error:
            log.warning("account_news_lost", account=name, error=type(error).__name__)


def _not_now(account: Account, held: AccountGate, now: datetime) -> NotNow | None:
    until = held.gate.paused_until
    if until is not None and until > now:
        return NotNow(retry_at=until, reason=f"The account is paused: {held.gate.reason}")
    if quota.grant(account.rate, held.usage, wanted=1, now=now):
        return None
    early = timedelta(seconds=quota.tolerance_seconds(account.rate))
    return NotNow(retry_at=(held.usage.free_at or now) - early, reason=QUOTA_USED_UP)


def _spend(connection: Connection, account: Account, held: AccountGate, now: datetime) -> None:
    usage = quota.spend(account.rate, held.usage, requests=1, now=now)
    store.save_accounts(connection, {account.name: replace(held, usage=usage)})


def _learnt(
    name: str, held: AccountGate, answer: Answer | NoAnswer | NoToken, asked_at: datetime, now: datetime
) -> AccountGate:
    signal = _signal(answer, now)
    gate = gates.after_signal(held.gate, signal, asked_at=asked_at, now=now, policy=gates.ACCOUNT_POLICY)
    if gate.paused_until != held.gate.paused_until:
        _tell(name, gate)
    usage = quota.observe(held.usage, answer.headers, now=now) if isinstance(answer, Answer) else held.usage
    return AccountGate(gate=gate, usage=usage)


def _tell(name: str, gate: Gate) -> None:
    if gate.paused:
        log.warning("account_paused", account=name, until=gate.paused_until, reason=gate.reason)
    else:
        log.info("account_resumed", account=name)


def _signal(answer: Answer | NoAnswer | NoToken, now: datetime) -> Signal:
    match findings.read(KINDS[DEFAULT_KIND], answer, now=now):
        case Trouble(reason=reason):
            return Failure(reason=reason)
        case AccountAtFault(reason=reason):
            return Fault(reason=reason)
        case Throttled(seconds=seconds, reason=reason):
            return Hold(seconds=seconds, reason=reason)
        case Unfinished() | Ended() | NoNews() | Refused():
            return Success()
        case never:
            assert_never(never)


def _is_error(answer: Answer | NoAnswer) -> bool:
    return isinstance(answer, NoAnswer) or not 200 <= answer.status_code < 300
