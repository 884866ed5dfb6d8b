"""Seats: a few jobs wait ahead, nobody's follow into a trouble, and what does not start is taken back."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from bridge.core.admission import Heard
from bridge.core.gates import Failure, Signal, Success
from bridge.core.quota import Rate
from bridge.core.watch import State
from bridge.edges.accounts import Account, Credentials
from bridge.poll import Done, Job
from bridge.seats import Seats
from tests.makers import NOW, a_watch, an_answer, asked

COUNT = 4
EU, US = (State.WATCHING, "eu"), (State.WATCHING, "us")
RATE = Rate(requests=100, seconds=10, share=0.5)
AT_ONCE = {State.WATCHING: 2, State.DELIVERING: 1}
WELL, ILL = Success(), Failure(reason="It is down.")
PATIENCE_SECONDS = 10.0


@dataclass
class Far:
    """The other side: each request waits there until it is answered. It answers in the order of `begun`."""

    begun: list[Job] = field(default_factory=list)
    _answers: dict[str, threading.Event] = field(default_factory=dict)
    _signals: dict[str, Signal] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def work(self, job: Job) -> Done:
        with self._changed:
            self.begun.append(job)
            answered = self._answers[job.watch.id] = threading.Event()
            self._changed.notify_all()
        assert answered.wait(PATIENCE_SECONDS)
        answer = an_answer(said={"status": "PENDING"})
        signal = self._signals[job.watch.id]
        heard = Heard(answer=answer, signal=signal, asked_at=NOW, rate=RATE)
        return Done(job=job, heard=heard, polled=asked(answer))

    def has_begun(self, count: int) -> list[str]:
        """The accounts of those at work and of those that were, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= count, PATIENCE_SECONDS)
            return [job.watch.account for job in self.begun]

    def answers(self, job: Job, signal: Signal = WELL) -> None:
        self._signals[job.watch.id] = signal
        self._answers[job.watch.id].set()


def jobs(account: str, count: int) -> list[Job]:
    owner = Account(
        name=account, credentials=Credentials(), base_url="http://127.0.0.1", api_version="v3", rate=RATE
    )
    watches = (a_watch(id=f"wat_{account}_{number:04}", account=account) for number in range(count))
    return [Job(watch=watch, account=owner, claimed_at=NOW) for watch in watches]


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def seats(far: Far) -> Seats:
    return Seats(COUNT, far.work, AT_ONCE)  # type: ignore[arg-type]  # only polls are seated here


def seat(seats: Seats, *all_jobs: Job) -> None:
    for job in all_jobs:
        seats.seat(job)


def collected(seats: Seats, count: int) -> list[Done]:
    done: list[Done] = []
    while len(done) < count:
        found = seats.collect(PATIENCE_SECONDS)
        assert found
        done += found  # type: ignore[arg-type]  # only polls are seated here
    return done


def test_a_lane_has_so_many_at_work_and_no_more(seats: Seats, far: Far) -> None:
    seat(seats, *jobs("eu", 4), *jobs("us", 1))
    assert sorted(far.has_begun(3)) == ["eu", "eu", "us"]
    assert seats.held == {EU: 4, US: 1}


def test_the_next_of_a_lane_starts_when_one_is_done_though_nobody_collects(seats: Seats, far: Far) -> None:
    seat(seats, *jobs("eu", 3))
    far.has_begun(2)
    far.answers(far.begun[0])
    assert far.has_begun(3) == ["eu"] * 3


def test_as_many_may_wait_as_seats_were_freed_lately(seats: Seats, far: Far) -> None:
    assert (seats.room, seats.most(EU)) == (COUNT, 2)
    seat(seats, *jobs("eu", 2))
    far.has_begun(2)
    assert seats.room == COUNT - 2
    for job in far.begun:
        far.answers(job)
    collected(seats, 2)
    assert (seats.room, seats.most(EU), seats.most(US)) == (COUNT + 2, 4, 2)


