"""A host in trouble: how few callbacks it gets, when it is probed, and that other hosts do not wait for it."""

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
    over = threading.Event()

    def answer(request: Request) -> Reply:
        if request.headers["host"].startswith("slow") and to(rig, "slow") > 1:
            over.wait(30)
        return Reply()

    rig.receiver.answer = answer
    add_tasks(rig, 13, "slow.example.com")
    add_tasks(rig, 12, "well.example.com")
    with at_work(rig.worker(concurrency=8, timeout_seconds=30, clock=real_clock)):
        until(lambda: to(rig, "well") == 12 and to(rig, "slow") > 1)
        assert to(rig, "slow") == 1 + 2, "the one that was answered, and a quarter of the slots"
        over.set()
        until(lambda: to(rig, "slow") == 13)


def test_many_hosts_that_hang_hold_up_neither_polls_nor_other_hosts(rig: Rig) -> None:
    over = threading.Event()

    def answer(request: Request) -> Reply:
        if request.headers["host"].startswith("hangs"):
            over.wait(30)
        return Reply()

    rig.receiver.answer = answer
    for number in range(12):
        add_tasks(rig, 6, f"hangs{number}.example.com")
    with at_work(rig.worker(concurrency=32, timeout_seconds=30, clock=real_clock)):
        until(lambda: to(rig, "hangs") == 12)
        add_tasks(rig, 12, "well.example.com")
        until(lambda: to(rig, "well") == 12)
        assert to(rig, "hangs") == 12, "each has one, and gets no more before it has answered"
        over.set()
        until(lambda: to(rig, "hangs") == 72)


def test_hosts_that_hang_all_at_once_after_they_were_well_leave_slots_to_polls(rig: Rig) -> None:
    over, hang = threading.Event(), threading.Event()

    def answer(_: Request) -> Reply:
        if hang.is_set():
            over.wait(30)
        return Reply()

    rig.receiver.answer = answer
    hosts = [f"host{number}.example.com" for number in range(6)]
    for host in hosts:
        add_tasks(rig, 1, host)
    with at_work(rig.worker(concurrency=8, timeout_seconds=30, clock=real_clock)):
        until(lambda: to(rig, "host") == 6)
        hang.set()
        for host in hosts:
            add_tasks(rig, 4, host)
        until(lambda: to(rig, "host") == 6 + 6)
        polled = [add_task(rig, "last.example.com") for _ in range(12)]
        until(lambda: all(rig.now(watch).polls for watch in polled))
        assert to(rig, "host") == 6 + 6, "three quarters of the slots"
        over.set()


def add_tasks(rig: Rig, count: int, host: str) -> None:
    for _ in range(count):
        add_task(rig, host)


def add_task(rig: Rig, host: str) -> Watch:
    """Register a watch of a task that is complete."""
    task_id = uuid4().hex
    rig.tasks.set(task_id, COMPLETE)
    return rig.registered(task_id, callback_url=rig.receiver.url(host), clock=real_clock)


def to(rig: Rig, name: str) -> int:
    """Return how many callbacks came for hosts of this name."""
    return sum(request.headers["host"].startswith(name) for request in tuple(rig.receiver.requests))


def test_a_host_with_five_failures_is_tried_by_one_probe_at_a_time_until_it_answers(rig: Rig) -> None:
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
    for probes, pause in enumerate((0.25, 0.5, 1.0, 2.0), start=1):
        rig.clock.passes(pause)
        worker.drain()
        assert len(rig.receiver.requests) == before + probes
    ill = False
    rig.clock.passes(4)
    worker.drain()
    rig.clock.passes(40)
    worker.drain()
    assert all(rig.now(watch).state is State.DELIVERED for watch in watches)
    assert rig.receiver.most_at_once <= 2
    assert len(rig.events("host_resumed")) == 1


def test_a_probe_is_its_taker_s_alone_and_the_next_one_s_when_there_was_nothing_to_send(rig: Rig) -> None:
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
