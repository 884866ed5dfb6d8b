"""Step 2: claim due watches, ask HubSpot, decide, save."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine

from bridge.core import gates, polling, quota
from bridge.core.answers import Answer, NoAnswer, NoToken
from bridge.core.kinds import KINDS
from bridge.core.watch import State, Watch
from bridge.edges.accounts import Account, Accounts
from bridge.edges.hubspot import HubSpot
from bridge.edges.store import claims, days
from bridge.edges.store import gates as store
from bridge.edges.tables import account_gates

log = structlog.get_logger()

OVERDUE_GRACE_SECONDS = 60.0  # a last poll that the quota keeps waiting for longer is given up
OVERDUE_BATCH = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A claimed watch, with all that it takes to poll it."""

    watch: Watch
    account: Account
    claimed_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A poll that was made, and what it leads to."""

    job: Job
    answer: Answer | NoAnswer | NoToken
    polled: polling.Polled

    @property
    def result(self) -> claims.Result:
        """What is to be saved of the watch."""
        return claims.Result(claimed=self.job.watch, watch=self.polled.watch, hubspot=self.polled.hubspot)


class Polls:
    """Polls HubSpot for watches whose task has not ended."""

    state = State.WATCHING

    def __init__(
        self,
        *,
        accounts: Accounts,
        hubspot: HubSpot,
        claimant: claims.Claimant,
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` draws from -1 to 1."""
        self._accounts = accounts
        self._hubspot = hubspot
        self._claimant = claimant
        self._clock = clock
        self._jitter = jitter
        # Of an account's odd ones, each goes to the other side than the one before.
        self._odd_to_young: defaultdict[str, bool] = defaultdict(bool)

    def lanes(self, connection: Connection, most: int, now: datetime) -> dict[str, tuple[datetime, int]]:
        """Return the accounts with due watches: since when, and how many may be polled at a time."""
        due = claims.due_lanes(connection, self.state, now)
        shut = store.shut(connection, account_gates, now) if due else set()
        return {name: (since, most) for name, since in due.items() if name not in shut}

    def claim(self, connection: Connection, shares: Mapping[str, int], now: datetime) -> list[Job]:
        """Claim at most `shares` watches of each account, within its quota."""
        if not shares:
            return []
        accounts = self._accounts.load(connection, shares)
        held = store.lock_accounts(connection, shares)
        granted = {name: self._grant(accounts[name], held[name], shares[name], now) for name in held}
        watches = self._take(connection, granted, shares, now)
        for name, claimed in Counter(watch.account for watch in watches).items():
            held[name] = self._spend(accounts[name], held[name], claimed, now)
        store.save_accounts(connection, held)
        return [Job(watch=watch, account=accounts[watch.account], claimed_at=now) for watch in watches]

    def _grant(self, account: Account, held: store.AccountGate, wanted: int, now: datetime) -> int:
        until = held.gate.paused_until
        if until is not None:
            wanted = 0 if until > now else 1  # one probe, after the pause
        return quota.grant(account.rate, held.usage, wanted=wanted, now=now)

    def _take(
        self, connection: Connection, granted: Mapping[str, int], shares: Mapping[str, int], now: datetime
    ) -> list[Watch]:
        plenty = {name: count for name, count in granted.items() if count == shares[name]}
        watches = claims.claim(connection, self.state, plenty, self._claimant, now)
        for name in granted.keys() - plenty.keys():
            if count := granted[name]:
                odd_to_young = self._odd_to_young[name] = not self._odd_to_young[name]
                watches += claims.claim_urgent(
                    connection, name, count, self._claimant, now, odd_to_young=odd_to_young
                )
        return watches

    def _spend(
        self, account: Account, held: store.AccountGate, claimed: int, now: datetime
    ) -> store.AccountGate:
        gate = held.gate
        if gate.paused:
            gate = gates.probing(gate, until=now + timedelta(seconds=self._claimant.lease_seconds))
        return replace(
            held, gate=gate, usage=quota.spend(account.rate, held.usage, requests=claimed, now=now)
        )

    def work(self, job: Job) -> Done:
        """Ask HubSpot, and decide. Runs in a seat of its own; no transaction is open."""
        kind = KINDS[job.watch.kind]
        answer = self._hubspot.status(job.account, job.watch.kind, job.watch.task_id)
        now = self._clock()
        polled = polling.after_answer(kind, job.watch, answer, now=now, jitter=self._jitter())
        return Done(job=job, answer=answer, polled=polled)

    def learn(self, connection: Connection, done: Sequence[Done], now: datetime) -> None:
        """Save what polls tell about their accounts, whoever the watches belong to by now."""
        by_account: dict[str, list[Done]] = defaultdict(list)
        for d in done:
            by_account[d.job.account.name].append(d)
        held = store.lock_accounts(connection, by_account)
        store.save_accounts(
            connection, {name: _learnt(name, held[name], by_account[name], now) for name in held}
        )
        days.count(connection, now.date(), {name: _counted(d) for name, d in by_account.items()})
        days.note_delays(connection, now.date(), {name: _delays(d) for name, d in by_account.items()})


def _learnt(name: str, held: store.AccountGate, done: Sequence[Done], now: datetime) -> store.AccountGate:
    gate, usage = held.gate, held.usage
    for d in done:
        gate = gates.after_signal(
            gate, d.polled.signal, asked_at=d.job.claimed_at, now=now, policy=gates.ACCOUNT_POLICY
        )
        if isinstance(d.answer, Answer):
            usage = quota.observe(usage, d.answer.headers, now=now)
    if gate.paused_until != held.gate.paused_until:
        if gate.paused:
            log.warning("account_paused", account=name, until=gate.paused_until, reason=gate.reason)
        else:
            log.info("account_resumed", account=name)
    return store.AccountGate(gate=gate, usage=usage)


def _counted(done: Sequence[Done]) -> tuple[int, int]:
    asked = [d.answer for d in done if not isinstance(d.answer, NoToken)]
    errors = [a for a in asked if isinstance(a, NoAnswer) or not 200 <= a.status_code < 300]
    return len(asked), len(errors)


def _delays(done: Sequence[Done]) -> list[float]:
    return [d.polled.delay_seconds for d in done if d.polled.delay_seconds is not None]


def time_out_overdue(engine: Engine, now: datetime) -> int:
    """End watches past their deadline whose last poll cannot be had; return how many."""
    with engine.begin() as connection:
        late = claims.overdue(connection, now, grace_seconds=OVERDUE_GRACE_SECONDS, limit=OVERDUE_BATCH)
        claims.put(connection, [polling.time_out(watch, now=now) for watch in late])
    return len(late)