def test_nothing_waits_ahead_for_who_has_failed(seats: Seats, far: Far) -> None:
    seat(seats, *jobs("eu", 2))
    far.has_begun(2)
    for job in far.begun:
        far.answers(job, ILL)
    collected(seats, 2)
    assert (seats.room, seats.most(EU)) == (COUNT, 2)


def test_what_was_freed_long_ago_counts_no_more(
    seats: Seats, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.seats.AHEAD_SECONDS", 0.0)
    seat(seats, *jobs("eu", 1))
    far.has_begun(1)
    far.answers(far.begun[0])
    collected(seats, 1)
    assert (seats.room, seats.most(EU)) == (COUNT, 2)


def test_what_waits_does_not_follow_into_a_trouble(seats: Seats, far: Far) -> None:
    waiting = jobs("eu", 5)
    seat(seats, *waiting, *jobs("us", 1))
    far.has_begun(3)
    first, second = (job for job in far.begun if job.watch.account == "eu")
    far.answers(first, ILL)
    assert [done.job for done in collected(seats, 1)] == [first]
    assert seats.take_back(PATIENCE_SECONDS) == waiting[2:]
    assert seats.held == {EU: 1, US: 1}
    # Whoever decides anew may seat them again.
    seat(seats, *waiting[2:])
    assert far.has_begun(4).count("eu") == 3
    far.answers(second)
    assert far.has_begun(5).count("eu") == 4


def test_what_waits_too_long_is_taken_back_and_never_starts(seats: Seats, far: Far) -> None:
    seat(seats, *jobs("eu", 2), *jobs("us", 2), *jobs("ap", 2), *jobs("jp", 3))
    far.has_begun(COUNT)
    assert seats.take_back(PATIENCE_SECONDS) == []
    # Those of ap have been called, and found no free seat; the third of jp waits for its lane.
    assert {job.watch.account for job in seats.take_back(0)} == {"ap", "jp"}
    assert len(seats.seated) == COUNT
    for job in tuple(far.begun):
        far.answers(job)
    collected(seats, COUNT)
    seat(seats, *jobs("in", 1))
    assert far.has_begun(COUNT + 1)[COUNT:] == ["in"]


def test_the_younger_of_a_lane_move_up_when_the_older_are_taken_back(
    seats: Seats, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("bridge.seats.time.monotonic", lambda: now)
    seat(seats, *jobs("eu", 2), *jobs("us", 2))
    far.has_begun(COUNT)
    older, younger = jobs("ap", 2), jobs("ap", 4)[2:]
    seat(seats, *older)
    now = 5.0
    seat(seats, *younger)
    assert seats.take_back(1) == older
    for job in tuple(far.begun):
        far.answers(job)
    assert far.has_begun(COUNT + 2)[COUNT:] == ["ap", "ap"]
    assert [job.watch.id for job in far.begun[COUNT:]] == [job.watch.id for job in younger]


def test_a_step_that_crashes_frees_its_seat_and_saves_nothing() -> None:
    def crash(_: object) -> None:
        raise RuntimeError("a bug")

    seats = Seats(1, crash, AT_ONCE)
    seat(seats, *jobs("eu", 1))
    assert seats.collect(PATIENCE_SECONDS) == []
    assert (seats.room, seats.seated) == (1, [])


def test_closed_seats_end_their_threads(far: Far) -> None:
    before = set(threading.enumerate())
    seats = Seats(COUNT, far.work, AT_ONCE)  # type: ignore[arg-type]  # only polls are seated here
    seat(seats, *jobs("eu", 2))
    far.has_begun(2)
    started: Callable[[], set[threading.Thread]] = lambda: set(threading.enumerate()) - before  # noqa: E731
    threads = started()
    assert len(threads) == 2
    for job in far.begun:
        far.answers(job)
    seats.close()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert not started()
