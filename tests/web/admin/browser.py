"""A real Chromium, if it is installed, and a real server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, ViewportSize
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from tests.web.admin.operator import csrf_token
from tests.web.api import ADMIN_KEY

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 800}


class _Quiet(WSGIRequestHandler):
    """Logs nothing; drops a connection on which nothing comes for `timeout` seconds."""

    timeout = 1

    def log(self, *_: Any) -> None:
        pass


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    """Serve an application on loopback, and yield its address."""
    server = ThreadedWSGIServer("127.0.0.1", 0, app, handler=_Quiet)
    # So that closing it waits for its requests: afterwards, one could still hold a connection to the database.
    server.daemon_threads = False
    # It looks so often whether it is to stop.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sign_in(page: Page, address: str, key: str = ADMIN_KEY) -> None:
    """Sign in by the form, as an operator does."""
    page.goto(f"{address}/admin/sign-in")
    page.get_by_label("Admin's API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{address}/admin")


def signed_in(browser: Browser, address: str, **context: Any) -> Page:
    """Return an empty page in a new context that is signed in, without the time that the form takes."""
    page = browser.new_context(reduced_motion="reduce", **context).new_page()
    requests, url = page.context.request, f"{address}/admin/sign-in"
    given: dict[str, str | float | bool] = {
        "csrf_token": csrf_token(requests.get(url).text()),
        "key": ADMIN_KEY,
    }
    assert requests.post(url, form=given).ok
    return page


def send(button: Locator) -> None:
    """Press a form's button, and wait until the page that answers is there as a whole.

    A click alone waits only for its beginning.
    """
    with button.page.expect_event("load"):
        button.click()


def browser_errors(page: Page) -> list[str]:
    """Return a list to which the page's later errors are added: failed scripts, violations of the policy."""
    told: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            told.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: told.append(str(error)))
    return told
