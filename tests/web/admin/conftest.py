"""Fixtures for the tests of the operators' page in a real browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.web.admin.browser import listening
from tests.web.api import Api


@pytest.fixture
def address(api: Api) -> Iterator[str]:
    """The server's URL, on each kind of database in turn."""
    with listening(api.app) as address:
        yield address


@pytest.fixture
def browser(browser: Browser) -> Iterator[Browser]:
    """The file's Chromium. After a test its pages are closed: they would refresh themselves for ever."""
    yield browser
    for context in browser.contexts:
        context.close()
