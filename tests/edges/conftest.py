"""Fixtures for the tests of what talks to the outside."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from bridge.edges.database import open_engine


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A migrated database of each kind in turn, opened as the bridge opens it."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()
