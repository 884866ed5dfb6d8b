"""An operator who uses the page, with Flask's test client as the browser."""

import re
from html import unescape
from typing import Any

from werkzeug.test import Client, TestResponse

from tests.web.api import ADMIN_KEY, Api


def csrf_token(html: str) -> str:
    """Return the token of a page's forms."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', html)
    assert found, html
    return unescape(found[1])


class Operator:
    """A user of the page, with a separate cookie jar."""

    def __init__(self, api: Api) -> None:
        self.browser: Client = api.app.test_client()

    def get(self, path: str = "", **options: Any) -> TestResponse:
        """Open a page."""
        return self.browser.get(f"/admin{path}", **options)

    def submit(self, path: str, form: dict[str, Any] | None = None, **options: Any) -> TestResponse:
        """Submit a form with a valid CSRF token."""
        given = {"csrf_token": csrf_token(self.get("/sign-in").text), **(form or {})}
        return self.browser.post(f"/admin{path}", data=given, **options)

    def sign_in(self, key: str = ADMIN_KEY, **options: Any) -> TestResponse:
        return self.submit("/sign-in", {"key": key}, **options)


def an_operator(api: Api) -> Operator:
    """Return an operator who is signed in with BRIDGE_ADMIN_KEY."""
    operator = Operator(api)
    assert operator.sign_in().status_code == 303
    return operator
