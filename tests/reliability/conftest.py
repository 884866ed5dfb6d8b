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
from tests.reliability.database import Site, site
from tests.reliability.receiver import Receiver
from tests.reliability.scenarios import Scene

# HubSpot's quota has tests of its own.
PLENTY = 1_000_000

KINDS = ("sqlite", "postgresql")

NewSite = Callable[[str], Site]
NewScene = Callable[[str], Scene]


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
def new_site(
    postgres_server: PostgresServer,
    postgres_template: str,
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NewSite]:
    """Make a site on a database of its own, of this kind."""
    with ExitStack() as sites:

        def new(kind: str) -> Site:
            if kind == "sqlite":
                url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path_factory.mktemp('site'))}"
            else:
                name = f"site_{uuid4().hex}"
                url = postgres_server.create_database(name, template=postgres_template)
                sites.callback(postgres_server.drop_database, name)
            return sites.enter_context(site(url))

        yield new


@pytest.fixture(scope="module")
def new_scene(
    new_site: NewSite, hubspot: Sandbox, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> NewScene:
    """Make a scene on a new site, on this kind of database."""

    def new(kind: str) -> Scene:
        folder = tmp_path_factory.mktemp("scene")
        return Scene(site=new_site(kind), hubspot=hubspot, receiver=receiver, folder=folder)

    return new
