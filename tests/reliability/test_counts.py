"""What processes count is in the database a second later, and at once when they stop in order."""

import signal
from pathlib import Path

import pytest

from bridge.core.counters import API_REQUESTS, ATTEMPTS, REGISTRATIONS
from bridge.db import counters
from bridge.db.counters import Counts
from bridge.db.engine import reading
from bridge.sandbox import Sandbox
from tests.ports import free_port
from tests.reliability.api import Api
from tests.reliability.conftest import KINDS, NewInstallation
from tests.reliability.database import Installation
from tests.reliability.processes import Running, processes
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until

TASKS = 20
each_kind = pytest.mark.parametrize("kind", KINDS)


def counted(installation: Installation) -> Counts:
    with reading(installation.engine) as connection:
        return counters.totals(connection)


def registered(installation: Installation) -> float:
    return counted(installation).of(REGISTRATIONS).get((), 0)


@each_kind
def test_two_web_processes_that_are_stopped_have_saved_all_that_they_counted(
    new_installation: NewInstallation, hubspot: Sandbox, receiver: Receiver, tmp_path: Path, kind: str
) -> None:
    installation, port = new_installation(kind), free_port()
    env = installation.env(hubspot.url, BRIDGE_EMBEDDED_WORKER="false")
    with processes(env, tmp_path) as started:
        web = started.web(port, workers=2)
        api = Api(installation, port)
        for task_id in hubspot.state.add_tasks(tasks=TASKS):
            assert api.register(task_id, receiver.url(installation)).status_code == 201
        assert web.stop() == 0
    assert registered(installation) == TASKS
    assert counted(installation).of(API_REQUESTS)["POST", "/v1/watches", "2xx"] == TASKS


@each_kind
def test_a_worker_that_is_stopped_has_saved_all_that_it_counted(
    new_installation: NewInstallation, hubspot: Sandbox, receiver: Receiver, tmp_path: Path, kind: str
) -> None:
    installation = new_installation(kind)
    with processes(installation.env(hubspot.url), tmp_path) as started:
        worker = started.worker()
        installation.register(hubspot.state.add_tasks(tasks=TASKS), receiver.url(installation))
        until(lambda: len(receiver.arrivals(installation)) == TASKS)
        assert worker.stop() == 0
    assert counted(installation).of(ATTEMPTS) == {("2xx", "schedule"): TASKS}


@each_kind
def test_a_process_that_is_killed_has_saved_what_it_counted_a_while_ago(
    new_installation: NewInstallation, hubspot: Sandbox, receiver: Receiver, tmp_path: Path, kind: str
) -> None:
    installation, port = new_installation(kind), free_port()
    with processes(installation.env(hubspot.url, BRIDGE_EMBEDDED_WORKER="false"), tmp_path) as started:
        web: Running = started.web(port)
        api = Api(installation, port)
        for task_id in hubspot.state.add_tasks(tasks=TASKS):
            api.register(task_id, receiver.url(installation))
        until(lambda: registered(installation) == TASKS)
        web.send_to_all(signal.SIGKILL)
        web.wait()
    assert registered(installation) == TASKS
