"""The scheduler: it runs a worker's loop and chores, and stops in time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, repeat

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError

from bridge.core.counters import ENDED, GIVEN_UP, LOG_LINES_DROPPED, Counter
from bridge.core.quota import Rate
from bridge.core.watch import Outcome, State, Watch
from bridge.db import counters, heartbeats, watch_counts
from bridge.db.engine import reading
from bridge.db.tables import watches as table
from bridge.steps.poll import OVERDUE_BATCH, OVERDUE_GRACE_SECONDS
from bridge.worker.loop import TICK_SECONDS, Worker
from bridge.worker.scheduler import PRUNE_BATCH, CounterFlusher, Scheduler
from tests.db.claiming import added, due
from tests.makers import real_clock
from tests.reliability.waiting import until
from tests.steps.rig import COMPLETE, Rig


def a_scheduler(rig: Rig, worker: Worker, clock: Callable[[], datetime] = real_clock) -> Scheduler:
    return Scheduler(
        worker=worker,
        engine=rig.engine,
        now=clock,
        retention_days=30,
        has_credentials=True,
        counters=rig.counters,
    )


@contextmanager
def ticking(rig: Rig, worker: Worker) -> Iterator[Scheduler]:
    scheduler = a_scheduler(rig, worker)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


def runs_steadily(rig: Rig, worker: Worker, *, seconds: int) -> None:
    """Let the worker's loop run while time passes."""
    for _ in range(seconds // 10):
        rig.clock.passes(10)
        worker.drain()


def without_quota(rig: Rig) -> tuple[Worker, Watch]:
    """A worker that has spent its quota on another watch, and a watch with its deadline in ten seconds."""
    worker = rig.worker(rate=Rate(requests=1, seconds=86_400, share=1))
    rig.registered("T1")
    rig.clock.passes(5)
    worker.drain()
    return worker, rig.registered("T2", timeout_seconds=10)


def rows(rig: Rig) -> int:
    with rig.engine.begin() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def left(rig: Rig, state: State) -> int:
    with rig.engine.begin() as connection:
        return connection.execute(select(func.count()).where(table.c.state == state)).scalar_one()


def is_alive(rig: Rig) -> bool:
    with rig.engine.begin() as connection:
        return heartbeats.last_at(connection) is not None


def test_a_clock_polls_delivers_and_says_that_it_is_alive_until_it_is_stopped(rig: Rig) -> None:
    rig.tasks.set("T1", COMPLETE)
    watch = rig.registered("T1", clock=real_clock)
    with ticking(rig, rig.worker(clock=real_clock)):
        until(lambda: rig.now(watch).state is State.DELIVERED)
        until(lambda: is_alive(rig))
    assert not is_alive(rig)
    assert [line["event"] for line in rig.logged.entries if line["event"].startswith("worker_")] == [
        "worker_started",
        "worker_stopped",
    ]


def test_a_clock_does_the_chores(rig: Rig) -> None:
    long_ago = real_clock() - timedelta(days=31)
    over = [replace(due(n), state=State.DELIVERED, due_at=None, settled_at=long_ago) for n in range(3)]
    added(rig.engine, *over)
    late = rig.registered("T1", clock=lambda: long_ago, timeout_seconds=10)
    with ticking(rig, rig.worker(clock=real_clock, token=None)):
        until(lambda: rig.now(late).state is State.DELIVERED)
        until(lambda: rows(rig) == 1)
    assert rig.now(late).outcome is Outcome.TIMED_OUT


def test_after_a_stop_nothing_is_taken(rig: Rig) -> None:
    rig.tasks.set("T1", COMPLETE)
    worker = rig.worker(clock=real_clock)
    with ticking(rig, worker) as scheduler:
        scheduler.wind_down()
        worker.drain()  # returns when a call that had begun is over
        watch = rig.registered("T1", clock=lambda: real_clock() - timedelta(seconds=60))
        time.sleep(3 * TICK_SECONDS)
        assert rig.now(watch).polls == 0


@pytest.mark.parametrize("chore", ["_prune", "_time_out"])
def test_a_chore_ends_when_the_scheduler_is_to_stop(rig: Rig, chore: str) -> None:
    worker = rig.worker()
    runs_steadily(rig, worker, seconds=60)
    long_ago = rig.clock() - timedelta(days=31)
    over = [
        replace(due(n), state=State.DELIVERED, due_at=None, settled_at=long_ago)
        if chore == "_prune"
        else replace(due(n), due_at=long_ago, deadline_at=long_ago)
        for n in range(PRUNE_BATCH + OVERDUE_BATCH)
    ]
    added(rig.engine, *over)
    scheduler = a_scheduler(rig, worker, rig.clock)

    @event.listens_for(rig.engine, "commit")
    def stop(_: object) -> None:
        scheduler.wind_down()

    getattr(scheduler, chore)()
    assert left(rig, over[0].state) == len(over) // 2
    # Even one that begins only now.
    getattr(scheduler, chore)()
    assert left(rig, over[0].state) == len(over) // 2


def a_flusher(rig: Rig, *dropped: int) -> CounterFlusher:
    """Return a flusher that is told these numbers of dropped log lines, one at each flush, and then 0."""
    numbers = chain(dropped, repeat(0))
    return CounterFlusher(
        counters=rig.counters, engine=rig.engine, now=real_clock, take_dropped_lines=lambda: next(numbers)
    )


def saved(rig: Rig, counter: Counter = GIVEN_UP) -> float:
    with reading(rig.engine) as connection:
        return counters.totals(connection).of(counter).get((), 0)


def test_counts_are_saved_again_and_again_and_at_the_stop(rig: Rig) -> None:
    flusher = a_flusher(rig)
    flusher.start()
    rig.counters.inc(GIVEN_UP)
    until(lambda: saved(rig) == 1)
    rig.counters.inc(GIVEN_UP)
    until(lambda: saved(rig) == 2)
    rig.counters.inc(GIVEN_UP)
    flusher.stop()
    assert saved(rig) == 3


def test_a_flusher_that_never_ran_saves_what_was_counted_nevertheless(rig: Rig) -> None:
    rig.counters.inc(GIVEN_UP)
    a_flusher(rig).stop()
    assert saved(rig) == 1


def test_dropped_log_lines_are_counted_once_also_those_of_an_outage(rig: Rig) -> None:
    flusher = a_flusher(rig, 2, 3, 4)

    @event.listens_for(rig.engine, "commit")
    def fail(_: object) -> None:
        raise OperationalError("COMMIT", {}, OSError("gone"))

    flusher.flush()
    flusher.flush()
    event.remove(rig.engine, "commit", fail)
    for _ in range(2):
        flusher.flush()
        assert saved(rig, LOG_LINES_DROPPED) == 9


def test_a_last_poll_for_which_no_quota_is_left_is_given_up_after_a_minute_and_counted(rig: Rig) -> None:
    worker, watch = without_quota(rig)
    scheduler = a_scheduler(rig, worker, rig.clock)
    runs_steadily(rig, worker, seconds=60)
    scheduler._time_out()
    assert rig.now(watch).outcome is None
    runs_steadily(rig, worker, seconds=10)
    scheduler._time_out()
    assert (rig.now(watch).outcome, rig.now(watch).polls) == (Outcome.TIMED_OUT, 0)
    rig.counters.flush(rig.engine, rig.clock())
    with reading(rig.engine) as connection:
        assert counters.totals(connection).of(ENDED) == {("timed_out",): 1}


@pytest.mark.parametrize("interruption", ["workers were away", "this worker was suspended"])
def test_what_nobody_could_poll_at_its_deadline_is_polled_before_it_is_timed_out(
    rig: Rig, interruption: str
) -> None:
    rig.tasks.set("T1", COMPLETE)
    watch = rig.registered("T1", timeout_seconds=10)
    worker = rig.worker()
    rig.clock.passes(10 + OVERDUE_GRACE_SECONDS)
    if interruption == "workers were away":
        worker = rig.worker()
    a_scheduler(rig, worker, rig.clock)._time_out()
    worker.drain()
    assert rig.now(watch).outcome is Outcome.COMPLETED


def test_the_minute_for_the_last_poll_counts_from_the_end_of_an_outage(rig: Rig) -> None:
    worker, watch = without_quota(rig)
    scheduler = a_scheduler(rig, worker, rig.clock)
    rig.clock.passes(600)
    worker.drain()
    runs_steadily(rig, worker, seconds=50)
    scheduler._time_out()
    assert rig.now(watch).outcome is None
    runs_steadily(rig, worker, seconds=10)
    scheduler._time_out()
    assert rig.now(watch).outcome is Outcome.TIMED_OUT


def test_the_watches_are_counted_once_a_minute_whoever_does_it(rig: Rig) -> None:
    rig.registered("T1")
    watch_counts.recount_if_due(rig.engine, rig.clock())
    rig.registered("T2")
    watch_counts.recount_if_due(rig.engine, rig.clock())
    with reading(rig.engine) as connection:
        assert watch_counts.read(connection) == {**dict.fromkeys(State, 0), State.WATCHING: 1}
    rig.clock.passes(60)
    watch_counts.recount_if_due(rig.engine, rig.clock())
    with reading(rig.engine) as connection:
        assert watch_counts.read(connection)[State.WATCHING] == 2
