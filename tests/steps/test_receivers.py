"""What each response of a receiver leads to, on real sockets: what is saved, and when the callback is tried again."""

import threading
from datetime import timedelta

import pytest

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.watch import State, Watch
from bridge.db import breakers
from tests.makers import NOW, later
from tests.reliability.waiting import until
from tests.steps.peers import Reply, Request
from tests.steps.rig import COMPLETE, Rig, at_work, real_clock


def reply(status_code: int, **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status_code=status_code, body=b"said so\x00", headers=names)


def ended(rig: Rig, task_id: str = "T1", *, host: str = "app.example.com") -> Watch:
    """Return a watch whose task is complete at its first poll."""
    rig.tasks.set(task_id, COMPLETE)
    return rig.registered(task_id, callback_url=rig.receiver.url(host, f"/{task_id}"))


def seconds_to_go(rig: Rig, watch: Watch) -> float:
    """Return how many seconds after its last attempt a watch is due again."""
    after = rig.now(watch)
    assert after.due_at is not None
    [*_, last] = rig.attempts(watch)
    return (after.due_at - last.started_at - timedelta(milliseconds=last.duration_ms)).total_seconds()


@pytest.mark.parametrize("status_code", [200, 201, 202, 204])
def test_a_2xx_is_a_delivery(rig: Rig, status_code: int) -> None:
    rig.hooks.set("T1", Reply(status_code=status_code))
    watch = ended(rig)
    rig.clock.passes(2)
    rig.worker().drain()
    assert (rig.now(watch).state, rig.now(watch).last_status_code) == (State.DELIVERED, status_code)
    assert len(rig.receiver.requests) == 1


def test_a_410_is_the_end(rig: Rig) -> None:
    rig.hooks.set("T1", reply(410))
    watch, worker = ended(rig), rig.worker()
    rig.clock.passes(2)
    worker.drain()
    rig.clock.passes(999_999)
    worker.drain()
    after = rig.now(watch)
    assert (after.state, after.attempts, after.due_at) == (State.UNDELIVERED, 1, None)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        pytest.param(reply(500), 5, id="500"),
        pytest.param(reply(404), 5, id="404"),
        pytest.param(reply(302, location="/elsewhere"), 5, id="redirect"),
        pytest.param(reply(307, location="/elsewhere"), 5, id="redirect that keeps the method"),
        pytest.param(reply(429, retry_after="120"), 120, id="429 that asks for time"),
        pytest.param(reply(503, retry_after="120"), 120, id="503 that asks for time"),
        pytest.param(reply(503, retry_after="99999999"), 86_400, id="503 that asks for ever"),
        pytest.param(
            reply(503, retry_after="Mon, 1 Jan 2024 00:00:00 +99999999999999"), 5, id="503 nonsense"
        ),
    ],
)
def test_anything_else_comes_again(rig: Rig, answer: Reply, seconds: float) -> None:
    rig.hooks.set("T1", answer, Reply(status_code=200))
    watch, worker = ended(rig), rig.worker()
    rig.clock.passes(2)
    worker.drain()
    after = rig.now(watch)
    assert (after.state, after.attempts, after.last_status_code) == (State.DELIVERING, 1, answer.status_code)
    assert seconds_to_go(rig, watch) == pytest.approx(seconds, abs=1)
    [attempt] = rig.attempts(watch)
    assert attempt.response_excerpt == "said so·"
    rig.clock.passes(seconds + 1)
    worker.drain()
    assert rig.now(watch).state is State.DELIVERED
    assert {request.path for request in rig.receiver.requests} == {"/T1"}
    assert len({request.headers["webhook-id"] for request in rig.receiver.requests}) == 1
    assert len({request.headers["webhook-timestamp"] for request in rig.receiver.requests}) == 2


def test_after_the_last_wait_of_the_schedule_the_bridge_gives_up(rig: Rig) -> None:
    rig.hooks.set("T1", reply(500))
    watch, worker = ended(rig), rig.worker()
    for _ in range(5):
        rig.clock.passes(40)
        worker.drain()
    after = rig.now(watch)
    assert (after.state, after.attempts, after.due_at) == (State.UNDELIVERED, 3, None)
    assert [attempt.number for attempt in rig.attempts(watch)] == [1, 2, 3]


def test_a_receiver_that_hangs_is_cut_off(rig: Rig) -> None:
    over = threading.Event()

    def hang(_: Request) -> Reply:
        over.wait(30)
        return Reply()

    rig.receiver.answer = hang
    watch = ended(rig)
    rig.clock.passes(2)
    rig.worker(timeout_seconds=0.4).drain()
    over.set()
    [attempt] = rig.attempts(watch)
    assert attempt.status_code is None
    assert attempt.error == "The receiver did not answer: timed out after 0.4 s"
    assert rig.now(watch).state is State.DELIVERING


def test_a_receiver_that_is_not_there_is_tried_again(rig: Rig) -> None:
    watch = ended(rig)
    rig.receiver.stop_listening()
    rig.clock.passes(2)
    rig.worker().drain()
    [attempt] = rig.attempts(watch)
    assert (attempt.status_code, attempt.response_excerpt) == (None, None)
    assert attempt.error is not None
    assert attempt.error.startswith("The receiver did not answer: ")


def test_an_address_that_is_not_allowed_is_never_dialled(rig: Rig) -> None:
    watch = ended(rig)
    rig.clock.passes(2)
    rig.worker(allow=()).drain()
    assert not rig.receiver.requests
    [attempt] = rig.attempts(watch)
    assert attempt.error is not None
    assert attempt.error.startswith("The callback was not sent: the address is not allowed: loopback")
    assert rig.now(watch).state is State.DELIVERING
    assert seconds_to_go(rig, watch) == 5
    [line] = [line for line in rig.logged.entries if line["event"] == "callback_attempted"]
    assert line["error"] == attempt.error


