"""The database goes away under load and comes back: nobody is restarted, nobody spins, nothing is lost."""

import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
import requests

from bridge.db.engine import BUSY_SECONDS, open_engine
from bridge.db.migrations import upgrade
from bridge.sandbox import Sandbox
from tests.postgres import PostgresServer, temporary_server
from tests.reliability.conftest import NewInstallation
from tests.reliability.database import Installation, an_installation
from tests.reliability.deployments import Deployment, cpu_share, deployment
from tests.reliability.processes import lines
from tests.reliability.receiver import Receiver
from tests.reliability.scenarios import run_concurrently
from tests.reliability.waiting import until

# Longer than the longest pause between two questions, and than a lease.
AWAY_SECONDS = 30.0
STOPPING_SECONDS = 3.0
READING_SECONDS = 5.0
LOCKED_SECONDS = BUSY_SECONDS + 2
# A process that asks without a pause uses all of a processor, or half of one on a busy machine.
MOST_CPU_SHARE = 0.25
# And it asks a hundred times a second, where the pauses allow for a few times in all.
MOST_ASKED = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """What was seen while the database was away, and what does not add up after it."""

    cpu_share: float
    asked: int
    problems: list[str]
    errors: list[dict[str, Any]]
    twice: int
    answers: dict[str, requests.Response | None] = field(default_factory=dict)
    exit_status: int | None = None


def seen(bridge: Deployment, cpu_share: float, **others: Any) -> Outage:
    """Wait until all is told, and judge."""
    until(bridge.ledger.settled)
    return Outage(
        cpu_share=cpu_share,
        asked=len(lines(bridge.worker.log, "database_away")),
        problems=bridge.ledger.problems(),
        errors=bridge.errors(),
        twice=bridge.arrivals() - len(bridge.ledger.promises),
        **others,
    )


def asked(bridge: Deployment) -> dict[str, requests.Response | None]:
    """Call the web process as clients and operators do."""
    body = {"task_id": "AAAAEZ6whGI", "callback_url": bridge.receiver.url(bridge.installation)}
    return {
        "register": bridge.api.call("POST", "/v1/watches", body),
        "readyz": bridge.api.call("GET", "/readyz"),
        "healthz": bridge.api.call("GET", "/healthz"),
    }


@contextmanager
def own_server() -> Iterator[tuple[PostgresServer, Installation]]:
    """A PostgreSQL that may be stopped, and an installation on it."""
    with temporary_server() as server:
        url = server.create_database("bridge")
        engine = open_engine(url)
        upgrade(engine)
        engine.dispose()
        with an_installation(url) as installation:
            yield server, installation


def postgresql_goes_away(
    server: PostgresServer, installation: Installation, hubspot: Sandbox, receiver: Receiver, folder: Path
) -> Outage:
    with deployment(installation, hubspot, receiver, folder) as bridge:
        bridge.fill()
        server.stop()
        share = cpu_share(bridge.worker, AWAY_SECONDS)
        answers = asked(bridge)
        server.start()
        bridge.register()
        return seen(bridge, share, answers=answers)


def worker_is_stopped_meanwhile(
    server: PostgresServer, installation: Installation, hubspot: Sandbox, receiver: Receiver, folder: Path
) -> Outage:
    with deployment(installation, hubspot, receiver, folder) as bridge:
        bridge.fill()
        server.stop("immediate")
        bridge.worker.send(signal.SIGTERM)
        share = cpu_share(bridge.worker, STOPPING_SECONDS)
        server.start()
        exit_status = bridge.worker.wait()
        bridge.processes.worker()
        return seen(bridge, share, exit_status=exit_status)


def postgresql_only_reads(
    server: PostgresServer, installation: Installation, hubspot: Sandbox, receiver: Receiver, folder: Path
) -> Outage:
    """As it is for a moment when a follower is promoted, or a plan's limit is reached."""
    with deployment(installation, hubspot, receiver, folder) as bridge:
        bridge.fill()
        set_read_only(server, "on")
        share = cpu_share(bridge.worker, READING_SECONDS)
        answers = asked(bridge)
        set_read_only(server, "off")
        bridge.register()
        return seen(bridge, share, answers=answers)


def set_read_only(server: PostgresServer, setting: LiteralString) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("ALTER DATABASE bridge SET default_transaction_read_only = " + setting)
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'bridge'")


def sqlite_is_locked(
    installation: Installation, hubspot: Sandbox, receiver: Receiver, folder: Path
) -> Outage:
    with deployment(installation, hubspot, receiver, folder) as bridge:
        bridge.fill()
        path = installation.url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            locked_at = time.monotonic()
            answers = asked(bridge)
            share = cpu_share(bridge.worker, max(0.1, locked_at + LOCKED_SECONDS - time.monotonic()))
            other.execute("ROLLBACK")
        bridge.register()
        return seen(bridge, share, answers=answers)


Outages = Mapping[str, Future[Outage]]


@pytest.fixture(scope="module")
def outages(
    new_installation: NewInstallation,
    hubspot: Sandbox,
    receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Outages]:
    """All outages, at the same time."""

    def on(scenario: Any, *where: Any) -> Any:
        return partial(scenario, *where, hubspot, receiver, tmp_path_factory.mktemp("deployment"))

    with own_server() as one, own_server() as another, own_server() as third:
        scenarios = {
            "postgresql": on(postgresql_goes_away, *one),
            "postgresql, stopping": on(worker_is_stopped_meanwhile, *another),
            "postgresql, read-only": on(postgresql_only_reads, *third),
            "sqlite": on(sqlite_is_locked, new_installation("sqlite")),
        }
        with run_concurrently(scenarios) as came:
            yield came


EVERY = pytest.mark.parametrize(
    "where", ["postgresql", "postgresql, stopping", "postgresql, read-only", "sqlite"]
)


@EVERY
def test_nothing_is_lost_and_nothing_is_told_twice(outages: Outages, where: str) -> None:
    outage = outages[where].result()
    assert not outage.problems
    assert not outage.twice


@EVERY
def test_nobody_asks_without_a_pause(outages: Outages, where: str) -> None:
    outage = outages[where].result()
    assert outage.cpu_share < MOST_CPU_SHARE
    assert outage.asked < MOST_ASKED


@EVERY
def test_an_outage_is_no_error_of_ours(outages: Outages, where: str) -> None:
    assert not outages[where].result().errors


def test_a_worker_that_is_stopped_meanwhile_saves_what_it_has_and_ends_well(outages: Outages) -> None:
    assert outages["postgresql, stopping"].result().exit_status == 0


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("postgresql", "The database cannot be reached."),
        ("postgresql, read-only", "The database can only be read at the moment."),
        ("sqlite", "The database is busy."),
    ],
)
def test_the_api_asks_to_come_again(outages: Outages, where: str, why: str) -> None:
    answer = outages[where].result().answers["register"]
    assert answer is not None
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["detail"] == why


def test_readyz_says_why(outages: Outages) -> None:
    answer = outages["postgresql"].result().answers["readyz"]
    assert answer is not None
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["The database does not answer."]


def test_healthz_stays_well(outages: Outages) -> None:
    answer = outages["postgresql"].result().answers["healthz"]
    assert answer is not None
    assert answer.ok
