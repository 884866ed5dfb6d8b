"""The primary dies in the middle of the work, and its synchronous standby takes over: nobody is restarted."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from bridge.db.engine import open_engine
from bridge.db.migrations import upgrade
from bridge.sandbox import Sandbox
from tests.reliability.database import an_installation
from tests.reliability.deployments import Deployment, deployment
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until
from tests.replication import ReplicatedServer, replicated_server

# So short that some registration is under way when the primary dies.
PAUSE_SECONDS = 0.02


@pytest.fixture(scope="module")
def servers() -> Iterator[ReplicatedServer]:
    with replicated_server() as running:
        yield running


@pytest.fixture
def bridge(
    servers: ReplicatedServer, hubspot: Sandbox, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    engine = open_engine(servers.create_database("bridge"))
    upgrade(engine)
    engine.dispose()
    with (
        an_installation(servers.url("bridge")) as installation,
        deployment(installation, hubspot, receiver, tmp_path_factory.mktemp("deployment")) as running,
    ):
        yield running


def test_of_several_hosts_the_one_that_can_be_written_to_is_taken(servers: ReplicatedServer) -> None:
    for address in servers.addresses("postgres"):
        engine = open_engine(address)
        with engine.connect() as connection:
            assert connection.execute(text("SHOW transaction_read_only")).scalar_one() == "off"
        engine.dispose()


def test_nothing_that_was_answered_201_is_lost(servers: ReplicatedServer, bridge: Deployment) -> None:
    over = threading.Event()

    def register() -> list[str]:
        """Register again and again; return what was answered 201."""
        promised = []
        while not over.wait(PAUSE_SECONDS):
            [task_id] = bridge.hubspot.state.add_tasks(tasks=1)
            body = {"task_id": task_id, "callback_url": bridge.receiver.url(bridge.installation)}
            answer = bridge.api.call("POST", "/v1/watches", body)
            if answer is not None and answer.status_code == 201:
                promised.append(answer.json()["id"])
        return promised

    bridge.fill()
    with ThreadPoolExecutor(1) as pool:
        registering = pool.submit(register)
        before = bridge.arrivals()
        until(lambda: bridge.arrivals() > before)
        servers.crash()
        servers.fail_over()
        before = bridge.arrivals()
        until(lambda: bridge.arrivals() > before)
        over.set()
        bridge.ledger.promise(*registering.result())
    until(bridge.ledger.settled)
    assert not bridge.ledger.problems()
    assert not bridge.errors()
