"""SIGTERM in the middle of requests: what is in flight is finished, nothing is done twice, leases go back."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, Row, delete, select

from bridge.db.engine import reading
from bridge.db.tables import watches, workers
from bridge.sandbox import Reply, SendMode, Target
from tests.ports import free_port
from tests.reliability.bad_answers import COMPLETE
from tests.reliability.conftest import NewSetup
from tests.reliability.ledger import Ledger
from tests.reliability.processes import Running, errors, lines, processes
from tests.reliability.scenarios import Setup, run_concurrently
from tests.reliability.waiting import until

# A right answer that takes a second: 42 bytes, one after the other.
SLOW = Reply(body=COMPLETE, send_mode=SendMode.DRIP, seconds=0.024)
HANGING_SECONDS = 3.0
# Nothing here takes its time-out but what hangs; and no lease runs out.
ENV = {"BRIDGE_LEASE_SECONDS": "60", "BRIDGE_CALLBACK_TIMEOUT": "50", "HUBSPOT_TIMEOUT": "50"}
IN_TIME_SECONDS = 20.0
SHORT_STOP_WORKER = ("-m", "tests.reliability.short_stop_worker")


@dataclass(frozen=True, kw_only=True, slots=True)
class Farewell:
    """How a process went, what it left in the tables, and what came of it in the end."""

    exit_status: int
    took_seconds: float
    left: list[Row[Any]]
    workers: list[Row[Any]]
    given_back: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    arrivals: int
    problems: list[str]


def farewell(setup: Setup, ledger: Ledger, leaving: Running) -> Farewell:
    """Stop a process; note what it leaves; let another finish."""
    stopped_at = time.monotonic()
    exit_status = leaving.stop()
    took_seconds = time.monotonic() - stopped_at
    with reading(setup.installation.engine) as connection:
        left = list(connection.execute(select(watches)))
        registered = list(connection.execute(select(workers)))
    with setup.healthy_worker(**ENV):
        until(ledger.settled)
    return Farewell(
        exit_status=exit_status,
        took_seconds=took_seconds,
        left=left,
        workers=registered,
        given_back=lines(leaving.log, "leases_given_back"),
        errors=errors(leaving.log),
        arrivals=len(setup.receiver.arrivals(setup.installation)),
        problems=ledger.problems(),
    )


def asked(setup: Setup, task_id: str) -> bool:
    return task_id in setup.hubspot.state.ledger()["tasks"]


def with_work_in_flight(setup: Setup, web_processes: int = 0) -> Farewell:
    """Stop a process while HubSpot and receivers are slow to answer."""
    ledger = Ledger(setup.installation, setup.receiver)
    slow, quick = setup.hubspot.state.add_tasks(tasks=2), setup.hubspot.state.add_tasks(tasks=3)
    for task_id in slow:
        setup.hubspot.state.set_fault(SLOW, Target(task_id=task_id), times=1)
    with processes(setup.installation.env(setup.hubspot.url, **ENV), setup.folder) as started:
        leaving = started.worker() if not web_processes else started.web(free_port(), web_processes)
        ledger.promise(*setup.installation.register(slow, setup.receiver.url(setup.installation)))
        ledger.promise(*setup.installation.register(quick, setup.receiver.url(setup.installation, "slow")))
        until(lambda: len(setup.receiver.arrivals(setup.installation)) == len(quick))
        return farewell(setup, ledger, leaving)


def while_hubspot_hangs(setup: Setup) -> Farewell:
    """Stop a worker whose poll will time out."""
    ledger = Ledger(setup.installation, setup.receiver)
    [task_id] = setup.hubspot.state.add_tasks()
    setup.hubspot.state.set_fault("hang", Target(task_id=task_id), times=1)
    env = setup.installation.env(setup.hubspot.url, **ENV | {"HUBSPOT_TIMEOUT": f"{HANGING_SECONDS:g}"})
    with processes(env, setup.folder) as started:
        leaving = started.worker()
        ledger.promise(*setup.installation.register([task_id], setup.receiver.url(setup.installation)))
        until(lambda: asked(setup, task_id))
        return farewell(setup, ledger, leaving)


def with_no_time_to_finish(setup: Setup) -> Farewell:
    """Stop a worker when neither HubSpot nor a receiver answers before its grace is over."""
    ledger = Ledger(setup.installation, setup.receiver)
    hanging, ended = setup.hubspot.state.add_tasks(tasks=2)
    setup.hubspot.state.set_fault("hang", Target(task_id=hanging), times=1)
    with processes(setup.installation.env(setup.hubspot.url, **ENV), setup.folder) as started:
        leaving = started.start(*SHORT_STOP_WORKER)
        until(leaving.has_logged("worker_started"))
        ledger.promise(*setup.installation.register([hanging], setup.receiver.url(setup.installation)))
        ledger.promise(
            *setup.installation.register([ended], setup.receiver.url(setup.installation, "hangs-first"))
        )
        until(lambda: asked(setup, hanging) and setup.receiver.arrivals(setup.installation))
        return farewell(setup, ledger, leaving)


Scenario = Callable[[Setup], Farewell]

IN_FLIGHT: dict[tuple[str, str], Scenario] = {
    ("a worker", "sqlite"): with_work_in_flight,
    ("a worker", "postgresql"): with_work_in_flight,
    ("a web process", "sqlite"): partial(with_work_in_flight, web_processes=1),
    ("two web processes", "postgresql"): partial(with_work_in_flight, web_processes=2),
}
HANGS: dict[tuple[str, str], Scenario] = {("HubSpot hangs", "postgresql"): while_hubspot_hangs}
NO_TIME: dict[tuple[str, str], Scenario] = {
    ("no time", "sqlite"): with_no_time_to_finish,
    ("no time", "postgresql"): with_no_time_to_finish,
}
EVERY = IN_FLIGHT | HANGS | NO_TIME

Farewells = Mapping[tuple[str, str], Future[Farewell]]


@pytest.fixture(scope="module")
def farewells(new_setup: NewSetup) -> Iterator[Farewells]:
    with run_concurrently(
        {(who, kind): partial(scenario, new_setup(kind)) for (who, kind), scenario in EVERY.items()}
    ) as came:
        yield came


@pytest.mark.parametrize(("who", "kind"), EVERY)
def test_it_goes_well_in_time_and_holds_nothing(farewells: Farewells, who: str, kind: str) -> None:
    seen = farewells[who, kind].result()
    assert seen.exit_status == 0
    assert seen.took_seconds < IN_TIME_SECONDS
    assert not any(row.claimed_by for row in seen.left)
    assert not seen.workers
    assert not seen.errors
    assert not seen.problems


@pytest.mark.parametrize(("who", "kind"), IN_FLIGHT)
def test_what_is_in_flight_is_finished_and_never_repeated(farewells: Farewells, who: str, kind: str) -> None:
    seen = farewells[who, kind].result()
    assert not seen.given_back
    assert {row.polls for row in seen.left} == {1}
    assert seen.arrivals == len(seen.left)


@pytest.mark.parametrize(("who", "kind"), HANGS)
def test_a_poll_that_hangs_is_waited_for_and_saved(farewells: Farewells, who: str, kind: str) -> None:
    [left] = farewells[who, kind].result().left
    assert (left.polls, left.failures) == (1, 1)
    assert "timed out" in left.last_error


@pytest.mark.parametrize(("who", "kind"), NO_TIME)
def test_what_cannot_be_finished_goes_back_and_is_taken_up_at_once(
    farewells: Farewells, who: str, kind: str
) -> None:
    seen = farewells[who, kind].result()
    assert [line["watches"] for line in seen.given_back] == [2]
    # Of the watch whose receiver did not answer two: the one in flight, and the one sent instead of it.
    assert seen.arrivals == 3


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_worker_ends_in_time_although_the_database_hangs(new_setup: NewSetup, kind: str) -> None:
    setup = new_setup(kind)
    engine = setup.installation.engine
    with processes(setup.installation.env(setup.hubspot.url), setup.folder) as started:
        leaving = started.start(*SHORT_STOP_WORKER)
        until(lambda: registered_workers(engine))
        # It cannot take itself from the list while somebody else holds its row.
        with engine.connect() as other:
            other.execute(delete(workers))
            assert leaving.stop() == 0
    assert lines(leaving.log, "worker_stop_timed_out")


def registered_workers(engine: Engine) -> list[Row[Any]]:
    with reading(engine) as connection:
        return list(connection.execute(select(workers)))
