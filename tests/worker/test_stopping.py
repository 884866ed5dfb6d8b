"""A worker that is stopped: what it finishes, what it gives back, and how soon it has stopped."""

import threading
import time

from bridge.core.watch import State
from tests.postgres import PostgresServer
from tests.steps.peers import Reply, Request
from tests.steps.rig import COMPLETE, Rig, at_work
from tests.worker.callbacks import HoldingReceiver, completed


def test_a_worker_that_is_stopped_finishes_what_is_in_flight_and_starts_nothing(rig: Rig) -> None:
    holding, worker = HoldingReceiver(rig), rig.worker(timeout_seconds=30)
    first, late = completed(rig, "T1")[0], rig.registered("T2", timeout_seconds=3_600)
    rig.tasks.set("T2", COMPLETE)
    with at_work(worker):
        rig.receiver.wait_for(1)
        worker.wind_down(20)
        rig.clock.passes(2)
        holding.open.set()
        worker.stop(20)
    assert rig.now(first).state is State.DELIVERED
    assert (rig.now(late).state, rig.now(late).polls) == (State.WATCHING, 0)
    assert not rig.events("leases_given_back")
    rig.worker(name="next").drain()
    assert rig.now(late).state is State.DELIVERED


def test_a_worker_that_is_stopped_gives_back_what_it_could_not_finish(rig: Rig) -> None:
    holding, worker = HoldingReceiver(rig), rig.worker(timeout_seconds=30)
    [watch] = completed(rig, "T1")
    with at_work(worker):
        rig.receiver.wait_for(1)
        began = time.monotonic()
        worker.stop(0.5)
        assert time.monotonic() - began < 10
    after = rig.now(watch)
    assert (after.state, after.claimed_by) == (State.DELIVERING, None)
    assert after.due_at is not None
    assert after.due_at < rig.clock()
    assert [line["watches"] for line in rig.events("leases_given_back")] == [1]
    holding.open.set()
    rig.worker(name="next").drain()
    assert rig.now(watch).state is State.DELIVERED


def test_the_grace_counts_from_the_first_word_of_the_stop(rig: Rig) -> None:
    HoldingReceiver(rig)
    worker = rig.worker(timeout_seconds=30)
    completed(rig, "T1")
    with at_work(worker):
        rig.receiver.wait_for(1)
        worker.wind_down(0.3)
        began = time.monotonic()
        worker.stop(25)
        assert time.monotonic() - began < 10


def test_a_task_that_ends_while_its_worker_stops_is_left_for_another(rig: Rig) -> None:
    held = threading.Event()
    rig.closing.callback(held.set)
    before = rig.hubspot.answer

    def answer(request: Request) -> Reply | None:
        held.wait(30)
        return before(request)

    rig.hubspot.answer = answer
    [watch] = completed(rig, "T1")
    worker = rig.worker(timeout_seconds=30)
    with at_work(worker):
        rig.hubspot.wait_for(1)
        worker.wind_down(20)
        held.set()
        worker.stop(20)
    after = rig.now(watch)
    assert (after.state, after.claimed_by) == (State.DELIVERING, None)
    assert not rig.receiver.requests
    rig.worker(name="next").drain()
    assert rig.now(watch).state is State.DELIVERED


def test_a_worker_stops_in_time_and_quietly_while_the_database_is_away(
    own_rig: Rig, own_postgres_server: PostgresServer
) -> None:
    rig, holding = own_rig, HoldingReceiver(own_rig)
    completed(rig, "T1")
    worker = rig.worker(timeout_seconds=30)
    with at_work(worker):
        rig.receiver.wait_for(1)
        own_postgres_server.stop("immediate")
        holding.open.set()
        began = time.monotonic()
        worker.stop(2)
        assert time.monotonic() - began < 12
    assert len(rig.events("database_away")) < 20