def refused_by_the_rules(rig: Rig, number: int) -> Watch:
    """Return a watch whose callback URL has the receiver's host and a port that may not be used."""
    rig.tasks.set(f"R{number}", COMPLETE)
    return rig.registered(f"R{number}", callback_url="http://app.example.com:9/hooks")


def test_what_our_own_rules_refuse_holds_up_no_other_callback_of_the_host(rig: Rig) -> None:
    refused = [refused_by_the_rules(rig, number) for number in range(12)]
    good = [ended(rig, f"T{number}") for number in range(12)]
    rig.clock.passes(2)
    rig.worker(ports=frozenset({rig.receiver.port})).drain()
    for watch in refused:
        [attempt] = rig.attempts(watch)
        assert (attempt.error or "").startswith("The callback was not sent: the port 9 is not ")
        assert rig.now(watch).state is State.DELIVERING
    assert {rig.now(watch).state for watch in good} == {State.DELIVERED}
    with rig.engine.begin() as connection:
        assert breakers.read_hosts(connection, ["app.example.com"]) == {}


def test_a_probe_that_our_own_rules_refuse_leaves_it_to_another(rig: Rig) -> None:
    rig.receiver.answer = lambda _: reply(500)
    ill = [ended(rig, f"T{number}") for number in range(5)]
    rig.clock.passes(2)
    rig.worker().drain()
    assert breaker_of(rig).paused
    refused = refused_by_the_rules(rig, 1)
    rig.receiver.answer = lambda _: Reply()
    rig.clock.passes(2)
    worker = rig.worker(ports=frozenset({rig.receiver.port}))
    worker.drain()
    assert len(rig.attempts(refused)) == 1
    rig.clock.passes(4)
    worker.drain()
    assert {rig.now(watch).state for watch in ill} == {State.DELIVERED}


def test_a_host_that_hangs_takes_at_most_a_quarter_of_the_slots(rig: Rig) -> None:
    over = threading.Event()

    def answer(request: Request) -> Reply:
        if request.headers["host"].startswith("slow"):
            over.wait(30)
        return Reply()

    rig.receiver.answer = answer
    for number in range(12):
        rig.tasks.set(f"S{number}", COMPLETE)
        rig.tasks.set(f"W{number}", COMPLETE)
        rig.registered(f"S{number}", callback_url=rig.receiver.url("slow.example.com"), clock=real_clock)
        rig.registered(f"W{number}", callback_url=rig.receiver.url("well.example.com"), clock=real_clock)
    with at_work(rig.worker(concurrency=8, timeout_seconds=30, clock=real_clock)):
        until(lambda: to(rig, "well") == 12)
        assert to(rig, "slow") == 2
        over.set()
        until(lambda: to(rig, "slow") == 12)


def to(rig: Rig, name: str) -> int:
    """Return how many callbacks came for hosts of this name."""
    return sum(request.headers["host"].startswith(name) for request in tuple(rig.receiver.requests))


def test_a_host_with_five_failures_is_tried_by_one_probe_at_a_time_until_it_answers(rig: Rig) -> None:
    ill = True

    def answer(_: Request) -> Reply:
        return reply(500) if ill else Reply()

    rig.receiver.answer = answer
    watches = [ended(rig, f"T{number}") for number in range(24)]
    worker = rig.worker(concurrency=8)
    rig.clock.passes(2)
    worker.drain()
    before = len(rig.receiver.requests)
    assert 5 <= before <= 6, "two were on the way when the fifth failed"
    assert breaker_of(rig).paused
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
    ended(rig, "T1")
    ended(rig, "T2")
    rig.clock.passes(2)
    rig.worker().drain()
    assert [claimed_by(name) for name in ("worker-1", "worker-2", "worker-3")] == [1, 0, 0]


def test_many_dead_hosts_together_take_no_more_than_a_quarter_of_the_slots(rig: Rig) -> None:
    over = threading.Event()

    def answer(request: Request) -> Reply:
        if request.headers["host"].startswith("dead"):
            over.wait(30)
            return reply(500)
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


def breaker_of(rig: Rig) -> CircuitBreaker:
    with rig.engine.begin() as connection:
        return breakers.read_hosts(connection, ["app.example.com"])["app.example.com"]


def test_a_paused_host_holds_up_no_other(rig: Rig) -> None:
    def answer(request: Request) -> Reply:
        return reply(503) if request.headers["host"].startswith("ill") else Reply()

    rig.receiver.answer = answer
    for number in range(10):
        ended(rig, f"I{number}", host="ill.example.com")
    well = [ended(rig, f"W{number}", host="well.example.com") for number in range(10)]
    rig.clock.passes(2)
    rig.worker(concurrency=8).drain()
    assert all(rig.now(watch).state is State.DELIVERED for watch in well)


def test_a_client_whose_secret_cannot_be_read_holds_up_no_other(rig: Rig) -> None:
    broken = rig.other_client("broken", readable=False)
    rig.tasks.set("B1", COMPLETE)
    lost = rig.registered("B1", client=broken, callback_url=rig.receiver.url(path="/B1"))
    fine = ended(rig)
    rig.clock.passes(2)
    worker = rig.worker()
    worker.drain()
    assert rig.now(fine).state is State.DELIVERED
    after = rig.now(lost)
    assert (after.state, after.attempts) == (State.DELIVERING, 1)
    assert after.last_error is not None
    assert "'broken' cannot be read with the keys in BRIDGE_SECRET_KEY" in after.last_error
