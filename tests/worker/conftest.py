"""Fixtures for the tests of the worker: those of the steps, which it drives."""

from collections.abc import Iterator

import pytest
from structlog.testing import LogCapture

from bridge.db.engine import open_engine
from bridge.db.migrations import upgrade
from tests.postgres import PostgresServer
from tests.steps.conftest import account, rig
from tests.steps.rig import Rig, set_up

__all__ = ["account", "rig"]


@pytest.fixture
def own_rig(own_postgres_server: PostgresServer, logged: LogCapture) -> Iterator[Rig]:
    """A bridge on a PostgreSQL that the test may stop."""
    url = own_postgres_server.create_database("bridge")
    engine = open_engine(url)
    upgrade(engine)
    engine.dispose()
    with set_up(url, logged) as made:
        yield made
