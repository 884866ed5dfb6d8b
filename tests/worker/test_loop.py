"""Workers: several share the work, each may die or stop at any time, and no watch is lost or stuck."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text, update
from sqlalchemy.exc import OperationalError

from bridge.core.fairness import DueLane
from bridge.core.watch import Outcome, State
from bridge.db.tables import watches as table
from bridge.steps.poll import PollJob, Polls
from tests.makers import real_clock
from tests.postgres import PostgresServer
from tests.reliability.waiting import until
from tests.steps.peers import Reply, Request, reply
from tests.steps.rig import COMPLETE, LEASE_SECONDS, Rig, at_work
from tests.threads import at_once
from tests.worker.callbacks import HoldingReceiver, completed


def messages(rig: Rig) -> Counter[str]:
    """Return how often each message came."""
    return Counter(request.headers["webhook-id"] for request in tuple(rig.receiver.requests))


def test_two_workers_share_the_work_and_send_nothing_twice(rig: Rig) -> None:
    watches = completed(rig, *(f"T{number}" for number in range(60)))
    workers = [rig.worker(name=f"worker-{number}") for number in range(2)]
    at_once(2, lambda number: workers[number].drain())
    assert messages(rig) == Counter({watch.id: 1 for watch in watches})
    assert rig.hubspot.most_at_once <= 16
    assert all(rig.now(watch).state is State.DELIVERED for watch in watches)
    assert not rig.events("lease_lost")


def test_more_work_than_slots_is_done_in_one_drain(rig: Rig) -> None:
    watches = completed(rig, *(f"T{number}" for number in range(30)))
    rig.worker(concurrency=4).drain()
    assert all(rig.now(watch).state is State.DELIVERED for watch in watches)
    assert rig.hubspot.most_at_once <= 4
    assert rig.receiver.most_at_once == 1


def test_a_busy_host_gets_as_many_more_as_its_freed_slots_allow(rig: Rig) -> None:
    worker, host = rig.worker(concurrency=8), (State.DELIVERING, "app.example.com")
    assert worker._share({host: 50}) == {host: 4}, "it leaves as many free"
    worker._pool._freed.extend([(time.monotonic(), host)] * 20)
    worker._pool.recently_freed[host] = 20
    assert worker._share({host: 20}) == {host: 20}


def test_what_a_dead_worker_held_another_takes_over_when_the_lease_has_run_out(rig: Rig) -> None:
    [watch] = completed(rig, "T1")
    holding, dead = HoldingReceiver(rig), rig.worker(name="dead", timeout_seconds=30)
    thread = threading.Thread(target=dead.drain, daemon=True)
    thread.start()
    rig.receiver.wait_for(1)
    heir = rig.worker(name="heir")
    heir.drain()
    assert len(rig.receiver.requests) == 1, "the lease still holds"
    rig.clock.passes(LEASE_SECONDS)
    holding.open.set()
    # The dead one comes back to life and may save first: then it was not dead.
    heir.drain()
    until(lambda: rig.now(watch).state is State.DELIVERED)
    assert set(messages(rig)) == {watch.id}
    thread.join()  # or it could still hold a connection, which would outlive its pool


def test_a_2xx_that_could_not_be_saved_is_sent_again_as_the_same_message(rig: Rig) -> None:
    [watch] = completed(rig, "T1")
    worker = rig.worker()

    def answer(_: Request) -> Reply:
        with rig.engine.begin() as connection:
            lost = update(table).where(table.c.id == watch.id, table.c.attempts == 0)
            connection.execute(lost.values(claimed_by="somebody-else"))
        return Reply()

    rig.receiver.answer = answer
    worker.drain()
    assert [line["watch"] for line in rig.events("lease_lost")] == [watch.id]
    assert rig.now(watch).attempts == 0
    rig.receiver.answer = lambda _: Reply()
    rig.clock.passes(LEASE_SECONDS)
    worker.drain()
    assert messages(rig) == Counter({watch.id: 2})
    assert (rig.now(watch).state, rig.now(watch).attempts) == (State.DELIVERED, 1)


@pytest.mark.parametrize("state", [State.WATCHING, State.DELIVERING])
def test_what_fails_in_a_worker_that_was_suspended_pauses_nothing_for_the_others(
    rig: Rig, state: State
) -> None:
    """Others have polled and delivered meanwhile, so its failures are no news."""
    watches = completed(rig, *(f"T{number}" for number in range(12)))
    peer = rig.hubspot
    if state is State.DELIVERING:
        peer = rig.receiver
        with rig.engine.begin() as connection:
            ended = {"state": state, "outcome": Outcome.COMPLETED, "ended_at": table.c.created_at}
            connection.execute(update(table).values(ended))
    suspended, other = rig.worker(concurrency=64, name="suspended"), rig.worker(name="other")
    works, peer.answer = peer.answer, lambda _: reply(500)
    failed = [done for job in suspended._claim() if (done := suspended._work(job))]
    assert len(failed) == len(watches)
    peer.answer = works
    rig.clock.passes(LEASE_SECONDS)
    other.drain()
    suspended._save(failed)
    assert len(rig.events("lease_lost")) == len(failed)
    assert all(rig.now(watch).state is State.DELIVERED for watch in watches)
    assert not rig.events("host_paused")
    assert not rig.events("account_paused")


@pytest.mark.parametrize("late_first", [True, False])
def test_two_results_of_one_watch_that_come_together_are_judged_one_by_one(
    rig: Rig, *, late_first: bool
) -> None:
    """The only worker was suspended in a poll, and has claimed the watch anew meanwhile."""
    [watch] = completed(rig, "T1")
    worker = rig.worker()
    works, rig.hubspot.answer = rig.hubspot.answer, lambda _: reply(401)
    [late] = [worker._work(job) for job in worker._claim()]
    rig.hubspot.answer = works
    rig.clock.passes(LEASE_SECONDS)
    [new] = [worker._work(job) for job in worker._claim()]
    assert late is not None
    assert new is not None
    worker._unsaved = [late, new] if late_first else [new, late]
    worker.drain()
    assert rig.now(watch).state is State.DELIVERED
    assert messages(rig) == Counter({watch.id: 1})
    assert len(rig.events("lease_lost")) == 1
    assert not rig.events("account_paused")


def test_a_step_whose_lease_ran_out_before_it_began_is_left_to_others(rig: Rig) -> None:
    """The process was suspended meanwhile, and another worker may have claimed the watch."""
    halts = list[datetime]()

    class Halting(Polls):
        def claim(self, connection: Connection, shares: Mapping[str, int]) -> list[PollJob]:
            jobs = super().claim(connection, shares)
            if not halts:
                halts.append(rig.clock())
                rig.clock.passes(LEASE_SECONDS)
            return jobs

    [watch] = completed(rig, "T1")
    rig.worker(polls=Halting).drain()
    assert [line["watch"] for line in rig.events("lease_lost")] == [watch.id]
    assert len(rig.hubspot.requests) == 1
    assert rig.now(watch).state is State.DELIVERED


def test_a_step_that_raises_costs_one_lease_and_not_a_slot(rig: Rig) -> None:
    [broken, *fine] = completed(rig, "T0", "T1", "T2", "T3")
    with rig.engine.begin() as connection:
        connection.execute(update(table).where(table.c.id == broken.id).values(kind="no-kind-of-ours"))
    worker = rig.worker(concurrency=1)
    at_once(1, lambda _: worker.drain())
    assert all(rig.now(watch).state is State.DELIVERED for watch in fine)
    crashed = rig.now(broken)
    assert (crashed.state, crashed.claimed_by, crashed.polls) == (State.WATCHING, "worker-1", 0)
    assert [line["watch"] for line in rig.events("step_crashed")] == [broken.id]
    rig.clock.passes(LEASE_SECONDS)
    worker.drain()
    assert len(rig.events("step_crashed")) == 2


REFUSE = {
    "sqlite": "CREATE TRIGGER refuse BEFORE UPDATE ON watches WHEN NEW.status = 'COMPLETE' "
    "AND NEW.task_id = 'T1' BEGIN SELECT RAISE(ABORT, 'refused'); END",
    "postgresql": "ALTER TABLE watches ADD CHECK (task_id <> 'T1' OR status <> 'COMPLETE')",
}


@pytest.mark.own_database
def test_a_result_that_the_database_refuses_takes_no_other_along(rig: Rig) -> None:
    watches = completed(rig, "T0", "T1", "T2", "T3")
    with rig.engine.begin() as connection:
        connection.execute(text(REFUSE[connection.dialect.name]))
    worker = rig.worker()
    worker.drain()
    states = {watch.task_id: rig.now(watch).state for watch in watches}
    assert states.pop("T1") is State.WATCHING
    assert set(states.values()) == {State.DELIVERED}
    assert [line["watch"] for line in rig.events("result_not_saved")] == [watches[1].id]
    with rig.engine.begin() as connection:
        undo = {
            "sqlite": "DROP TRIGGER refuse",
            "postgresql": "ALTER TABLE watches DROP CONSTRAINT watches_check",
        }
        connection.execute(text(undo[connection.dialect.name]))
    rig.clock.passes(LEASE_SECONDS)
    worker.drain()
    assert rig.now(watches[1]).state is State.DELIVERED


def test_a_database_that_goes_away_in_mid_flight_costs_nothing(
    own_rig: Rig, own_postgres_server: PostgresServer
) -> None:
    rig, holding = own_rig, HoldingReceiver(own_rig)
    rig.tasks.set("T1", COMPLETE)
    rig.tasks.set("T2", COMPLETE)
    watch = rig.registered("T1", clock=real_clock)
    with at_work(rig.worker(timeout_seconds=30, clock=real_clock)):
        rig.receiver.wait_for(1)
        own_postgres_server.stop("immediate")
        holding.open.set()
        until(lambda: rig.events("database_away"))
        own_postgres_server.start()
        until(lambda: rig.now(watch).state is State.DELIVERED)
        second = rig.registered("T2", clock=real_clock)
        until(lambda: rig.now(second).state is State.DELIVERED)
    assert messages(rig) == Counter({watch.id: 1, second.id: 1})
    assert not rig.events("result_not_saved")
    assert not rig.events("lease_lost")


def test_a_bug_in_an_iteration_is_logged_and_does_not_spin(rig: Rig) -> None:
    class Faulty(Polls):
        """Claims nothing before its second try."""

        tries = 0

        def claim(self, connection: Connection, shares: Mapping[str, int]) -> list[PollJob]:
            Faulty.tries += 1
            if Faulty.tries == 1:
                raise ZeroDivisionError
            return super().claim(connection, shares)

    [watch] = completed(rig, "T1")
    worker = rig.worker(polls=Faulty)
    worker.drain()
    [told] = rig.events("worker_loop_crashed")
    assert told["retry_in_seconds"] == 0.5
    worker.drain()
    assert rig.now(watch).state is State.DELIVERED
    assert Faulty.tries == 2


@pytest.mark.parametrize(
    "error",
    [OperationalError("SELECT", {}, Exception("the database is away")), ZeroDivisionError()],
    ids=["the database is away", "a bug"],
)
def test_a_loop_that_fails_is_not_steady_and_is_steady_anew_when_it_runs(rig: Rig, error: Exception) -> None:
    class Failing(Polls):
        """Finds nothing while `fails`."""

        fails = False

        def lanes(self, *looked_for: Any) -> dict[str, DueLane]:
            if Failing.fails:
                raise error
            return super().lanes(*looked_for)

    began = rig.clock()
    worker = rig.worker(polls=Failing)
    rig.clock.passes(29)
    worker.drain()
    rig.clock.passes(29)
    first = worker.steady_since(rig.clock())
    assert first
    assert first - began < timedelta(seconds=1)
    Failing.fails = True
    worker.drain()
    rig.clock.passes(1)
    assert worker.steady_since(rig.clock()) is None
    Failing.fails = False
    back = rig.clock()
    worker.drain()
    assert (worker.steady_since(rig.clock()) or began) > back
    # A clock that is set back is a break, too.
    assert worker.steady_since(began) is None
