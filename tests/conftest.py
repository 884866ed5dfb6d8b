"""Fixtures for all tests: real databases, migrated, without rows, and nobody else's."""

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import structlog
from psycopg import sql
from sqlalchemy import Engine
from structlog.testing import LogCapture

from bridge import sandbox
from bridge.db.engine import open_engine
from bridge.db.migrations import upgrade
from bridge.db.tables import metadata
from bridge.sandbox import Sandbox
from tests.hubspot_accounts import Clock
from tests.postgres import PostgresServer, temporary_server

WEB = Path(__file__).parent / "web"

# SIGTERM, which make hands on, is like Ctrl-C: the fixtures end what they have started. A shell that starts the tests in
# the background has them ignore SIGINT, and so would all that they start.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.default_int_handler)

# What the caller set for other programs would change what the tests, and all that they start, connect to and do.
FOREIGN = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PG", "OTEL_", "DYNO", "WEB_CONCURRENCY")
for name in tuple(os.environ):
    if name.upper().startswith(FOREIGN):
        del os.environ[name]

# What is left of a test's connections must not hold the locks of the next one.
END_OTHERS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
DELETE_ALL = sql.SQL("; ").join(
    sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)) for table in reversed(metadata.sorted_tables)
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the web last: they are many, and most are short, so that all processes end together."""
    items.sort(key=lambda item: item.path.is_relative_to(WEB))


def pytest_collection_finish() -> None:
    """Tell the garbage collector that what is loaded by now stays: to look through it again costs a tenth of the run."""
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole run, without fsync: only a machine's crash could lose data.

    Whoever wants to stop a server takes `own_postgres_server`.
    """
    with temporary_server() as server:
        yield server


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """A server that a test may stop and start; it has no database of ours yet."""
    with temporary_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """The name of the database that each test gets a copy of: to migrate takes longer than to copy."""
    _migrate(postgres_server.create_database("bridge_template"))
    return "bridge_template"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The address of a migrated PostgreSQL database, dropped after the test."""
    name = f"test_{uuid4().hex}"
    yield postgres_server.create_database(name, template=postgres_template)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: PostgresServer, postgres_template: str) -> str:
    return postgres_server.create_database("bridge_shared", template=postgres_template)


@pytest.fixture(scope="session")
def emptying_connection(shared_postgres_url: str) -> Iterator[psycopg.Connection]:
    """One connection for the whole run: to open one takes ten times as long as to empty all tables."""
    with psycopg.connect(shared_postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def emptied_postgres_url(shared_postgres_url: str, emptying_connection: psycopg.Connection) -> Iterator[str]:
    """The address of a migrated PostgreSQL database that is emptied after the test, and used again.

    That takes a tenth of the time of copying and dropping one. Whoever changes more than rows, or measures
    what earlier rows leave behind, is marked as `own_database`, or takes `postgres_url`.
    """
    yield shared_postgres_url
    emptying_connection.execute(END_OTHERS)
    emptying_connection.execute(DELETE_ALL)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that each test gets a copy of."""
    path = tmp_path_factory.mktemp("template") / "bridge.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The address of a migrated SQLite database."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a migrated database, of each kind in turn."""
    own = request.node.get_closest_marker("own_database")
    postgresql = "postgres_url" if own else "emptied_postgres_url"
    fixture = {"sqlite": "sqlite_url", "postgresql": postgresql}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A migrated database of each kind in turn, opened as the bridge opens it."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """A migrated SQLite database, opened as the bridge opens it."""
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def hubspot() -> Iterator[Sandbox]:
    """The simulated HubSpot, without options."""
    with sandbox.running() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logged() -> Iterator[LogCapture]:
    """All log lines, from every thread."""
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture
    structlog.configure(**before)


def _migrate(url: str) -> None:
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
