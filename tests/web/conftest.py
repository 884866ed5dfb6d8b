"""Fixtures for the tests of the REST API."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.web.api import Api, Caller, Serve, serving
from tests.web.browser import CHROMIUM, chromium
from tests.web.wire import Web, served


@pytest.fixture
def serve(database_url: str) -> Iterator[Serve]:
    """A function that makes the API, on each kind of database in turn, with the dependencies it is given."""
    yield from _serve(database_url)


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
