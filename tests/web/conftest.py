"""Fixtures for the tests of the REST API."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from bridge.db.engine import open_engine
from bridge.db.tables import metadata
from tests.postgres import PostgresServer
from tests.web.api import Api, Caller, Serve, serving
from tests.web.browser import CHROMIUM, chromium
from tests.web.wire import Web, served


@pytest.fixture(scope="session")
def web_postgres_url(postgres_server: PostgresServer, postgres_template: str) -> str:
    """One PostgreSQL database for all tests here: emptying it takes a tenth of the time of making a new one."""
    return postgres_server.create_database("bridge_web", template=postgres_template)


@pytest.fixture
def emptied_postgres_url(web_postgres_url: str) -> Iterator[str]:
    yield web_postgres_url
    engine = open_engine(web_postgres_url)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """A function that makes the API, on each kind of database in turn, with the dependencies it is given."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "emptied_postgres_url"}[request.param]
    yield from _serve(request.getfixturevalue(fixture))


@pytest.fixture
def api(serve: Serve) -> Api:
    """The API on each kind of database in turn."""
    return serve()


@pytest.fixture
def serve_sqlite(sqlite_url: str) -> Iterator[Serve]:
    """A function that makes the API on SQLite, for tests of what no database can change."""
    yield from _serve(sqlite_url)


@pytest.fixture
def sqlite_api(serve_sqlite: Serve) -> Api:
    """The API on SQLite."""
    return serve_sqlite()


@pytest.fixture(scope="session")
def refusing_api(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One API for all tests of refused requests, which change nothing."""
    path = shutil.copy(sqlite_template, tmp_path_factory.mktemp("refusing"))
    with serving(f"sqlite:///{path}") as api:
        yield api


@pytest.fixture(scope="session")
def refused(refusing_api: Api) -> Caller:
    """A client of `refusing_api`."""
    return refusing_api.client("refused")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """The real web process, for all tests of a file."""
    with served(tmp_path_factory.mktemp("web")) as web:
        yield web


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of a file; each opens a context of its own, with its own cookies.

    Not one for all files: while playwright runs, its process cannot run another event loop.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"There is no browser: Debian's package chromium makes {CHROMIUM}.")
    with chromium() as browser:
        yield browser


@pytest.fixture
def port(web: Web) -> int:
    """The port of `web`."""
    return web.port


def _serve(url: str) -> Iterator[Serve]:
    with ExitStack() as stack:

        def make(**dependencies: Any) -> Api:
            return stack.enter_context(serving(url, **dependencies))

        yield make
