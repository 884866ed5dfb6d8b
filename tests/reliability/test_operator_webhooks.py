"""What the operator is told survives crashes, an operator's URL that is away, and several processes."""

import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from standardwebhooks import Webhook

from bridge.db.tables import operator_events, watches
from bridge.sandbox import Sandbox
from tests.http.receiver import OK, answering
from tests.http.receiver import Receiver as Operator
from tests.makers import SECRET
from tests.ports import free_port
from tests.reliability.conftest import KINDS, NewInstallation, NewSetup
from tests.reliability.database import Installation
from tests.reliability.fault_points import OPERATOR, STRUCK
from tests.reliability.processes import lines, processes
from tests.reliability.receiver import Receiver
from tests.reliability.scenarios import Setup, run_concurrently
from tests.reliability.waiting import TIMEOUT_SECONDS, until

WATCHES = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceivedWebhook:
    """A webhook as it came, with a good signature; `signed_at` in epoch seconds."""

    id: str
    signed_at: int
    body: dict[str, Any]


def received(operator: Operator) -> list[ReceivedWebhook]:
    """What has come to the operator; each signature is verified."""
    return [_read(request) for request in tuple(operator.requests)]


def _read(request: bytes) -> ReceivedWebhook:
    head, _, body = request.partition(b"\r\n\r\n")
    fields = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    headers = {name.lower(): value for name, value in fields}
    return ReceivedWebhook(
        id=headers["webhook-id"],
        signed_at=int(headers["webhook-timestamp"]),
        body=Webhook(SECRET).verify(body, headers),
    )


def settings(port: int) -> dict[str, str]:
    return {
        "BRIDGE_OPERATOR_URL": f"http://127.0.0.1:{port}/ops",
        "BRIDGE_OPERATOR_SECRET": SECRET,
    }


def worker_dies(setup: Setup, boundary: str) -> list[ReceivedWebhook]:
    """Let a worker die at the boundary, and another go on; returns what the operator was told."""
    tasks = setup.hubspot.state.add_tasks(tasks=1)
    setup.installation.register(tasks, setup.receiver.url(setup.installation, "gone"))
    with Operator(answering(OK)) as operator:
        with setup.struck(boundary, 1, "SIGKILL", "worker", **settings(operator.port)) as worker:
            assert worker.wait(TIMEOUT_SECONDS) == -signal.SIGKILL
        assert STRUCK in setup.log.read_text()
        with setup.healthy_worker(**settings(operator.port)):
            until(lambda: not waiting(setup.installation) and received(operator))
        return received(operator)


def waiting(installation: Installation) -> int:
    """How many events are not settled, and callbacks neither."""
    events = select(func.count()).where(operator_events.c.due_at.is_not(None))
    callbacks = select(func.count()).where(watches.c.due_at.is_not(None))
    with installation.engine.connect() as connection:
        return connection.execute(events).scalar_one() + connection.execute(callbacks).scalar_one()


@pytest.fixture(scope="module")
def aftermaths(new_setup: NewSetup) -> Iterator[Mapping[tuple[str, str], Future[list[ReceivedWebhook]]]]:
    scenarios = {
        (kind, boundary): partial(worker_dies, new_setup(kind), boundary)
        for kind in KINDS
        for boundary in OPERATOR
    }
    with run_concurrently(scenarios) as came:
        yield came


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("boundary", OPERATOR)
def test_whoever_dies_there_the_operator_is_told(
    aftermaths: Mapping[tuple[str, str], Future[list[ReceivedWebhook]]], kind: str, boundary: str
) -> None:
    came = aftermaths[kind, boundary].result()
    # Again only when the answer was lost, and then it is known by its id.
    assert len(came) == 1 + (boundary == "operator: answered")
    assert len({event.id for event in came}) == 1
    for event in came:
        assert (event.body["type"], event.body["data"]["count"]) == ("callback.given_up", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_an_operator_s_url_that_is_away_is_told_later_and_of_nothing_else(
    new_installation: NewInstallation, hubspot: Sandbox, receiver: Receiver, tmp_path: Path, kind: str
) -> None:
    installation, port = new_installation(kind), free_port()
    with processes(installation.env(hubspot.url, **settings(port)), tmp_path) as started:
        worker = started.worker()
        installation.register(hubspot.state.add_tasks(tasks=3), receiver.url(installation, "gone"))
        until(lambda: len(lines(worker.log, "operator_webhook_failed")) >= 2)
        with Operator(answering(OK), port=port) as operator:
            until(lambda: received(operator))
            assert worker.stop() == 0
            assert {event.body["type"] for event in received(operator)} == {"callback.given_up"}
    assert not lines(worker.log, "host_paused")


def test_several_processes_count_every_callback_that_is_given_up_and_tell_once_a_minute(
    new_installation: NewInstallation, hubspot: Sandbox, receiver: Receiver, tmp_path: Path
) -> None:
    installation = new_installation("postgresql")
    with Operator(answering(OK)) as operator:
        with processes(installation.env(hubspot.url, **settings(operator.port)), tmp_path) as started:
            workers = [started.worker(), started.worker()]
            until(lambda: all(lines(worker.log, "worker_started") for worker in workers))
            # One after another, so that no worker takes all of them at a tick.
            for _ in range(WATCHES):
                installation.register(hubspot.state.add_tasks(), receiver.url(installation, "gone"))
            until(lambda: len(receiver.arrivals(installation)) >= WATCHES)
            until(lambda: counted(installation) == WATCHES)
            until(lambda: received(operator))
            assert [worker.stop() for worker in workers] == [0, 0]
        instants = [event.signed_at for event in received(operator)]
    assert all(later - earlier >= 60 for earlier, later in pairwise(instants))
    assert all(lines(worker.log, "callback_attempted") for worker in workers)


def counted(installation: Installation) -> int:
    with installation.engine.connect() as connection:
        return connection.scalar(select(func.sum(operator_events.c.count))) or 0
