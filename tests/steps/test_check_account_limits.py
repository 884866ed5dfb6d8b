"""What an account check costs: it counts in the quota and in the day, and only a success changes the breaker."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from bridge import sandbox
from bridge.core import quota
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.quota import interval_seconds
from bridge.db import breakers
from bridge.sandbox import Sandbox, SandboxOptions
from bridge.steps import check_account
from tests.hubspot_accounts import (
    NONE,
    OAUTH,
    Clock,
    an_account,
    checked,
    counts_of_default,
    hubspot_calls,
    limits_of_default,
)
from tests.makers import NOW, later


@pytest.mark.parametrize("version", ["v3", "2026-03", "2026-09"])
def test_a_success_is_no_error_in_hubspot_s_count_nor_in_ours(
    hubspot: Sandbox, engine: Engine, clock: Clock, version: str
) -> None:
    assert checked(engine, clock, an_account(hubspot.url, api_version=version)).ok
    assert hubspot.state.ledger()["status_codes"] == {"200": 1}
    assert counts_of_default(engine, clock().date()) == (1, 0)


@pytest.mark.parametrize(("fault", "errors"), [(None, 0), ("500", 1), ("drop", 1)])
def test_it_counts_in_the_quota_and_the_day(
    hubspot: Sandbox, engine: Engine, clock: Clock, fault: str | None, errors: int
) -> None:
    if fault:
        hubspot.state.set_fault(fault)
    account = an_account(hubspot.url)
    checked(engine, clock, account)
    held = limits_of_default(engine)
    seconds = interval_seconds(account.rate, replace(held.usage, daily_remaining=None), now=clock())
    assert held.usage.free_at == clock() + timedelta(seconds=seconds)
    assert counts_of_default(engine, clock().date()) == (1, errors)


def test_what_was_not_sent_does_not_count(hubspot: Sandbox, engine: Engine, clock: Clock) -> None:
    checked(engine, clock, an_account(hubspot.url, NONE))
    assert counts_of_default(engine, clock().date()) == (0, 0)


def test_it_remembers_what_the_headers_say(hubspot: Sandbox, engine: Engine, clock: Clock) -> None:
    checked(engine, clock, an_account(hubspot.url))
    assert limits_of_default(engine).usage.daily_remaining == 999_999


PAUSED = CircuitBreaker(paused_at=NOW, paused_until=later(900), pause_seconds=900, reason="401")


@pytest.fixture
def paused(engine: Engine, clock: Clock) -> None:
    """Pause the account for another 15 minutes."""
    clock.now = later(1)
    with engine.begin() as connection:
        held = breakers.lock_account_limits(connection, ["default"])["default"]
        breakers.save_account_limits(connection, {"default": replace(held, breaker=PAUSED)})


@pytest.mark.usefixtures("paused")
def test_after_a_success_the_next_poll_is_the_trial_at_once(
    hubspot: Sandbox, engine: Engine, clock: Clock
) -> None:
    assert checked(engine, clock, an_account(hubspot.url)).ok
    assert limits_of_default(engine).breaker == replace(PAUSED, paused_at=later(1), paused_until=later(1))


@pytest.mark.parametrize(
    "fault", ["401", "403-ban", "403", "404-html", "429", "429-daily", "477", "500", "drop"]
)
@pytest.mark.parametrize("breaker", [CircuitBreaker(), PAUSED], ids=["well", "paused"])
def test_a_check_that_fails_changes_nothing(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, fault: str, breaker: CircuitBreaker
) -> None:
    """The workers may have other credentials than the process that checks."""
    hubspot.state.set_fault(fault)
    with sqlite_engine.begin() as connection:
        held = breakers.lock_account_limits(connection, ["default"])["default"]
        breakers.save_account_limits(connection, {"default": replace(held, breaker=breaker)})
    for _ in range(12):
        assert not checked(sqlite_engine, clock, an_account(hubspot.url)).ok
    assert limits_of_default(sqlite_engine).breaker == breaker


@pytest.mark.usefixtures("paused")
@pytest.mark.parametrize("account", [{"credentials": NONE}, {"credentials": NONE, "unreadable": True}])
def test_a_process_without_the_credentials_says_nothing_of_the_account(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: dict[str, Any]
) -> None:
    before = limits_of_default(engine)
    assert not checked(engine, clock, an_account(hubspot.url, **account)).ok
    assert limits_of_default(engine) == before


def test_it_goes_out_though_the_quota_is_used_up(hubspot: Sandbox, engine: Engine, clock: Clock) -> None:
    account = an_account(hubspot.url)
    assert all(checked(engine, clock, account).ok for _ in range(6))
    assert quota.grant(account.rate, limits_of_default(engine).usage, wanted=1, now=clock()) == 0


@pytest.mark.parametrize("daily_requests", [1_000_000, 21])
def test_however_many_there_are_the_polls_wait_for_one_turn(
    engine: Engine, clock: Clock, daily_requests: int
) -> None:
    with sandbox.running(SandboxOptions(daily_requests=daily_requests)) as hubspot:
        account = an_account(hubspot.url)
        assert all(checked(engine, clock, account).ok for _ in range(20))
    usage = limits_of_default(engine).usage
    wait = quota.wait_seconds(account.rate, usage, now=clock())
    assert 0 < wait <= interval_seconds(account.rate, usage, now=clock()) <= 900


def test_a_token_without_the_scope_of_file_imports_may_be_good_for_others(
    hubspot: Sandbox, engine: Engine, clock: Clock
) -> None:
    hubspot.state.set_fault("403-scopes")
    assert not checked(engine, clock, an_account(hubspot.url)).ok
    assert limits_of_default(engine).breaker == CircuitBreaker()
    assert counts_of_default(engine, clock().date()) == (1, 1)


def test_an_account_that_nobody_has_set_is_not_asked_and_leaves_no_trace(
    hubspot: Sandbox, engine: Engine, clock: Clock
) -> None:
    asking = hubspot_calls(engine, clock, an_account(hubspot.url))
    assert check_account.check(asking, "typo") is None
    with engine.connect() as connection:
        assert breakers.all_account_limits(connection) == {}


def test_a_client_secret_that_was_mended_is_tried_at_once(
    hubspot: Sandbox, engine: Engine, clock: Clock
) -> None:
    wrong = an_account(hubspot.url, replace(OAUTH, client_secret="wrong"))
    assert "HubSpot does not know the app" in checked(engine, clock, wrong).summary
    assert checked(engine, clock, an_account(hubspot.url, OAUTH)).ok
