"""Several processes share one PostgreSQL: each watch is told once, and at least once when one of them dies."""

import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from bridge.db.tables import watches
from bridge.sandbox import Sandbox
from tests.reliability.conftest import NewInstallation
from tests.reliability.deployments import Deployment, deployment
from tests.reliability.processes import Running, errors, lines
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until

WATCHES = 200
SLOW_WATCHES = 20


@pytest.fixture(scope="module")
def bridge(
    new_installation: NewInstallation,
    hubspot: Sandbox,
    receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    installation, folder = new_installation("postgresql"), tmp_path_factory.mktemp("deployment")
    # Forks would have one order of the members of sets: a deadlock could hide.
    with deployment(installation, hubspot, receiver, folder, interpreter=True) as running:
        yield running


@pytest.fixture(scope="module")
def second_worker(bridge: Deployment) -> Running:
    return bridge.processes.worker()


def test_when_nothing_fails_each_is_told_exactly_once(bridge: Deployment, second_worker: Running) -> None:
    for pending_seconds in range(4):
        bridge.register_together(tasks=WATCHES // 4, pending_seconds=pending_seconds)
    until(bridge.ledger.settled)
    assert not bridge.ledger.problems()
    assert bridge.arrivals() == len(bridge.ledger.promises) == WATCHES
    assert not [*bridge.errors(), *errors(second_worker.log)]


def test_both_workers_took_part(bridge: Deployment, second_worker: Running) -> None:
    assert lines(bridge.worker.log, "task_ended")
    assert lines(second_worker.log, "task_ended")


def test_when_a_worker_dies_each_is_told_at_least_once(bridge: Deployment, second_worker: Running) -> None:
    told = bridge.arrivals()
    bridge.register_together("slow", tasks=SLOW_WATCHES)
    bridge.register_together(tasks=WATCHES - SLOW_WATCHES)
    until(lambda: bridge.arrivals() >= told + WATCHES // 4)
    second_worker.send(signal.SIGKILL)
    second_worker.wait()
    leased = leased_by(bridge, lines(second_worker.log, "worker_started")[0]["worker"])
    until(bridge.ledger.settled)
    assert not bridge.ledger.problems()
    times = Counter(arrival.webhook_id for arrival in bridge.receiver.arrivals(bridge.installation))
    assert times.keys() == bridge.ledger.promises.keys()
    # What it had saved is not repeated, and nothing more than once.
    assert max(times.values()) <= 2
    assert {told for told, count in times.items() if count > 1} <= leased


def leased_by(bridge: Deployment, worker: str) -> set[str]:
    """The watches that a worker had claimed, and not yet saved."""
    with bridge.installation.engine.connect() as connection:
        return set(connection.scalars(select(watches.c.id).where(watches.c.claimed_by == worker)))
