"""The pool: a few jobs wait for a slot, none starts after a failure in its lane, and old ones are taken back."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from bridge.core.account_limits import FinishedCall
from bridge.core.circuit_breaker import Failure, PermanentFailure, Signal, Success
from bridge.core.quota import Rate
from bridge.core.watch import State
from bridge.db.accounts import Account, Credentials
from bridge.steps.poll import FinishedPoll, PollJob
from bridge.worker.pool import QUEUE_SECONDS, WorkerPool
from tests.makers import NOW, a_watch, an_answer, asked

COUNT = 4
EU, US = (State.WATCHING, "eu"), (State.WATCHING, "us")
RATE = Rate(requests=100, seconds=10, share=0.5)
MAX_PER_LANE = {State.WATCHING: 2, State.DELIVERING: 1}
WELL, ILL = Success(), PermanentFailure(reason="It is down.")
TIMEOUT_SECONDS = 60.0  # of the tests
WAIT_SECONDS = 5.0  # of those that wait for a slot


@dataclass
class Far:
    """Does the jobs: each waits until a test answers it. `begun` lists them in the order in which they began."""

    begun: list[PollJob] = field(default_factory=list)
    _answers: dict[str, threading.Event] = field(default_factory=dict)
    _signals: dict[str, Signal] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def work(self, job: PollJob) -> FinishedPoll:
        with self._changed:
            self.begun.append(job)
            answered = self._answers[job.watch.id] = threading.Event()
            self._changed.notify_all()
        answered.wait(TIMEOUT_SECONDS)
        answer = an_answer(said={"status": "PENDING"})
        signal = self._signals.get(job.watch.id, WELL)
        call = FinishedCall(answer=answer, signal=signal, asked_at=NOW, rate=RATE)
        return FinishedPoll(job=job, call=call, decision=asked(answer))

    def has_begun(self, count: int) -> list[str]:
        """Wait until `count` jobs have begun; return their accounts, in order."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, TIMEOUT_SECONDS)
            return [job.watch.account for job in self.begun]

    def answers(self, *jobs: PollJob, signal: Signal = WELL) -> None:
        for job in jobs:
            self._signals[job.watch.id] = signal
            self._answers[job.watch.id].set()


