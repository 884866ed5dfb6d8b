"""Two claimants share a database through crashes, late returns and a clock that is corrected: nothing is lost.

A simple model beside the database records who holds each watch.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, Engine, delete, event, func, select

from bridge.core.delivery import RetryPolicy, after_attempt
from bridge.core.http_results import HttpResponse, NoResponse
from bridge.core.kinds import KINDS
from bridge.core.polling import after_answer
from bridge.core.watch import OPEN, REDELIVERABLE, State, Watch, recheck, redeliver, withdraw
from bridge.db import claims, watches
from bridge.db.claims import Claimant, StepResult
from bridge.db.engine import open_engine
from bridge.db.rows import COLUMNS, to_watch
from bridge.db.tables import attempts
from bridge.db.tables import watches as table
from bridge.steps.poll import time_out_overdue
from bridge.steps.register import register
from tests.db.claiming import ONE, OTHER
from tests.makers import NOW, a_registration, an_answer

# Far more than it takes to bring to its end whatever may be left.
ROUNDS = 20
FEW_TRIES = RetryPolicy(schedule_seconds=(5, 300), jitter_share=0.2)
COMPLETE = an_answer(200, {"status": "COMPLETE", "result": {"id": "1"}})
HEALTHY = Claimant(worker="healthy", lease_seconds=60)

claimants = st.sampled_from([ONE, OTHER])
polled = st.sampled_from(
    [
        an_answer(202, {"status": "PENDING"}),
        an_answer(202, {"status": "PROCESSING"}),
        COMPLETE,
        COMPLETE,
        an_answer(200, {"status": "CANCELED"}),
        an_answer(404, {"status": "error"}),
        NoResponse(reason="timed out"),
    ]
)
received = st.sampled_from([an_answer(204), an_answer(500), an_answer(410), NoResponse(reason="timed out")])
picks = st.integers(0, 99)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Job:
    """A watch as it was claimed, and by whom."""

    claimant: Claimant
    watch: Watch


class LifeOfClaims(RuleBasedStateMachine):
    """One database, two claimants and their clock."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.ticks = 0
        self.jobs: list[Job] = []
        self.holder: dict[str, Job] = {}
        self.seen: dict[str, Watch] = {}
        self.told: Counter[str] = Counter()
        with self.engine.begin() as connection:
            connection.execute(delete(table))
        self._stored: dict[str, Watch] | None = None
        event.listen(self.engine, "commit", self.forget)

    def forget(self, _: Connection) -> None:
        self._stored = None

    def tick(self) -> datetime:
        """Return an instant that never comes again, however the clock is put."""
        self.ticks += 1
        self.now = self.now.replace(microsecond=self.ticks)
        return self.now

    def stored(self) -> dict[str, Watch]:
        if self._stored is None:
            with self.engine.connect() as connection:
                rows = connection.execute(select(*COLUMNS))
                self._stored = {watch.id: watch for watch in map(to_watch, rows)}
        return self._stored

    @initialize(ended=st.booleans(), settled=st.booleans())
    def there_is_something_to_do(self, *, ended: bool, settled: bool) -> None:
        for number in range(2):
            self.a_client_registers(number, 86_400.0)
        # Few would come so far by chance.
        for state in [State.WATCHING] * ended + [State.DELIVERING] * (ended and settled):
            self.now += timedelta(seconds=60)
            for job in self.claims_due(ONE, state, 1):
                self.saves(job, COMPLETE)

    @rule(number=st.integers(0, 2), timeout_seconds=st.sampled_from([60.0, 86_400.0]))
    def a_client_registers(self, number: int, timeout_seconds: float) -> None:
        wanted = a_registration(
            f"task-{number}", account="a", callback_host="a", timeout_seconds=timeout_seconds
        )
        register(self.engine, [wanted], now=self.tick())

    @precondition(lambda self: self.due())
    @rule(by=claimants, count=st.integers(1, 3), pick=picks, urgent=st.booleans())
    def somebody_claims(self, by: Claimant, count: int, pick: int, *, urgent: bool) -> None:
        """Claim what is due, now or when the time has come for it; a lease may have run out by then."""
        first = self.due()[pick % len(self.due())]
        self.now = max(self.now, first) + timedelta(seconds=1)
        [state] = {watch.state for watch in self.stored().values() if watch.due_at == first}
        if urgent and state is State.WATCHING:
            self.claims(
                by, state, lambda c, now: claims.claim_urgent(c, "a", count, by, now, odd_to_young=False)
            )
        else:
            self.claims_due(by, state, count)

    def claims_due(self, by: Claimant, state: State, count: int) -> list[Job]:
        return self.claims(by, state, lambda c, now: claims.claim(c, state, {"a": count}, by, now))

    def claims(
        self, by: Claimant, state: State, claim: Callable[[Connection, datetime], list[Watch]]
    ) -> list[Job]:
        now, before = self.tick(), self.stored()
        with self.engine.begin() as connection:
            claimed = claim(connection, now)
        assert len({watch.id for watch in claimed}) == len(claimed)
        for watch in claimed:
            due_at = before[watch.id].due_at
            assert due_at is not None
            assert due_at <= now
            assert watch.state is state
        return [self.holds(Job(claimant=by, watch=watch)) for watch in claimed]

    def holds(self, job: Job) -> Job:
        self.jobs.append(job)
        self.holder[job.watch.id] = job
        return job

    @precondition(lambda self: self.jobs)
    @rule(pick=picks, answer=polled, other=received, hand_off=st.booleans())
    def a_job_is_done_in_time_or_too_late(
        self,
        pick: int,
        answer: HttpResponse | NoResponse,
        other: HttpResponse | NoResponse,
        *,
        hand_off: bool,
    ) -> None:
        job = self.jobs[pick % len(self.jobs)]
        self.saves(job, answer if job.watch.state is State.WATCHING else other, hand_off=hand_off)

    def saves(self, job: Job, answer: HttpResponse | NoResponse, *, hand_off: bool = False) -> None:
        """Save what the answer leads to, and see that it is kept by whoever holds the watch alone."""
        self.jobs.remove(job)
        result = self.result(job, answer)
        handed_off = hand_off and (job.watch.state, result.watch.state) == (State.WATCHING, State.DELIVERING)
        if handed_off:
            lease_ends_at = self.now + timedelta(seconds=job.claimant.lease_seconds)
            result = replace(
                result,
                watch=replace(result.watch, due_at=lease_ends_at, claimed_by=job.claimant.worker),
            )
        with self.engine.begin() as connection:
            kept = claims.save(connection, [result], job.claimant.worker)
        assert bool(kept) == (self.holder.get(job.watch.id) is job)
        if kept:
            del self.holder[job.watch.id]
            if handed_off:
                self.holds(Job(claimant=job.claimant, watch=result.watch))

    def result(self, job: Job, answer: HttpResponse | NoResponse) -> StepResult:
        now, watch = self.tick(), job.watch
        if watch.state is State.WATCHING:
            after = after_answer(KINDS[watch.kind], watch, answer, now=now, jitter=0)
            return StepResult(claimed=watch, watch=after.watch, hubspot_body=after.hubspot_body)
        self.told[watch.id] += 1
        made = after_attempt(watch, answer, started_at=now, now=now, policy=FEW_TRIES, jitter=0)
        return StepResult(claimed=watch, watch=made.watch, attempt=made.attempt)

    @precondition(lambda self: self.jobs)
    @rule(pick=picks)
    def a_job_dies_with_its_worker(self, pick: int) -> None:
        self.jobs.pop(pick % len(self.jobs))

    @precondition(lambda self: self.jobs)
    @rule()
    def a_job_is_given_back(self) -> None:
        # One that is too late, if there is one: by chance there would seldom be.
        job = min(self.jobs, key=lambda job: self.holder.get(job.watch.id) is job)
        self.jobs.remove(job)
        with self.engine.begin() as connection:
            given = claims.give_back(connection, [job.watch], job.claimant.worker, self.tick())
        assert given == (self.holder.get(job.watch.id) is job)
        if given:
            del self.holder[job.watch.id]

    def due(self) -> list[datetime]:
        return sorted(watch.due_at for watch in self.stored().values() if watch.due_at)

    @rule(hours=st.sampled_from([-1, 1]))
    def the_clock_steps(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule()
    def what_is_overdue_is_timed_out(self) -> None:
        before = self.stored()
        time_out_overdue(self.engine, self.tick(), steady_since=self.now - timedelta(hours=1))
        for watch in self.stored().values():
            if watch != before[watch.id]:
                assert self.now >= watch.deadline_at
                self.holder.pop(watch.id, None)

    @precondition(lambda self: self.stored())
    @rule(pick=picks, spare=st.booleans())
    def somebody_changes_a_watch_by_hand(self, pick: int, *, spare: bool) -> None:
        ids = sorted(self.stored())
        with self.engine.begin() as connection:
            [watch] = watches.lock(connection, [ids[pick % len(ids)]])
            if watch.state is State.WITHDRAWN:
                return
            if watch.state in REDELIVERABLE:
                changed = redeliver(watch, now=self.tick())
            elif spare and watch.state is State.WATCHING:
                changed = recheck(watch, now=self.tick())
            elif spare:
                return
            else:
                changed = withdraw(watch, now=self.tick())
            watches.save(connection, changed)
        self.holder.pop(watch.id, None)
        self.seen[watch.id] = changed

    @invariant()
    def one_lease_at_most_can_be_saved(self) -> None:
        stored = self.stored()
        for watch in stored.values():
            leases = [
                job
                for job in self.jobs
                if job.watch.id == watch.id
                and (job.watch.due_at, job.claimant.worker) == (watch.due_at, watch.claimed_by)
            ]
            assert leases == [job for job in self.jobs if self.holder.get(watch.id) is job]

    @invariant()
    def something_is_due_exactly_while_something_is_left_to_do(self) -> None:
        for watch in self.stored().values():
            assert (watch.due_at is not None) == (watch.state in OPEN)
            assert (watch.settled_at is None) == (watch.state in OPEN)

    @invariant()
    def attempts_only_grow_and_an_end_is_an_end(self) -> None:
        stored = self.stored()
        assert self.seen.keys() <= stored.keys()
        for watch_id, before in self.seen.items():
            assert stored[watch_id].attempts >= before.attempts
            assert stored[watch_id].polls >= before.polls
            assert before.state in OPEN or stored[watch_id].state is before.state
        with self.engine.connect() as connection:
            rows = select(attempts.c.watch_id, func.count().label("made")).group_by(attempts.c.watch_id)
            made = {row.watch_id: row.made for row in connection.execute(rows)}
        assert made == {watch.id: watch.attempts for watch in stored.values() if watch.attempts}
        self.seen = stored

    def teardown(self) -> None:
        """A worker to which nothing happens brings everything to its end, whatever was left behind."""
        for _ in range(ROUNDS):
            if not (due := self.due()):
                break
            self.now = max(self.now, *due) + timedelta(seconds=1)
            for state in sorted(OPEN):
                for job in self.claims_due(HEALTHY, state, 99):
                    self.saves(job, COMPLETE)
        for watch in self.stored().values():
            assert watch.state in REDELIVERABLE | {State.WITHDRAWN}
            assert watch.state is State.WITHDRAWN or self.told[watch.id]
        event.remove(self.engine, "commit", self.forget)


@pytest.fixture
def unsynced_engine(sqlite_url: str) -> Iterator[Engine]:
    """A database that does not wait for the disk: no machine dies here."""
    engine = open_engine(sqlite_url)

    @event.listens_for(engine, "connect")
    def turn_sync_off(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    yield engine
    engine.dispose()


def test_whatever_becomes_of_two_claimants_every_watch_is_told(unsynced_engine: Engine) -> None:
    class Life(LifeOfClaims):
        engine = unsynced_engine

    quick = settings(max_examples=60, stateful_step_count=50, deadline=None)
    run_state_machine_as_test(Life, settings=quick)
