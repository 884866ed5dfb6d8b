"""A host in trouble: how few callbacks it gets, when it is tried again, and that other hosts do not wait for it."""

import threading
from datetime import timedelta
from uuid import uuid4

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.watch import State, Watch
from bridge.db import breakers
from tests.makers import NOW, later, real_clock
from tests.reliability.waiting import until
from tests.steps.peers import Reply, Request
from tests.steps.rig import COMPLETE, Rig, at_work


def test_a_host_that_hangs_takes_at_most_a_quarter_of_the_slots(rig: Rig) -> None:
    over = hang(rig, "slow")
    add_tasks(rig, 12, "slow.example.com")
    add_tasks(rig, 12, "well.example.com")
    with at_work(rig.worker(concurrency=8, timeout_seconds=30, clock=real_clock)):
        until(lambda: to(rig, "well") == 12 and to(rig, "slow") >= 2)
        assert to(rig, "slow") == 2
        over.set()
        until(lambda: to(rig, "slow") == 12)


def test_five_hosts_that_hang_hold_up_neither_polls_nor_other_hosts(rig: Rig) -> None:
    over = hang(rig, "slow")
    for number in range(5):
        add_tasks(rig, 12, f"slow{number}.example.com")
    with at_work(rig.worker(concurrency=32, timeout_seconds=30, clock=real_clock)):
        until(lambda: to(rig, "slow") >= 20)
        add_tasks(rig, 12, "well.example.com")
        until(lambda: to(rig, "well") == 12)
        assert to(rig, "slow") <= 27
        over.set()
        until(lambda: to(rig, "slow") == 60)


def test_however_many_hosts_hang_polls_go_on(rig: Rig) -> None:
    over = hang(rig, "slow")
    for number in range(40):
        add_tasks(rig, 1, f"slow{number}.example.com")
    with at_work(rig.worker(concurrency=8, timeout_seconds=30, clock=real_clock)):
        until(lambda: to(rig, "slow") == 7)
        later_ones = add_tasks(rig, 12, "late.example.com")
        until(lambda: all(rig.now(watch).polls for watch in later_ones))
        assert to(rig, "slow") == 7
        over.set()


def hang(rig: Rig, name: str) -> threading.Event:
    """Let the receiver keep callbacks to hosts of this name waiting, until the event is set."""
    over = threading.Event()
    rig.closing.callback(over.set)

    def answer(request: Request) -> Reply:
        if request.headers["host"].startswith(name):
            over.wait(30)
        return Reply()

    rig.receiver.answer = answer
    return over


def add_tasks(rig: Rig, count: int, host: str) -> list[Watch]:
    """Register watches of tasks that are complete, with callbacks to this host."""
    ids = [uuid4().hex for _ in range(count)]
    for task_id in ids:
        rig.tasks.set(task_id, COMPLETE)
    url = rig.receiver.url(host)
    return [rig.registered(task_id, callback_url=url, clock=real_clock) for task_id in ids]


def to(rig: Rig, name: str) -> int:
    """Return how many callbacks came for hosts of this name."""
    return sum(request.headers["host"].startswith(name) for request in tuple(rig.receiver.requests))


def test_a_host_with_five_failures_gets_one_trial_at_a_time_until_it_answers(rig: Rig) -> None:
    ill = True

    def answer(_: Request) -> Reply:
        return Reply(status_code=500) if ill else Reply()

    rig.receiver.answer = answer
    watches = [rig.ended(f"T{number}") for number in range(24)]
    worker = rig.worker(concurrency=8)
    rig.clock.passes(2)
    worker.drain()
    before = len(rig.receiver.requests)
    assert 5 <= before <= 6, "two were on the way when the fifth failed"
    assert rig.host_breaker().paused
    for trials, pause in enumerate((0.25, 0.5, 1.0, 2.0), start=1):
        rig.clock.passes(pause)
        worker.drain()
        assert len(rig.receiver.requests) == before + trials
    ill = False
    rig.clock.passes(4)
    worker.drain()
    rig.clock.passes(40)
    worker.drain()
    assert all(rig.now(watch).state is State.DELIVERED for watch in watches)
    assert rig.receiver.most_at_once <= 2
    assert len(rig.events("host_resumed")) == 1


