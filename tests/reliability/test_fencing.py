"""A worker that is stopped past its lease comes back too late: it may neither save nor send any more."""

import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import pytest

from bridge.core.counters import LEASES_LOST
from bridge.db import counters
from bridge.db.engine import reading
from tests.reliability.conftest import KINDS, NewSetup
from tests.reliability.ledger import Ledger
from tests.reliability.processes import lines, process_state
from tests.reliability.scenarios import Setup, run_concurrently
from tests.reliability.waiting import until

STOPPED = "T"
BOUNDARIES = (
    "poll: claimed",
    "poll: asked",
    "poll: answered",
    "deliver: claimed",
    "deliver: sent",
    "deliver: answered",
)
# Here it holds the locks of rows, which PostgreSQL takes away from it. SQLite's lock ends with the process alone.
IN_TRANSACTIONS = ("poll: before the claim's commit", "poll: before the commit", "deliver: before the commit")
# Long enough to see the watch move back, or a callback go out, if they did.
QUIET_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Aftermath:
    """What the one that came back did, and what does not add up in the end."""

    arrivals: int
    lost: list[str]
    counted: float
    problems: list[str]


def counted(setup: Setup) -> float:
    """Return how many results were refused, as the metrics tell it."""
    with reading(setup.installation.engine) as connection:
        return counters.totals(connection).of(LEASES_LOST).get((), 0)


def worker_stops(setup: Setup, boundary: str) -> Aftermath:
    """Stop a worker at the boundary until another has done its work; then let it go on."""
    ledger = Ledger(setup.installation, setup.receiver)
    [watch_id] = setup.installation.register(
        setup.hubspot.state.add_tasks(), setup.receiver.url(setup.installation)
    )
    ledger.promise(watch_id)
    with setup.struck(boundary, 1, "SIGSTOP", "worker") as stopped:
        until(lambda: process_state(stopped.pid) == STOPPED)
        with setup.healthy_worker():
            until(ledger.settled)
            told = len(setup.receiver.arrivals(setup.installation))
            stopped.send(signal.SIGCONT)
            lost = until(lambda: lines(setup.log, "lease_lost"))
            time.sleep(QUIET_SECONDS)
            # What was only claimed is not even begun: there is no result to refuse.
            if not boundary.endswith("claimed"):
                until(lambda: counted(setup))
    return Aftermath(
        arrivals=len(setup.receiver.arrivals(setup.installation)) - told,
        lost=[line["watch"] for line in lost],
        counted=counted(setup),
        problems=ledger.problems(),
    )


def worker_stops_in_a_transaction(setup: Setup, boundary: str) -> list[str]:
    """Stop a worker between a statement and the commit; return what is wrong when another has gone on."""
    ledger = Ledger(setup.installation, setup.receiver)
    tasks = setup.hubspot.state.add_tasks(tasks=3)
    ledger.promise(*setup.installation.register(tasks, setup.receiver.url(setup.installation)))
    with setup.struck(boundary, 1, "SIGSTOP", "worker") as stopped:
        until(lambda: process_state(stopped.pid) == STOPPED)
        with setup.healthy_worker():
            until(ledger.settled)
            assert process_state(stopped.pid) == STOPPED
    return ledger.problems()


Aftermaths = Mapping[tuple[str, str], Future[Aftermath]]


@pytest.fixture(scope="module")
def aftermaths(new_setup: NewSetup) -> Iterator[Aftermaths]:
    scenarios = {
        (kind, boundary): partial(worker_stops, new_setup(kind), boundary)
        for kind in KINDS
        for boundary in BOUNDARIES
    }
    with run_concurrently(scenarios) as came:
        yield came


@pytest.fixture(scope="module")
def problems(new_setup: NewSetup) -> Iterator[Mapping[str, Future[list[str]]]]:
    """What is wrong after a stop at each boundary; run beside the others, for most of it is waiting."""
    scenarios = {
        boundary: partial(worker_stops_in_a_transaction, new_setup("postgresql"), boundary)
        for boundary in IN_TRANSACTIONS
    }
    with run_concurrently(scenarios) as came:
        yield came


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.usefixtures("problems")  # they begin at the same time
def test_whoever_comes_back_too_late_changes_nothing(
    aftermaths: Aftermaths, kind: str, boundary: str
) -> None:
    aftermath = aftermaths[kind, boundary].result()
    assert not aftermath.problems
    assert len(aftermath.lost) == 1
    assert aftermath.counted == (0 if boundary.endswith("claimed") else 1)
    assert aftermath.arrivals == 0


@pytest.mark.parametrize("boundary", IN_TRANSACTIONS)
def test_whoever_is_stopped_in_a_transaction_holds_up_nobody(
    problems: Mapping[str, Future[list[str]]], boundary: str
) -> None:
    assert not problems[boundary].result()
