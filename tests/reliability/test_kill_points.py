"""A process may die between any two steps: nothing is lost, and what is told again is told alike."""

import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import pytest

from bridge.sandbox import Target
from tests.ports import free_port
from tests.reliability.api import Api
from tests.reliability.conftest import KINDS, NewSetup
from tests.reliability.fault_points import DELIVER, POLL, REGISTER, STRUCK
from tests.reliability.ledger import Ledger
from tests.reliability.scenarios import Setup, followed, run_concurrently
from tests.reliability.waiting import TIMEOUT_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Aftermath:
    """Whether the process died, what it logged, and what does not add up in the end."""

    died: bool
    log: str
    problems: list[str]


def worker_dies(setup: Setup, boundary: str) -> Aftermath:
    """Let a worker die at the boundary, and another go on."""
    ledger = Ledger(setup.installation, setup.receiver)
    tasks = setup.hubspot.state.add_tasks(tasks=4)
    for task_id in tasks[2:]:
        setup.hubspot.state.set_fault("null", Target(task_id=task_id), times=1)
    ledger.promise(*setup.installation.register(tasks, setup.receiver.url(setup.installation, "flaky")))
    with setup.struck(boundary, 1, "SIGKILL", "worker") as worker:
        died = worker.wait(TIMEOUT_SECONDS) == -signal.SIGKILL
    with setup.healthy_worker():
        return Aftermath(died=died, log=setup.log.read_text(), problems=followed(ledger))


def web_dies(setup: Setup, boundary: str) -> Aftermath:
    """Let a web process die: gunicorn replaces it, and the client sends again what got no answer."""
    ledger = Ledger(setup.installation, setup.receiver)
    port = free_port()
    # The first registration goes well, so that the process that replaces it lives to take the second.
    with setup.struck(boundary, 2, "SIGKILL", "web", PORT=str(port)):
        api = Api(setup.installation, port)
        for task_id in setup.hubspot.state.add_tasks(tasks=2):
            ledger.promise(api.register(task_id, setup.receiver.url(setup.installation)).json()["id"])
        problems = followed(ledger)
    log = setup.log.read_text()
    return Aftermath(died="was sent SIGKILL" in log, log=log, problems=problems)


Aftermaths = Mapping[tuple[str, str], Future[Aftermath]]


@pytest.fixture(scope="module")
def aftermaths(new_setup: NewSetup) -> Iterator[Aftermaths]:
    """What came of each boundary, on each kind of database."""
    scenarios = {
        (kind, boundary): partial(scenario, new_setup(kind), boundary)
        for kind in KINDS
        for scenario, boundaries in {web_dies: REGISTER, worker_dies: POLL | DELIVER}.items()
        for boundary in boundaries
    }
    with run_concurrently(scenarios) as came:
        yield came


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("boundary", REGISTER | POLL | DELIVER)
def test_whoever_dies_there_loses_nothing(aftermaths: Aftermaths, kind: str, boundary: str) -> None:
    aftermath = aftermaths[kind, boundary].result()
    assert aftermath.died
    assert STRUCK in aftermath.log
    assert not aftermath.problems