def test_a_host_that_has_come_back_and_answers_slowly_gets_one_more_only_after_an_answer(rig: Rig) -> None:
    with rig.engine.begin() as connection:
        breakers.lock_hosts(connection, ["slow.example.com"])
        breakers.save_hosts(connection, {"slow.example.com": CircuitBreaker(slow_start=0)})
    over = hang(rig, "slow")
    add_tasks(rig, 8, "slow.example.com")
    add_tasks(rig, 12, "well.example.com")
    with at_work(rig.worker(concurrency=32, timeout_seconds=30, clock=real_clock)):
        until(lambda: to(rig, "well") == 12 and to(rig, "slow") == 1)
        # Each result of these lets the worker look for due watches again.
        add_tasks(rig, 12, "late.example.com")
        until(lambda: to(rig, "late") == 12)
        assert to(rig, "slow") == 1
        over.set()
        until(lambda: to(rig, "slow") == 8)


def test_a_trial_is_its_taker_s_alone_and_the_next_one_s_when_there_was_nothing_to_send(rig: Rig) -> None:
    pause_ends_at = later(9)
    with rig.engine.begin() as connection:
        breakers.lock_hosts(connection, ["app.example.com"])
        paused = CircuitBreaker(failures=5, paused_at=NOW, paused_until=pause_ends_at, pause_seconds=9)
        breakers.save_hosts(connection, {"app.example.com": paused})

    def claimed_by(name: str) -> int:
        with rig.engine.begin() as connection:
            return len(
                rig.worker(name=name)._deliveries.claim(connection, {"app.example.com": 2}, pause_ends_at)
            )

    assert claimed_by("worker-1") == 0
    rig.ended("T1")
    rig.ended("T2")
    rig.clock.passes(2)
    rig.worker().drain()
    assert [claimed_by(name) for name in ("worker-1", "worker-2", "worker-3")] == [1, 0, 0]


def test_many_dead_hosts_together_take_no_more_than_a_quarter_of_the_slots(rig: Rig) -> None:
    over = threading.Event()

    def answer(request: Request) -> Reply:
        if request.headers["host"].startswith("dead"):
            over.wait(30)
            return Reply(status_code=500)
        return Reply()

    rig.receiver.answer = answer
    long_ago = real_clock() - timedelta(minutes=1)
    dead = [f"dead{number}.example.com" for number in range(12)]
    with rig.engine.begin() as connection:
        breakers.lock_hosts(connection, dead)
        breaker = CircuitBreaker(failures=5, paused_at=long_ago, paused_until=long_ago, pause_seconds=15)
        breakers.save_hosts(connection, dict.fromkeys(dead, breaker))
    for number, host in enumerate(dead):
        rig.tasks.set(f"D{number}", COMPLETE)
        rig.registered(f"D{number}", callback_url=rig.receiver.url(host), clock=real_clock)
    with at_work(rig.worker(concurrency=8, timeout_seconds=30, clock=real_clock)):
        until(lambda: to(rig, "dead") == 2)
        for number in range(20):
            rig.tasks.set(f"W{number}", COMPLETE)
            rig.registered(f"W{number}", callback_url=rig.receiver.url("well.example.com"), clock=real_clock)
        until(lambda: to(rig, "well") == 20)
        assert to(rig, "dead") == 2
        over.set()
        until(lambda: to(rig, "dead") >= 12)


def test_a_paused_host_holds_up_no_other(rig: Rig) -> None:
    def answer(request: Request) -> Reply:
        return Reply(status_code=503) if request.headers["host"].startswith("ill") else Reply()

    rig.receiver.answer = answer
    for number in range(10):
        rig.ended(f"I{number}", host="ill.example.com")
    well = [rig.ended(f"W{number}", host="well.example.com") for number in range(10)]
    rig.clock.passes(2)
    rig.worker(concurrency=8).drain()
    assert all(rig.now(watch).state is State.DELIVERED for watch in well)
