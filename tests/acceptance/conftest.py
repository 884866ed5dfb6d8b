"""Fixtures for the tests of HubSpot as it really is."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from structlog.testing import LogCapture

from tests.acceptance.stage import Setting, Stage, staged

NewStage = Callable[..., Stage]


@pytest.fixture
def new_stage(sqlite_url: str, logged: LogCapture) -> Iterator[NewStage]:
    """Makes a stage on SQLite, for what has nothing to do with the database."""
    yield from _stages(sqlite_url, logged)


@pytest.fixture
def each_stage(database_url: str, logged: LogCapture) -> Iterator[NewStage]:
    """Makes a stage on a database of each kind in turn."""
    yield from _stages(database_url, logged)


def _stages(url: str, logged: LogCapture) -> Iterator[NewStage]:
    with ExitStack() as stack:

        def make(setting: Setting | None = None, **options: Any) -> Stage:
            return stack.enter_context(staged(url, logged, setting, **options))

        yield make
