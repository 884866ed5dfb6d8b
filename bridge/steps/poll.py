"""The second step of a watch: claim it when it is due, poll HubSpot, and decide what follows."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection, Engine

from bridge import tracing
from bridge.core import account_limits, circuit_breaker, polling
from bridge.core.account_limits import AccountLimits, FinishedCall
from bridge.core.fairness import DueLane, Lane
from bridge.core.kinds import KINDS
from bridge.core.operator_events import OperatorEvent
from bridge.core.watch import State, Watch
from bridge.db import breakers as store
from bridge.db import claims, heartbeats
from bridge.db.accounts import DEFAULT, Account, Accounts
from bridge.db.due_lanes import DueLanes
from bridge.hubspot.client import HubSpot
from bridge.steps import account_feedback

log = structlog.get_logger()

# How long a watch may wait for its last poll after its deadline, while a worker could poll.
OVERDUE_GRACE_SECONDS = 60.0
OVERDUE_BATCH = 500
ALIVE = timedelta(seconds=30)  # how long a worker counts as alive after a heartbeat: three intervals


@dataclass(frozen=True, kw_only=True, slots=True)
class PollJob:
    """A claimed watch, with the data for its poll.

    `suspected` is true when the account, not the task, is the likely cause of HubSpot's refusals.
    """

    watch: Watch
    account: Account
    claimed_at: datetime
    suspected: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedPoll:
    """A poll that was made, and what follows from it."""

    job: PollJob
    call: FinishedCall
    decision: polling.PollDecision

    @property
    def may_follow(self) -> bool:
        """Whether the account's other polls, which wait in the pool, may start.

        False after a PermanentFailure or a RetryAfter.
        """
        # After a Failure or a Refusal they may, even if the account is paused: the quota already counts their requests.
        return not isinstance(self.call.signal, circuit_breaker.PermanentFailure | circuit_breaker.RetryAfter)

    @property
    def result(self) -> claims.StepResult:
        """The watch and HubSpot's answer to save in the database."""
        return claims.StepResult(
            claimed=self.job.watch, watch=self.decision.watch, hubspot_body=self.decision.hubspot_body
        )


