"""Imports that were not started, or may have been: HubSpot's response is passed on, and counts for the account."""

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.classification import classify_start
from bridge.core.http_results import NoToken, NoTokenYet
from bridge.db import breakers
from bridge.db.accounts import Account
from bridge.sandbox import Reply, Sandbox, Target
from bridge.steps import start_import
from bridge.steps.start_import import NoTaskId, NotStarted, UnknownOutcome
from tests.hubspot_accounts import NONE, OAUTH, Clock, an_account, counts_of_default, limits_of_default
from tests.makers import NOW, later
from tests.steps.starting import JSON, START, started, starts

Refused = Callable[[str | Reply], NoTaskId]


@pytest.fixture
def refused(hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account) -> Refused:
    """A function that starts an import at which HubSpot fails, and returns the result."""

    def refused(fault: str | Reply) -> NoTaskId:
        hubspot.state.set_fault(fault)
        result = started(sqlite_engine, clock, account)
        assert isinstance(result, NoTaskId)
        return result

    return refused


# Refused


def test_hubspot_s_refusal_is_told_as_it_is(sqlite_engine: Engine, clock: Clock, account: Account) -> None:
    result = started(sqlite_engine, clock, account, '{"access": "PRIVATE"}')
    assert isinstance(result, NoTaskId)
    assert result.status_code == 400
    hubspot = json.loads(result.hubspot)
    assert hubspot["category"] == "VALIDATION_ERROR"
    assert "Some required fields were not set: [url]" in hubspot["message"]
    assert result.reason == "HubSpot answered 400; the import was not started."
    assert limits_of_default(sqlite_engine).breaker == CircuitBreaker()


@pytest.mark.parametrize(
    ("fault", "status_code", "pause_seconds"),
    [("401", 401, 30), ("403-ban", 403, 30), ("429", 429, 10), ("477", 477, 60)],
)
def test_a_refusal_of_the_account_pauses_it(
    refused: Refused,
    sqlite_engine: Engine,
    clock: Clock,
    *,
    fault: str,
    status_code: int,
    pause_seconds: float,
) -> None:
    result = refused(fault)
    assert result.status_code == status_code
    assert json.loads(result.hubspot)["status"] == "error"
    paused_until = limits_of_default(sqlite_engine).breaker.paused_until
    assert paused_until == clock() + timedelta(seconds=pause_seconds)


def test_a_missing_scope_to_start_imports_holds_up_no_polls(
    refused: Refused, sqlite_engine: Engine, clock: Clock
) -> None:
    assert refused("403-scopes").status_code == 403
    assert limits_of_default(sqlite_engine).breaker == CircuitBreaker()
    assert counts_of_default(sqlite_engine, clock().date()) == (1, 1)


# An hour ago, HubSpot asked the account to pause; nobody has asked it anything since.
OVER = CircuitBreaker(paused_at=NOW, paused_until=later(3), reason="429")


@pytest.fixture
def paused(sqlite_engine: Engine, clock: Clock) -> Callable[[CircuitBreaker], None]:
    """A function that sets the account's breaker."""
    clock.now = later(3_600)

    def paused(breaker: CircuitBreaker) -> None:
        with sqlite_engine.begin() as connection:
            held = breakers.lock_account_limits(connection, ["default"])["default"]
            breakers.save_account_limits(connection, {"default": replace(held, breaker=breaker)})

    paused(OVER)
    return paused


@pytest.mark.usefixtures("paused")
def test_a_missing_scope_to_start_imports_makes_another_trial_due(
    refused: Refused, sqlite_engine: Engine, clock: Clock
) -> None:
    refused("403-scopes")
    assert limits_of_default(sqlite_engine).breaker == replace(OVER, paused_until=clock())


@pytest.mark.usefixtures("paused")
def test_a_start_that_another_request_carries_out_makes_another_trial_due(
    sqlite_engine: Engine, clock: Clock, account: Account
) -> None:
    result = started(sqlite_engine, clock, account, claim_hubspot_call=lambda: False)
    assert isinstance(result, NotStarted)
    assert limits_of_default(sqlite_engine).breaker == replace(OVER, paused_until=clock())


@pytest.mark.usefixtures("paused")
def test_a_start_that_fails_before_hubspot_is_asked_makes_another_trial_due(
    sqlite_engine: Engine, clock: Clock, account: Account
) -> None:
    def fail() -> bool:
        raise OperationalError("UPDATE", {}, Exception("The database is away."))

    with pytest.raises(OperationalError):
        started(sqlite_engine, clock, account, claim_hubspot_call=fail)
    assert limits_of_default(sqlite_engine).breaker == replace(OVER, paused_until=clock())


def test_a_start_that_is_no_longer_the_trial_shortens_no_pause(
    sqlite_engine: Engine, clock: Clock, account: Account, paused: Callable[[CircuitBreaker], None]
) -> None:
    moving = CircuitBreaker(paused_at=later(3_601), paused_until=later(18_000), reason="477")

    def pause_meanwhile() -> bool:
        clock.passes(1)
        paused(moving)
        return False

    started(sqlite_engine, clock, account, claim_hubspot_call=pause_meanwhile)
    assert limits_of_default(sqlite_engine).breaker == moving


