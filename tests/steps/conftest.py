"""Fixtures for the tests of the steps."""

from collections.abc import Iterator

import pytest
from structlog.testing import LogCapture

from tests.steps.rig import Rig, set_up


@pytest.fixture
def rig(database_url: str, logged: LogCapture) -> Iterator[Rig]:
    """A bridge on a database of each kind in turn."""
    with set_up(database_url, logged) as made:
        yield made
