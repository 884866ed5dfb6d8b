"""Starting an import: once, within the quota, and with a watch for its task."""

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.quota import Rate
from bridge.core.watch import State, Watch
from bridge.db import watches
from bridge.db.accounts import Account
from bridge.db.engine import open_engine, reading
from bridge.db.migrations import upgrade
from bridge.sandbox import Reply, Sandbox
from bridge.steps.register import ConflictingRegistration, Registered
from bridge.steps.start_import import NoTaskId, NotStarted, Unwatched
from tests.http.held_server import HeldServer, response
from tests.hubspot_accounts import (
    OAUTH,
    Clock,
    an_account,
    counts_of_default,
    hubspot_calls,
    limits_of_default,
)
from tests.makers import real_clock
from tests.postgres import PostgresServer
from tests.steps.starting import JSON, START, started, starts


def stored(engine: Engine, watch_id: str) -> Watch | None:
    with reading(engine) as connection:
        return watches.get(connection, watch_id)


# Started and watched


def test_a_started_import_is_watched(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    result = started(engine, clock, account)
    assert isinstance(result, Registered)
    assert result.new
    assert result.watch == stored(engine, result.watch.id)
    assert result.watch == replace(
        result.watch,
        client="cms",
        account="default",
        kind="file-import",
        callback_url="https://app.example.com/hooks/hubspot",
        callback_host="app.example.com",
        metadata='{"order":17}',
        state=State.WATCHING,
        created_at=clock(),
        deadline_at=clock() + timedelta(seconds=600),
    )
    asked = hubspot_calls(engine, clock, account).hubspot.status(account, "file-import", result.watch.task_id)
    assert getattr(asked, "status_code", asked) == 202
    assert starts(hubspot) == 1


def test_it_counts_in_the_quota_and_the_day(engine: Engine, clock: Clock, account: Account) -> None:
    started(engine, clock, account)
    assert counts_of_default(engine, clock().date()) == (1, 0)
    usage = limits_of_default(engine).usage
    assert usage.free_at is not None
    assert usage.free_at > clock()
    assert usage.daily_remaining == 999_999
    started(engine, clock, account, "{}")
    assert counts_of_default(engine, clock().date()) == (2, 1)


def test_a_401_is_worth_a_refresh_and_a_second_request(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock
) -> None:
    account = an_account(hubspot.url, OAUTH)
    start = functools.partial(started, sqlite_engine, clock, account)
    assert isinstance(start(), Registered)
    clock.passes(60)
    hubspot.state.set_fault("401-expired", START, times=1)
    assert isinstance(start(), Registered)
    assert (starts(hubspot), hubspot.state.ledger()["refreshes"]) == (3, 2)


def test_the_same_task_again_is_the_same_watch(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account
) -> None:
    """HubSpot may give a duplicate the id of the first task."""
    hubspot.state.set_fault(Reply(status_code=202, headers=JSON, body=b'{"id":"AAAAEZ6whGI"}'), START)
    start = functools.partial(started, sqlite_engine, clock, account)
    first, second = start(), start()
    clock.passes(2)  # early in a day, its quota grants no three at once
    other = start(metadata="{}")
    assert isinstance(first, Registered)
    assert second == Registered(watch=first.watch, new=False)
    assert other == ConflictingRegistration(watch=first.watch, fields=("metadata",))


# Pauses and the quota


def test_a_paused_account_starts_nothing_and_says_until_when(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    hubspot.state.set_fault("401", times=1)
    started(engine, clock, account)
    clock.passes(20)
    result = started(engine, clock, account)
    assert isinstance(result, NotStarted)
    assert result.retry_at == clock() + timedelta(seconds=10)
    assert result.reason.startswith("The account is paused: HubSpot answered 401")
    assert starts(hubspot) == 1


def test_after_a_pause_one_start_is_the_trial_and_its_success_ends_the_pause(
    engine: Engine, clock: Clock
) -> None:
    unauthorized = response("401 Unauthorized", {"category": "INVALID_AUTHENTICATION"})
    accepted = response("202 Accepted", {"id": "AAAAEZ6whGI"})
    with HeldServer(unauthorized, accepted, held=2) as server, ThreadPoolExecutor(1) as pool:
        start = functools.partial(started, engine, clock, an_account(server.url))
        assert isinstance(start(), NoTaskId)
        clock.passes(30)
        trial = pool.submit(start)
        server.await_requests(2)
        second = start()
        assert isinstance(second, NotStarted)
        assert second.retry_at == clock() + timedelta(seconds=60)
        server.let_go()
        assert isinstance(trial.result(), Registered)
    assert limits_of_default(engine).breaker == CircuitBreaker()


def test_a_used_up_quota_starts_nothing_and_says_until_when(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    rare = replace(account, rate=Rate(requests=2, seconds=100.0, share=0.5))
    assert isinstance(started(engine, clock, rare), Registered)
    result = started(engine, clock, rare)
    assert isinstance(result, NotStarted)
    assert result.reason == "The bridge's share of the account's request quota is used up for the moment."
    assert result.retry_at == clock() + timedelta(seconds=105)
    clock.passes(102)
    assert isinstance(started(engine, clock, rare), NotStarted)
    clock.passes(3)
    assert isinstance(started(engine, clock, rare), Registered)
    assert starts(hubspot) == 2


def test_a_short_wait_for_the_quota_is_waited(
    hubspot: Sandbox, sqlite_engine: Engine, account: Account
) -> None:
    slow = replace(account, rate=Rate(requests=40, seconds=10.0, share=0.5))
    start = functools.partial(started, sqlite_engine, real_clock, slow)
    assert all(isinstance(start(), Registered) for _ in range(4))
    assert starts(hubspot) == 4


# Without the database


def test_when_the_database_goes_away_meanwhile_the_task_s_id_is_told(
    own_postgres_server: PostgresServer, clock: Clock
) -> None:
    engine = open_engine(own_postgres_server.url())
    upgrade(engine)
    accepted = response("202 Accepted", {"id": "AAAAEZ6whGI"})
    with HeldServer(accepted) as server, ThreadPoolExecutor(1) as pool:
        start = functools.partial(started, engine, clock, an_account(server.url))
        starting = pool.submit(start)
        server.await_requests(1)
        own_postgres_server.stop("immediate")
        server.let_go()
        result = starting.result()
        assert isinstance(result, Unwatched)
        assert result.task_id == "AAAAEZ6whGI"
        assert "AAAAEZ6whGI" in result.reason
        with pytest.raises(OperationalError):
            start()
    assert server.requests == 1
    engine.dispose()
