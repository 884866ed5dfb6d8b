"""The account check: each kind of response becomes a summary that says what the operator should do."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from email.utils import format_datetime

import pytest
from sqlalchemy import Engine

from bridge.core.quota import QuotaLeft
from bridge.db.accounts import Account, Credentials
from bridge.db.engine import open_engine
from bridge.sandbox import Reply, Sandbox, Target
from bridge.steps import check_account
from bridge.steps.check_account import AccountCheck
from tests.http.held_server import HeldServer, response
from tests.hubspot_accounts import (
    NONE,
    OAUTH,
    Clock,
    an_account,
    checked,
    hubspot_calls,
)
from tests.makers import NOW

Check = Callable[[Account], AccountCheck]
HTML = {"Content-Type": "text/html"}


@pytest.fixture
def check(sqlite_url: str, clock: Clock) -> Iterator[Check]:
    """A function that checks an account, on a database of its own."""
    engine = open_engine(sqlite_url)
    yield functools.partial(checked, engine, clock)
    engine.dispose()


def test_good_credentials_are_said_to_be_good(hubspot: Sandbox, check: Check) -> None:
    found = check(an_account(hubspot.url))
    assert replace(found, clock_ahead_seconds=None) == AccountCheck(
        ok=True,
        summary="HubSpot takes the credentials. 99 of 100 requests are left now. "
        "999,999 of 1,000,000 requests are left today.",
        status_code=200,
        quota=QuotaLeft(burst=100, burst_remaining=99, daily=1_000_000, daily_remaining=999_999),
        clock_ahead_seconds=None,
    )


def test_an_oauth_app_is_told_nothing_of_the_day(hubspot: Sandbox, check: Check) -> None:
    found = check(an_account(hubspot.url, OAUTH))
    assert found.ok
    assert found.summary == "HubSpot takes the credentials. 99 of 100 requests are left now."


def test_without_hubspot_s_headers_nothing_is_said_of_the_quota(check: Check) -> None:
    with HeldServer(response("404 Not Found", {"status": "error", "message": "No."})) as server:
        server.let_go()
        found = check(an_account(server.url))
    assert (found.summary, found.quota) == ("HubSpot takes the credentials.", None)


@pytest.mark.parametrize(
    ("reply", "status_code"),
    [
        (Reply(status_code=400, body=b'{"status": "error"}'), 400),
        (Reply(status_code=404, body=b'{"message": "no such task", "category": "OBJECT_NOT_FOUND"}'), 404),
        (Reply(status_code=200, body=b'{"status": "COMPLETE"}'), 200),
        (Reply(status_code=202, headers={"Content-Type": "application/json"}, body=b"null"), 202),
    ],
)
def test_whatever_else_hubspot_says_in_json_the_credentials_work(
    hubspot: Sandbox, check: Check, reply: Reply, status_code: int
) -> None:
    hubspot.state.set_fault(reply)
    found = check(an_account(hubspot.url))
    assert (found.ok, found.status_code) == (True, status_code)


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        (NOW, 0.0),
        (NOW - timedelta(milliseconds=900), 0.0),  # a Date has whole seconds
        (NOW - timedelta(seconds=90), 89.0),
        (NOW + timedelta(seconds=90), -90.0),
        (None, None),
    ],
)
def test_it_tells_how_far_our_clock_is_from_hubspot_s(
    sqlite_engine: Engine, date: datetime | None, ahead: float | None
) -> None:
    told = f"Date: {format_datetime(date, usegmt=True)}\r\n" if date else ""
    with HeldServer(f"HTTP/1.1 200 OK\r\n{told}Content-Length: 2\r\n\r\n{{}}".encode()) as server:
        server.let_go()
        asking = hubspot_calls(sqlite_engine, lambda: NOW, an_account(server.url), timeout_seconds=2)
        found = check_account.check(asking, "default")
    assert found
    assert found.clock_ahead_seconds == ahead


def test_a_wrong_token_is_named(hubspot: Sandbox, check: Check) -> None:
    found = check(an_account(hubspot.url, Credentials(access_token="wrong")))
    assert (found.ok, found.status_code) == (False, 401)
    assert found.summary.startswith("HubSpot answered 401: The OAuth token used to make this call expired ")
    assert found.summary.endswith(" day(s) ago. Give the account a valid token.")


@pytest.mark.parametrize(
    ("fault", "status_code", "words"),
    [
        ("401-expired", 401, "expired 60 second(s) ago. Give the account a valid token."),
        (
            "403-scopes",
            403,
            "one of the scopes files, files.read, files.ui_hidden.read for tasks of the kind file-import.",
        ),
        ("403-ban", 403, "This account was banned. HubSpot has banned the account's app."),
        ("403", 403, "HubSpot answered 403: You do not have permission to do this."),
        ("429", 429, "You have reached your ten_secondly_rolling limit. HubSpot wants no request for 10 s."),
        ("429-daily", 429, "You have reached your daily limit. HubSpot wants no request for 900 s."),
        ("477", 477, "This account is being migrated. HubSpot wants no request for 60 s."),
        (
            "423",
            423,
            "HubSpot answered 423: This resource is locked. HubSpot is out of order, or the way to it.",
        ),
        ("500", 500, "HubSpot answered 500: internal error. HubSpot is out of order, or the way to it."),
        ("502", 502, "HubSpot answered 502. HubSpot is out of order, or the way to it."),
    ],
)
def test_each_refusal_is_explained(
    hubspot: Sandbox, check: Check, fault: str, status_code: int, words: str
) -> None:
    hubspot.state.set_fault(fault)
    found = check(an_account(hubspot.url))
    assert (found.ok, found.status_code) == (False, status_code)
    assert found.summary.endswith(words)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status_code=200, headers=HTML, body=b"<html>Please sign in</html>"),
        Reply(status_code=302, headers={"Location": "/sign-in"}),
        Reply(status_code=400, headers=HTML, body=b"<html>Bad request</html>"),
        Reply(status_code=401, headers=HTML, body=b"<html>Sign in</html>"),
        Reply(status_code=404, headers=HTML, body=b"<html>Page not found</html>"),
        Reply(status_code=407, headers={"Content-Type": "text/plain"}, body=b"proxy"),
    ],
)
def test_what_is_not_hubspot_s_api_is_not_taken_for_it(hubspot: Sandbox, check: Check, reply: Reply) -> None:
    hubspot.state.set_fault(reply)
    found = check(an_account(hubspot.url))
    assert not found.ok
    assert found.summary == (
        f"{hubspot.url} answered {reply.status_code}, and not in JSON: that is not HubSpot's API, or something on "
        "the way answers in its place. Check the base URL and the proxy."
    )


def test_without_credentials_it_says_how_to_set_them(hubspot: Sandbox, check: Check) -> None:
    found = check(an_account(hubspot.url, NONE))
    assert (found.ok, found.status_code, found.quota) == (False, None, None)
    assert found.summary.startswith("The account 'default' has no HubSpot credentials.")


def test_a_bad_refresh_token_is_named(hubspot: Sandbox, check: Check) -> None:
    found = check(an_account(hubspot.url, replace(OAUTH, refresh_token="wrong")))
    assert not found.ok
    assert "BAD_REFRESH_TOKEN" in found.summary


@pytest.mark.parametrize(("fault", "why"), [("drop", "without an answer"), ("hang", "timed out after 2 s")])
def test_an_answer_that_does_not_come_is_named(hubspot: Sandbox, check: Check, fault: str, why: str) -> None:
    hubspot.state.set_fault(fault)
    found = check(an_account(hubspot.url))
    assert (found.ok, found.status_code, found.quota) == (False, None, None)
    assert found.summary.startswith(f"HubSpot did not answer at {hubspot.url}: ")
    assert found.summary.endswith(f"{why}.")


def test_no_secret_is_shown(hubspot: Sandbox, check: Check) -> None:
    hubspot.state.set_fault("401", Target(token="sandbox-token"))
    assert "sandbox-token" not in repr(check(an_account(hubspot.url)))


def test_it_can_be_told_as_json(hubspot: Sandbox, engine: Engine, clock: Clock) -> None:
    told = asdict(checked(engine, clock, an_account(hubspot.url, OAUTH)))
    assert told["quota"] == {
        "burst": 100,
        "burst_remaining": 99,
        "daily": None,
        "daily_remaining": None,
    }
