"""What each response of a receiver leads to, on real sockets: what is saved, and when the callback is tried again."""

import threading
from datetime import timedelta

import pytest

from bridge.core.watch import State, Watch
from bridge.db import breakers
from tests.steps.peers import Reply, Request, reply
from tests.steps.rig import COMPLETE, Rig


def seconds_to_go(rig: Rig, watch: Watch) -> float:
    """Return how many seconds after its last attempt a watch is due again."""
    after = rig.now(watch)
    assert after.due_at is not None
    [*_, last] = rig.attempts(watch)
    return (after.due_at - last.started_at - timedelta(milliseconds=last.duration_ms)).total_seconds()


@pytest.mark.parametrize("status_code", [200, 201, 202, 204])
def test_a_2xx_is_a_delivery(rig: Rig, status_code: int) -> None:
    rig.hooks.set("T1", Reply(status_code=status_code))
    watch = rig.ended()
    rig.clock.passes(2)
    rig.worker().drain()
    assert (rig.now(watch).state, rig.now(watch).last_status_code) == (State.DELIVERED, status_code)
    assert len(rig.receiver.requests) == 1


def test_a_410_is_the_end(rig: Rig) -> None:
    rig.hooks.set("T1", reply(410))
    watch, worker = rig.ended(), rig.worker()
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
    watch, worker = rig.ended(), rig.worker()
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
    watch, worker = rig.ended(), rig.worker()
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
    watch = rig.ended()
    rig.clock.passes(2)
    rig.worker(timeout_seconds=2).drain()
    over.set()
    [attempt] = rig.attempts(watch)
    assert attempt.status_code is None
    assert attempt.error == "The receiver did not answer: timed out after 2 s"
    assert rig.now(watch).state is State.DELIVERING


def test_a_receiver_that_is_not_there_is_tried_again(rig: Rig) -> None:
    watch = rig.ended()
    rig.receiver.stop_listening()
    rig.clock.passes(2)
    rig.worker().drain()
    [attempt] = rig.attempts(watch)
    assert (attempt.status_code, attempt.response_excerpt) == (None, None)
    assert attempt.error is not None
    assert attempt.error.startswith("The receiver did not answer: ")


def test_an_address_that_is_not_allowed_is_never_dialled(rig: Rig) -> None:
    watch = rig.ended()
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
    good = [rig.ended(f"T{number}") for number in range(12)]
    rig.clock.passes(2)
    rig.worker(ports=frozenset({rig.receiver.port})).drain()
    for watch in refused:
        [attempt] = rig.attempts(watch)
        assert (attempt.error or "").startswith("The callback was not sent: the port 9 is not ")
        assert rig.now(watch).state is State.DELIVERING
    assert {rig.now(watch).state for watch in good} == {State.DELIVERED}
    with rig.engine.begin() as connection:
        assert breakers.read_hosts(connection, ["app.example.com"]) == {}


def test_a_trial_that_our_own_rules_refuse_leaves_it_to_another(rig: Rig) -> None:
    rig.receiver.answer = lambda _: reply(500)
    ill = [rig.ended(f"T{number}") for number in range(5)]
    rig.clock.passes(2)
    rig.worker().drain()
    assert rig.host_breaker().paused
    refused = refused_by_the_rules(rig, 1)
    rig.receiver.answer = lambda _: Reply()
    rig.clock.passes(2)
    worker = rig.worker(ports=frozenset({rig.receiver.port}))
    worker.drain()
    assert len(rig.attempts(refused)) == 1
    rig.clock.passes(4)
    worker.drain()
    assert {rig.now(watch).state for watch in ill} == {State.DELIVERED}


def test_a_client_whose_secret_cannot_be_read_holds_up_no_other(rig: Rig) -> None:
    broken = rig.other_client("broken", readable=False)
    rig.tasks.set("B1", COMPLETE)
    lost = rig.registered("B1", client=broken, callback_url=rig.receiver.url(path="/B1"))
    fine = rig.ended()
    rig.clock.passes(2)
    worker = rig.worker()
    worker.drain()
    assert rig.now(fine).state is State.DELIVERED
    after = rig.now(lost)
    assert (after.state, after.attempts) == (State.DELIVERING, 1)
    assert after.last_error is not None
    assert "'broken' cannot be read with the keys in BRIDGE_SECRET_KEY" in after.last_error