class Clock:
    """A clock that a test moves by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def jobs(account: str, count: int) -> list[PollJob]:
    owner = Account(
        name=account, credentials=Credentials(), base_url="http://127.0.0.1", api_version="v3", rate=RATE
    )
    watches = (a_watch(id=f"wat_{account}_{number:04}", account=account) for number in range(count))
    return [PollJob(suspected=False, watch=watch, account=owner, claimed_at=NOW) for watch in watches]


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool(far: Far, clock: Clock) -> Iterator[WorkerPool]:
    pool = WorkerPool(
        COUNT,
        far.work,  # type: ignore[arg-type]  # the jobs of these tests are polls alone
        max_per_lane=MAX_PER_LANE,
        start_within_seconds=WAIT_SECONDS,
        clock=clock,
    )
    yield pool
    pool.take_back(everything=True)
    pool.close()
    far.answers(*far.begun)
    for thread in pool._threads:
        thread.join(TIMEOUT_SECONDS)


def submit(pool: WorkerPool, *all_jobs: PollJob) -> None:
    for job in all_jobs:
        pool.submit(job)


def collected(pool: WorkerPool, count: int) -> list[FinishedPoll]:
    done: list[FinishedPoll] = []
    while len(done) < count:
        found = pool.collect(TIMEOUT_SECONDS)
        assert found
        done += found  # type: ignore[arg-type]  # polls alone
    return done


def test_a_lane_has_so_many_at_work_and_no_more(pool: WorkerPool, far: Far) -> None:
    submit(pool, *jobs("eu", 4), *jobs("us", 1))
    assert sorted(far.has_begun(3)) == ["eu", "eu", "us"]
    assert pool.jobs_per_lane == {EU: 4, US: 1}


def test_the_next_of_a_lane_starts_when_one_is_done_though_nobody_collects(
    pool: WorkerPool, far: Far
) -> None:
    submit(pool, *jobs("eu", 3))
    far.has_begun(2)
    far.answers(far.begun[0])
    assert far.has_begun(3) == ["eu"] * 3


def test_as_many_may_wait_as_slots_were_freed_in_the_last_moment(
    pool: WorkerPool, far: Far, clock: Clock
) -> None:
    assert (pool.room, pool.room_of(EU)) == (COUNT, 2)
    submit(pool, *jobs("eu", 2))
    far.has_begun(2)
    assert pool.room == COUNT - 2
    far.answers(*far.begun)
    collected(pool, 2)
    assert (pool.room, pool.room_of(EU), pool.room_of(US)) == (COUNT + 2, 4, 2)
    assert (pool.jobs_per_lane[EU], pool.recently_freed[EU]) == (0, 2)
    clock.now += QUEUE_SECONDS * 0.9
    pool.collect(0)
    assert pool.room == COUNT + 2
    clock.now += QUEUE_SECONDS * 0.2
    pool.collect(0)
    assert (pool.room, pool.room_of(EU)) == (COUNT, 2)


def test_a_slot_was_freed_when_its_job_was_done_however_late_that_is_collected(
    pool: WorkerPool, far: Far, clock: Clock
) -> None:
    submit(pool, *jobs("eu", 2), *jobs("us", 2), *jobs("ap", 2))
    far.has_begun(COUNT)
    far.answers(*(job for job in far.begun if job.watch.account == "eu"))
    # Those of ap can begin only when those are done.
    far.has_begun(COUNT + 2)
    clock.now += QUEUE_SECONDS * 2
    collected(pool, 2)
    assert pool.room == COUNT - 4


def test_what_is_done_makes_no_room_before_it_is_collected(pool: WorkerPool, far: Far) -> None:
    submit(pool, *jobs("eu", 2), *jobs("us", 3))
    far.has_begun(COUNT)
    far.answers(*(job for job in far.begun if job.watch.account == "eu"), signal=ILL)
    # One of us waits for its lane; when it begins, those of eu are done.
    far.answers(next(job for job in far.begun if job.watch.account == "us"))
    far.has_begun(COUNT + 1)
    assert pool.room_of(EU) == 0
    collected(pool, 3)
    assert pool.room_of(EU) == 2


def test_nothing_waits_ahead_for_who_has_failed(pool: WorkerPool, far: Far) -> None:
    submit(pool, *jobs("eu", 2))
    far.has_begun(2)
    far.answers(*far.begun, signal=ILL)
    collected(pool, 2)
    assert (pool.room, pool.room_of(EU)) == (COUNT, 2)


def test_what_waits_does_not_follow_into_a_trouble(pool: WorkerPool, far: Far) -> None:
    waiting = jobs("eu", 5)
    submit(pool, *waiting, *jobs("us", 1))
    far.has_begun(3)
    first, second = (job for job in far.begun if job.watch.account == "eu")
    far.answers(first, signal=ILL)
    assert [done.job for done in collected(pool, 1)] == [first]
    assert pool.take_back() == waiting[2:]
    assert pool.jobs_per_lane == {EU: 1, US: 1}
    # Whoever decides anew may slot them again.
    submit(pool, *waiting[2:])
    assert far.has_begun(4).count("eu") == 3
    far.answers(second)
    assert far.has_begun(5).count("eu") == 4


def test_one_failure_of_a_task_does_not_hold_up_the_others_of_its_account(pool: WorkerPool, far: Far) -> None:
    submit(pool, *jobs("eu", 3))
    far.has_begun(2)
    far.answers(far.begun[0], signal=Failure(reason="500"))
    assert far.has_begun(3) == ["eu"] * 3


def test_a_lane_that_is_slow_leaves_a_slot_to_a_newcomer(far: Far, clock: Clock) -> None:
    max_per_lane = {State.WATCHING: 8, State.DELIVERING: 2}
    pool = WorkerPool(
        8,
        far.work,  # type: ignore[arg-type]  # as above
        max_per_lane=max_per_lane,
        start_within_seconds=WAIT_SECONDS,
        clock=clock,
    )
    submit(pool, *jobs("eu", 20))
    far.has_begun(7)
    assert pool.room_of(EU) == 0
    submit(pool, *jobs("us", 1))
    assert far.has_begun(8)[7:] == ["us"]
    # No lane has more than it may, and nobody has any slot twice.
    assert (len(far.begun), len(pool.jobs)) == (8, 21)
    pool.take_back(everything=True)
    pool.close()
    far.answers(*far.begun)


def test_lanes_take_turns(pool: WorkerPool, far: Far) -> None:
    submit(pool, *jobs("eu", 2), *jobs("us", 2))
    far.has_begun(COUNT)
    submit(pool, *jobs("ap", 2), *jobs("jp", 2), *jobs("in", 2))
    for number in range(3):
        far.answers(far.begun[number])
        far.has_begun(COUNT + number + 1)
    assert sorted(job.watch.account for job in far.begun[COUNT:]) == ["ap", "in", "jp"]


def test_what_waits_too_long_is_taken_back_and_never_starts(pool: WorkerPool, far: Far, clock: Clock) -> None:
    submit(pool, *jobs("eu", 2), *jobs("us", 2), *jobs("ap", 2), *jobs("jp", 3))
    far.has_begun(COUNT)
    assert pool.take_back() == []
    clock.now += WAIT_SECONDS + 1
    assert {job.watch.account for job in pool.take_back()} == {"ap", "jp"}
    assert len(pool.jobs) == COUNT
    far.answers(*far.begun)
    collected(pool, COUNT)
    submit(pool, *jobs("in", 1))
    assert far.has_begun(COUNT + 1)[COUNT:] == ["in"]


def test_what_waits_too_long_does_not_start_though_nobody_takes_it_back(
    pool: WorkerPool, far: Far, clock: Clock
) -> None:
    late = jobs("ap", 2)
    submit(pool, *jobs("eu", 2), *jobs("us", 2), *late)
    far.has_begun(COUNT)
    clock.now += WAIT_SECONDS + 1
    submit(pool, *jobs("jp", 1))
    far.answers(*far.begun)
    assert far.has_begun(COUNT + 1)[COUNT:] == ["jp"]
    assert pool.take_back() == late


def test_the_younger_of_a_lane_move_up_when_the_older_are_taken_back(
    pool: WorkerPool, far: Far, clock: Clock
) -> None:
    submit(pool, *jobs("eu", 2), *jobs("us", 2))
    far.has_begun(COUNT)
    older, younger = jobs("ap", 2), jobs("ap", 4)[2:]
    submit(pool, *older)
    clock.now += WAIT_SECONDS - 1
    submit(pool, *younger)
    clock.now += 2
    assert pool.take_back() == older
    far.answers(*far.begun)
    far.has_begun(COUNT + 2)
    assert {job.watch.id for job in far.begun[COUNT:]} == {job.watch.id for job in younger}


def test_a_step_that_crashes_frees_its_slot_and_saves_nothing() -> None:
    def crash(_: object) -> None:
        raise RuntimeError("a bug")

    pool = WorkerPool(1, crash, max_per_lane=MAX_PER_LANE, start_within_seconds=WAIT_SECONDS)
    submit(pool, *jobs("eu", 1))
    assert pool.collect(TIMEOUT_SECONDS) == []
    assert (pool.room, pool.jobs) == (1, [])
    pool.close()


def test_closed_slots_end_their_threads(pool: WorkerPool, far: Far) -> None:
    submit(pool, *jobs("eu", 2))
    far.has_begun(2)
    far.answers(*far.begun)
    pool.close()
    assert len(pool._threads) == 2
    for thread in pool._threads:
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()
