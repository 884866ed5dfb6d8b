"""What the tests of this folder share: a HubSpot, a receiver, and databases, as many as a test wants."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from bridge import sandbox
from bridge.sandbox import Sandbox, SandboxOptions
from tests.postgres import PostgresServer
from tests.reliability.database import Installation, an_installation
from tests.reliability.receiver import Receiver
from tests.reliability.scenarios import Setup

# HubSpot's quota has tests of its own.
PLENTY = 1_000_000

KINDS = ("sqlite", "postgresql")

NewInstallation = Callable[[str], Installation]
NewSetup = Callable[[str], Setup]


@pytest.fixture(scope="module")
def hubspot() -> Iterator[Sandbox]:
    """A HubSpot whose tasks are over as soon as they are asked about, and that has no quota."""
    options = SandboxOptions(
        pending_seconds=0, processing_seconds=0, burst_requests=PLENTY, daily_requests=PLENTY
    )
    with sandbox.running(options) as running:
        yield running


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def new_installation(
    postgres_server: PostgresServer,
    postgres_template: str,
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NewInstallation]:
    """Make an installation on a database of its own, of this kind."""
    with ExitStack() as installations:

        def new(kind: str) -> Installation:
            if kind == "sqlite":
                url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path_factory.mktemp('installation'))}"
            else:
                name = f"installation_{uuid4().hex}"
                url = postgres_server.create_database(name, template=postgres_template)
                installations.callback(postgres_server.drop_database, name)
            return installations.enter_context(an_installation(url))

        yield new


@pytest.fixture(scope="module")
def new_setup(
    new_installation: NewInstallation,
    hubspot: Sandbox,
    receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> NewSetup:
    """Make a setup with a new installation, on this kind of database."""

    def new(kind: str) -> Setup:
        folder = tmp_path_factory.mktemp("setup")
        return Setup(installation=new_installation(kind), hubspot=hubspot, receiver=receiver, folder=folder)

    return new