class Polls:
    """Claims due watches that are `watching`, polls HubSpot, and updates the accounts' use of quota and breakers."""

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
        """`jitter` returns a random number from -1 to 1."""
        self._accounts = accounts
        self._hubspot = hubspot
        self._claimant = claimant
        self._clock = clock
        self._jitter = jitter
        self._due = DueLanes(self.state)
        # The `odd_to_young` of the last call of `claim_urgent`, by account: it is the opposite in the next call.
        self._odd_to_young: defaultdict[str, bool] = defaultdict(bool)

    def lanes(self, connection: Connection, room: Callable[[Lane], int], now: datetime) -> dict[str, DueLane]:
        """Return how many of each account's due polls may be claimed now, and when the first one fell due.

        The keys are the accounts' names. An account is left out when no poll of it may be claimed now. `room` returns
        how many more jobs of a lane the worker's pool takes.
        """
        due = self._due.look(connection, now)
        if not due:
            return {}
        accounts, limits = self._accounts.load(connection, due), store.read_account_limits(connection, due)
        granted = _granted(accounts, limits, {name: room((self.state, name)) for name in due}, now)
        left = self._left_to_others(connection, accounts, now)
        return {
            name: DueLane(since=due[name], more=count)
            for name, count in granted.items()
            if count and name not in left
        }

    def _left_to_others(
        self, connection: Connection, accounts: Mapping[str, Account], now: datetime
    ) -> Collection[str]:
        """Return the names of the accounts that this worker leaves to other live workers.

        The only such account is `default`. This worker leaves `default` to others if it has no credentials for
        `default`, and the environment of another live worker has such credentials.
        """
        if DEFAULT not in accounts or accounts[DEFAULT].has_credentials:
            return ()
        return (DEFAULT,) if heartbeats.has_credentials(connection, since=now - ALIVE) else ()

    def claim(self, connection: Connection, shares: Mapping[str, int]) -> list[PollJob]:
        """Claim due watches, at most `shares[account]` of each account; return a job for each watch.

        Each job takes one request from its account's quota. When the quota permits fewer requests than `shares` asks
        for, fewer watches are claimed.
        """
        if not shares:
            return []
        # Computed again with the rows locked, because other processes may have used the quota since `lanes`.
        limits = store.lock_account_limits(connection, shares)
        # The locks may have been waited for: an account may be another, and the requests count from now on.
        accounts, now = self._accounts.load(connection, shares), self._clock()
        # One more than the share: if even that is granted, the quota is not what limits the claim.
        granted = _granted(accounts, limits, {name: share + 1 for name, share in shares.items()}, now)
        watches = self._claim_granted(connection, granted, shares, limits, now)
        spent = Counter(watch.account for watch in watches)
        lease_ends_at = self._claimant.lease_ends_at(now)
        after = {
            name: account_limits.spend(
                accounts[name].rate, limits[name], requests=requests, lease_ends_at=lease_ends_at, now=now
            )
            for name, requests in spent.items()
        }
        store.save_account_limits(connection, after)
        return [
            PollJob(
                watch=watch,
                account=accounts[watch.account],
                claimed_at=now,
                suspected=limits[watch.account].suspected,
            )
            for watch in watches
        ]

    def _claim_granted(
        self,
        connection: Connection,
        granted: Mapping[str, int],
        shares: Mapping[str, int],
        limits: Mapping[str, AccountLimits],
        now: datetime,
    ) -> list[Watch]:
        # When the quota is short, the most urgent watches are polled. Otherwise, and for a trial, those due longest.
        # The quota is not short if it grants more than the share: `claim` has asked for one more.
        by_due = {
            name: min(granted[name], share)
            for name, share in shares.items()
            if granted[name] > share or limits[name].breaker.paused
        }
        suspected = {name for name, count in by_due.items() if count and limits[name].suspected}
        unsuspected = {name: count for name, count in by_due.items() if name not in suspected}
        watches = claims.claim(connection, self.state, unsuspected, self._claimant, now)
        for name in suspected:
            watches += claims.claim_least_refused(connection, name, self._claimant, now)
        for name in granted.keys() - by_due.keys():
            if count := granted[name]:
                odd_to_young = self._odd_to_young[name] = not self._odd_to_young[name]
                watches += claims.claim_urgent(
                    connection, name, count, self._claimant, now, odd_to_young=odd_to_young
                )
        return watches

    def work(self, job: PollJob) -> FinishedPoll:
        """Poll HubSpot for one task, and decide what follows. Runs in a pool thread, outside any transaction."""
        kind = KINDS[job.watch.kind]
        with tracing.span("poll", job.watch.traceparent, watch=job.watch.id):
            answer = self._hubspot.status(job.account, job.watch.kind, job.watch.task_id)
            tracing.record_answer(answer)
        now = self._clock()
        decision = polling.after_answer(
            kind, job.watch, answer, now=now, jitter=self._jitter(), suspected=job.suspected
        )
        call = FinishedCall(
            answer=answer, signal=decision.signal, asked_at=job.claimed_at, rate=job.account.rate
        )
        return FinishedPoll(job=job, call=call, decision=decision)

    def record_calls(
        self, connection: Connection, done: Sequence[FinishedPoll], now: datetime, *, lost: Collection[str]
    ) -> list[OperatorEvent]:
        """Update accounts' limits and statistics from finished polls; return the events for the operator.

        Of a watch whose id is in `lost`, because the lease was lost, only the requests are counted.
        """
        calls = [
            (d.job.account, account_limits.only_counted(d.call) if d.job.watch.id in lost else d.call)
            for d in done
        ]
        events = account_feedback.record_calls(connection, self._accounts, calls, now)
        unsent = [d.job.watch for d in done if d.call.signal is None]
        leases = {(watch.account, watch.due_at) for watch in unsent if watch.due_at}
        store.release_trials(connection, self.state, leases, now)
        return events


def _granted(
    accounts: Mapping[str, Account],
    limits: Mapping[str, AccountLimits],
    wanted: Mapping[str, int],
    now: datetime,
) -> dict[str, int]:
    return {
        name: account_limits.grant(
            accounts[name].rate, limits.get(name, AccountLimits()), wanted=count, now=now
        )
        for name, count in wanted.items()
    }


def time_out_overdue(engine: Engine, now: datetime, *, steady_since: datetime) -> int:
    """Time out watches that are past their deadline and cannot get a last poll; return how many.

    `steady_since` is the instant since which this worker has been able to poll without a break. At most OVERDUE_BATCH
    watches get the outcome `timed_out` at a time; `claims.lock_overdue` holds the exact rule.
    """
    with engine.begin() as connection:
        late = claims.lock_overdue(
            connection,
            now,
            steady_since=steady_since,
            grace_seconds=OVERDUE_GRACE_SECONDS,
            limit=OVERDUE_BATCH,
        )
        over = [polling.time_out(watch, now=now) for watch in late]
        claims.save_watches(connection, over)
    for watch in over:
        log.info("task_ended", watch=watch.id, outcome=watch.outcome, polls=watch.polls)
    return len(over)
