"""HubSpot and receivers may answer anything: each attempt is recorded, the schedule goes on, memory stays."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select

from bridge.db.accounts import AccountChange, Accounts, Credentials
from bridge.db.encryption import Cipher
from bridge.db.engine import reading
from bridge.db.tables import attempts, watches
from bridge.sandbox import Sandbox, Target, faults
from tests.http.receiver import Receiver as Peer
from tests.hubspot_accounts import an_account
from tests.reliability.bad_answers import POISONS, Poison, poisonous
from tests.reliability.conftest import KINDS, NewInstallation
from tests.reliability.database import KEY, Installation
from tests.reliability.ledger import FINAL
from tests.reliability.processes import errors, processes
from tests.reliability.receiver import Receiver
from tests.reliability.scenarios import run_concurrently
from tests.reliability.waiting import until

# What the sandbox can do, but for what pauses an account, and what says that a task is not known.
FAULTS = (
    *("big", "gzip-bomb", "invalid-utf-8", "nul-bytes", "nul-escape", "cut-short", "unknown-status"),
    *("html", "null", "empty", "not-json", "not-an-object", "no-status", "404-html", "301", "500", "502"),
    *("hang", "drip", "drip-headers", "short", "drop"),
)
# Valid JSON after all; and a dropped connection, which is tried again at once where it was a kept one.
AT_ONCE = {"nul-escape", "a number of 5,000 digits", "drop"}
# Room for a busy machine: what is no poison must not time out.
ENV = {"BRIDGE_LEASE_SECONDS": "6", "BRIDGE_CALLBACK_TIMEOUT": "3", "HUBSPOT_TIMEOUT": "3"}
MOST_GROWTH_BYTES = 50 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Aftermath:
    """What is saved of each watch, by the name of what it met; and what that took."""

    watches: dict[str, Row[Any]]
    attempts: dict[str, list[Row[Any]]]
    growth_bytes: int
    errors: list[dict[str, Any]]


def poisoned(installation: Installation, hubspot: Sandbox, receiver: Receiver, folder: Path) -> Aftermath:
    """Let a worker meet all of it at the same time."""
    with ExitStack() as peers, processes(installation.env(hubspot.url, **ENV), folder) as started:
        worker = started.worker()
        before = worker.memory_bytes()
        for number, (name, poison) in enumerate(POISONS.items(), start=2):
            # Each has an address and an account of its own: one that fails must not hold up another.
            peer = peers.enter_context(Peer(poisonous(poison), host=f"127.0.0.{number}"))
            add_account(installation, f"account-{number}", peer.url(f"127.0.0.{number}", ""))
            installation.register([name], peer.url(f"127.0.0.{number}"), account=f"account-{number}")
        for fault in FAULTS:
            [task_id] = hubspot.state.add_tasks()
            hubspot.state.set_fault(fault, Target(task_id=task_id), times=1)
            installation.register(
                [task_id], receiver.url(installation), metadata=json.dumps({"fault": fault})
            )
        until(lambda: all(row.state in FINAL for row in rows(installation)))
        return Aftermath(
            watches={named(row): row for row in rows(installation)},
            attempts=attempts_of(installation),
            growth_bytes=worker.peak_memory_bytes() - before,
            errors=errors(worker.log),
        )


def named(row: Row[Any]) -> str:
    """Return the name of what a watch met."""
    name: str = json.loads(row.metadata).get("fault", row.task_id)
    return name


def add_account(installation: Installation, name: str, base_url: str) -> None:
    accounts = Accounts(an_account(base_url), Cipher([KEY]))
    change = AccountChange(credentials=Credentials(access_token="sandbox-token"), base_url=base_url)
    with installation.engine.begin() as connection:
        accounts.put(connection, name, change, datetime.now(UTC))


def rows(installation: Installation) -> list[Row[Any]]:
    with reading(installation.engine) as connection:
        return list(connection.execute(select(watches)))


def attempts_of(installation: Installation) -> dict[str, list[Row[Any]]]:
    """Return the attempts by what the watch met."""
    made: dict[str, list[Row[Any]]] = defaultdict(list)
    joined = (
        select(watches.c.task_id, watches.c.metadata, attempts).join(attempts).order_by(attempts.c.number)
    )
    with reading(installation.engine) as connection:
        for row in connection.execute(joined):
            made[named(row)].append(row)
    return made


@pytest.fixture(scope="module")
def aftermaths(
    new_installation: NewInstallation,
    hubspot: Sandbox,
    receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, Future[Aftermath]]]:
    scenarios = {
        kind: partial(poisoned, new_installation(kind), hubspot, receiver, tmp_path_factory.mktemp("poison"))
        for kind in KINDS
    }
    # To pack it takes a second, in which the sandbox answers nobody.
    faults.factory("gzip-bomb")()
    with run_concurrently(scenarios) as came:
        yield came


@pytest.fixture(params=KINDS)
def aftermath(request: pytest.FixtureRequest, aftermaths: Mapping[str, Future[Aftermath]]) -> Aftermath:
    return aftermaths[request.param].result()


@pytest.mark.parametrize("name", [*FAULTS, *POISONS])
def test_hubspot_is_asked_again_and_the_end_is_told(aftermath: Aftermath, name: str) -> None:
    watch = aftermath.watches[name]
    assert (watch.outcome, watch.state) == ("completed", "delivered")
    assert watch.polls >= (1 if name in AT_ONCE else 2)


@pytest.mark.parametrize(("name", "poison"), POISONS.items())
def test_a_receiver_s_attempt_is_recorded_and_the_schedule_goes_on(
    aftermath: Aftermath, name: str, poison: Poison
) -> None:
    made = aftermath.attempts[name]
    assert (made[0].error is None) is poison.accepted
    assert made[-1].error is None
    assert [attempt.number for attempt in made] == list(range(1, len(made) + 1))


def test_memory_does_not_grow_with_what_is_sent(aftermath: Aftermath) -> None:
    assert aftermath.growth_bytes < MOST_GROWTH_BYTES


def test_no_step_crashes(aftermath: Aftermath) -> None:
    assert not aftermath.errors