def test_a_page_is_told_as_text(refused: Refused) -> None:
    result = refused("503")
    told = json.loads(result.hubspot)
    assert isinstance(told, str)
    assert "<h1>HubSpot is unavailable</h1>" in told
    assert "may have been started or not" in result.reason


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", None),
        (b"null", None),
        (b"\xef\xbb\xbf null", None),
        (b"\x0cnull\x0b", None),
        (b"[]", []),
        (b'{"links":{}}', {"links": {}}),
        (b'{"id":null}', {"id": None}),
        (b'{"id":17}', {"id": 17}),
        (b'{"id":""}', {"id": ""}),
        (b'{"id":"two words"}', {"id": "two words"}),
        (b'{"id":"a\\u0000b"}', {"id": "a\0b"}),
        (b'{"id":"' + b"x" * 256 + b'"}', {"id": "x" * 256}),
        (b'{"id":"AAAAEZ6whGI"', '{"id":"AAAAEZ6whGI"'),
        (b"<html>Please sign in</html>", "<html>Please sign in</html>"),
    ],
)
def test_an_answer_without_an_id_is_told_as_it_is(refused: Refused, body: bytes, told: object) -> None:
    result = refused(Reply(status_code=202, body=body))
    assert result.status_code == 202
    assert json.loads(result.hubspot) == told
    assert "may have been started or not" in result.reason


def test_a_long_page_is_cut(refused: Refused) -> None:
    told = json.loads(refused(Reply(status_code=500, body=b"\xff\x00" + b"x" * 100_000)).hubspot)
    assert told.startswith("\ufffd\ufffdxxx")
    assert len(told) == 2000


def test_hubspot_s_json_is_passed_on_as_it_came(refused: Refused) -> None:
    """Parsed and written again, numbers could change, or become invalid JSON."""
    body = b'{"status": "error", "n": 1.10, "huge": 1e400, "large": 12345678901234567890}'
    assert refused(Reply(status_code=400, headers=JSON, body=body)).hubspot == body.decode()


# Not started


@pytest.mark.parametrize("fault", ["drop", "hang"])
def test_a_lost_answer_is_told_and_the_import_not_repeated(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account, fault: str
) -> None:
    started(sqlite_engine, clock, account)
    hubspot.state.set_fault(fault, START)
    result = started(sqlite_engine, clock, account)
    assert isinstance(result, UnknownOutcome)
    assert "may have been started or not; the bridge does not repeat it" in result.reason
    assert starts(hubspot) == 2
    assert counts_of_default(sqlite_engine, clock().date()) == (2, 1)


def test_where_nobody_listens_nothing_was_started(sqlite_engine: Engine, clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    result = started(sqlite_engine, clock, an_account(f"http://127.0.0.1:{port}"))
    assert result == NotStarted(reason="HubSpot could not be asked: connection refused.")


def test_without_credentials_nothing_was_started(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock
) -> None:
    result = started(sqlite_engine, clock, an_account(hubspot.url, NONE))
    assert isinstance(result, NotStarted)
    assert "has no HubSpot credentials" in result.reason
    assert starts(hubspot) == 0
    # Workers may have some, and go on: a request without any neither pauses the account nor takes its trial.
    with sqlite_engine.connect() as connection:
        assert breakers.all_account_limits(connection) == {}


@pytest.mark.parametrize(
    ("fault", "why", "wait"),
    [
        ("400", "refresh of the OAuth token", None),
        ("500", "could not be refreshed", timedelta(seconds=5)),
    ],
)
def test_without_a_token_nothing_was_started(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, *, fault: str, why: str, wait: timedelta | None
) -> None:
    """When the failure is temporary, the result says when to try again."""
    hubspot.state.set_fault(fault, Target(endpoint="oauth-token"))
    result = started(sqlite_engine, clock, an_account(hubspot.url, OAUTH))
    assert isinstance(result, NotStarted)
    assert why in result.reason
    assert result.retry_at == (clock() + wait if wait else None)
    assert starts(hubspot) == 0


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (NoTokenYet(reason="It is being refreshed.", earlier_refusals=1), timedelta(seconds=5)),
        (NoToken(reason="The token server is away.", is_temporary=True, earlier_refusals=1), None),
    ],
)
def test_after_a_401_only_a_token_that_is_still_being_refreshed_is_worth_a_short_wait(
    answer: NoToken, wait: timedelta | None
) -> None:
    """A token server that is away leaves the account paused."""
    classified = classify_start(answer, now=NOW)
    result = start_import._outcome(
        lambda _: pytest.fail("nothing was started"), "cms", answer, classified, NOW
    )
    assert isinstance(result, NotStarted)
    assert result.retry_at == (NOW + wait if wait else None)
