"""Fixtures for the tests of the operators' page in a real browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.web.admin.browser import CHROMIUM, chromium, listening
from tests.web.api import Api


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; each gets a context of its own, with its own cookies."""
    if not CHROMIUM.exists():
        pytest.skip(f"There is no browser: Debian's package chromium makes {CHROMIUM}.")
    with chromium() as browser:
        yield browser


@pytest.fixture
def address(api: Api) -> Iterator[str]:
    """Where the page is, on a database of each kind in turn."""
    with listening(api.app) as address:
        yield address


@pytest.fixture
def sqlite_address(sqlite_api: Api) -> Iterator[str]:
    """Where the page is, on SQLite."""
    with listening(sqlite_api.app) as address:
        yield address
