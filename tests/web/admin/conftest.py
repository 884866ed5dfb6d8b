"""Fixtures for the tests of the operators' page in a real browser."""

from collections.abc import Iterator

import pytest

from tests.web.admin.browser import listening
from tests.web.api import Api


@pytest.fixture
def address(api: Api) -> Iterator[str]:
    """The server's URL, on each kind of database in turn."""
    with listening(api.app) as address:
        yield address


@pytest.fixture
def sqlite_address(sqlite_api: Api) -> Iterator[str]:
    """The server's URL, on SQLite."""
    with listening(sqlite_api.app) as address:
        yield address
