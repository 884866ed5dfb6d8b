"""Starting an import: once, within the quota, and whatever comes of it is told."""

import functools
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from bridge import sandbox, start_import
from bridge.core.gates import Gate
from bridge.core.quota import Rate
from bridge.core.watch import State, Watch
from bridge.edges.accounts import Account
from bridge.edges.database import open_engine, reading
from bridge.edges.migrations import upgrade
from bridge.edges.store import watches
from bridge.register import Differs, Registered, register
from bridge.sandbox import Reply, Sandbox, Target
from bridge.start_import import Lost, NewImport, NotStarted, Refusal, Started, Unwatched
from tests.edges.held_server import HeldServer, response
from tests.hubspot_accounts import (
    NONE,
    OAUTH,
    Clock,
    an_account,
    counts_of_default,
    errands,
    gate_of_default,
)
from tests.postgres import PostgresServer

START = Target(endpoint="start-import")
DOCUMENT = {"access": "PRIVATE", "url": "https://files.example.com/a.csv?secret", "folderPath": "/imports"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def hubspot() -> Iterator[Sandbox]:
    with sandbox.running() as running:
        yield running


@pytest.fixture
def account(hubspot: Sandbox) -> Account:
    return an_account(hubspot.url)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    engine = open_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def real_clock() -> datetime:
    return datetime.now(UTC)


def an_import(document: Mapping[str, Any] = DOCUMENT, **others: Any) -> NewImport:
    fields: dict[str, Any] = {
        "client": "cms",
        "account": "default",
        "callback_url": "https://app.example.com/hooks",
        "callback_host": "app.example.com",
        "metadata": '{"order":17}',
        "timeout_seconds": 600.0,
    }
    return NewImport(document=document, **fields | others)


def started(
    engine: Engine, clock: Callable[[], datetime], account: Account, new: NewImport | None = None
) -> Started:
    asking = errands(engine, clock, account, timeout_seconds=2)
    return start_import.start(
        asking, new or an_import(), lambda wanted: register(engine, wanted, now=clock())
    )


def starts(hubspot: Sandbox) -> int:
    """How many starts HubSpot received."""
    return int(hubspot.state.ledger()["endpoints"].get("start-import", 0))


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
        callback_url="https://app.example.com/hooks",
        callback_host="app.example.com",
        metadata='{"order":17}',
        state=State.WATCHING,
        created_at=clock(),
        deadline_at=clock() + timedelta(seconds=600),
    )
    asked = errands(engine, clock, account).hubspot.status(account, "file-import", result.watch.task_id)
    assert getattr(asked, "status_code", asked) == 202
    assert starts(hubspot) == 1


def test_it_counts_in_the_quota_and_the_day(engine: Engine, clock: Clock, account: Account) -> None:
    started(engine, clock, account)
    assert counts_of_default(engine, clock().date()) == (1, 0)
    usage = gate_of_default(engine).usage
    assert usage.free_at is not None
    assert usage.free_at > clock()
    assert usage.daily_remaining == 999_999
    started(engine, clock, account, an_import({}))
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
    """HubSpot may give a duplicate the id that it has already given."""
    hubspot.state.set_fault(Reply(status_code=202, headers=JSON, body=b'{"id":"AAAAEZ6whGI"}'), START)
    start = functools.partial(started, sqlite_engine, clock, account)
    first, second = start(), start()
    clock.passes(2)  # early in a day, its quota grants no three at once
    other = start(an_import(metadata="{}"))
    assert isinstance(first, Registered)
    assert second == Registered(watch=first.watch, new=False)
    assert other == Differs(watch=first.watch, fields=("metadata",))


def test_the_import_s_url_is_not_shown() -> None:
    assert "files.example.com" not in repr(an_import())


# Refused


def test_hubspot_s_refusal_is_told_as_it_is(sqlite_engine: Engine, clock: Clock, account: Account) -> None:
    result = started(sqlite_engine, clock, account, an_import({"access": "PRIVATE"}))
    assert isinstance(result, Refusal)
    assert result.status_code == 400
    hubspot = json.loads(result.hubspot)
    assert hubspot["category"] == "VALIDATION_ERROR"
    assert "Some required fields were not set: [url]" in hubspot["message"]
    assert result.reason == "HubSpot answered 400; the import was not started."
    assert gate_of_default(sqlite_engine).gate == Gate()


@pytest.mark.parametrize(
    ("fault", "status_code", "pause_seconds"),
    [("401", 401, 30), ("403-ban", 403, 30), ("429", 429, 10), ("477", 477, 60)],
)
def test_a_refusal_of_the_account_pauses_it(
    hubspot: Sandbox,
    sqlite_engine: Engine,
    clock: Clock,
    account: Account,
    *,
    fault: str,
    status_code: int,
    pause_seconds: float,
) -> None:
    hubspot.state.set_fault(fault)
    result = started(sqlite_engine, clock, account)
    assert isinstance(result, Refusal)
    assert result.status_code == status_code
    assert json.loads(result.hubspot)["status"] == "error"
    paused_until = gate_of_default(sqlite_engine).gate.paused_until
    assert paused_until == clock() + timedelta(seconds=pause_seconds)


def test_a_missing_scope_to_start_imports_holds_up_no_polls(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account
) -> None:
    hubspot.state.set_fault("403-scopes")
    result = started(sqlite_engine, clock, account)
    assert isinstance(result, Refusal)
    assert result.status_code == 403
    assert gate_of_default(sqlite_engine).gate == Gate()
    assert counts_of_default(sqlite_engine, clock().date()) == (1, 1)


def test_a_page_is_told_as_text(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account
) -> None:
    hubspot.state.set_fault("503")
    result = started(sqlite_engine, clock, account)
    assert isinstance(result, Refusal)
    hubspot = json.loads(result.hubspot)
    assert isinstance(hubspot, str)
    assert "<h1>HubSpot is unavailable</h1>" in hubspot
    assert "may have been started or not" in result.reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"links":{}}',
        b'{"id":null}',
        b'{"id":17}',
        b'{"id":""}',
        b'{"id":"two words"}',
        b'{"id":"a\\u0000b"}',
        b'{"id":"' + b"x" * 256 + b'"}',
        b'{"id":"AAAAEZ6whGI"',
        b"<html>Please sign in</html>",
    ],
)
def test_an_answer_without_an_id_is_told_as_it_is(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account, body: bytes
) -> None:
    hubspot.state.set_fault(Reply(status_code=202, body=body))
    result = started(sqlite_engine, clock, account)
    assert isinstance(result, Refusal)
    assert result.status_code == 202
    assert json.loads(result.hubspot) in (json_or_none(body), body.decode())
    assert "may have been started or not" in result.reason


def json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def test_a_long_page_is_cut(hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account) -> None:
    hubspot.state.set_fault(Reply(status_code=500, body=b"\xff\x00" + b"x" * 100_000))
    result = started(sqlite_engine, clock, account)
    assert isinstance(result, Refusal)
    told = json.loads(result.hubspot)
    assert told.startswith("\ufffd\ufffdxxx")
    assert len(told) == 2000


def test_hubspot_s_json_is_passed_on_as_it_came(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account
) -> None:
    """Read and written again, numbers could change, or become what is no JSON."""
    body = b'{"status": "error", "n": 1.10, "huge": 1e400, "large": 12345678901234567890}'
    hubspot.state.set_fault(Reply(status_code=400, headers=JSON, body=body))
    result = started(sqlite_engine, clock, account)
    assert isinstance(result, Refusal)
    assert result.hubspot == body.decode()


# Not started


@pytest.mark.parametrize("fault", ["drop", "hang"])
def test_a_lost_answer_is_told_and_the_import_not_repeated(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account, fault: str
) -> None:
    started(sqlite_engine, clock, account)
    hubspot.state.set_fault(fault, START)
    result = started(sqlite_engine, clock, account)
    assert isinstance(result, Lost)
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
    """Where nobody has to mend anything, it says when to ask again."""
    hubspot.state.set_fault(fault, Target(endpoint="oauth-token"))
    result = started(sqlite_engine, clock, an_account(hubspot.url, OAUTH))
    assert isinstance(result, NotStarted)
    assert why in result.reason
    assert result.retry_at == (clock() + wait if wait else None)
    assert starts(hubspot) == 0


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


def test_after_a_pause_one_start_probes_and_its_success_ends_the_pause(engine: Engine, clock: Clock) -> None:
    unauthorized = response("401 Unauthorized", {"category": "INVALID_AUTHENTICATION"})
    accepted = response("202 Accepted", {"id": "AAAAEZ6whGI"})
    with HeldServer(unauthorized, accepted, held=2) as server, ThreadPoolExecutor(1) as pool:
        start = functools.partial(started, engine, clock, an_account(server.url))
        assert isinstance(start(), Refusal)
        clock.passes(30)
        probe = pool.submit(start)
        server.await_requests(2)
        second = start()
        assert isinstance(second, NotStarted)
        assert second.retry_at == clock() + timedelta(seconds=60)
        server.let_go()
        assert isinstance(probe.result(), Registered)
    assert gate_of_default(engine).gate == Gate()


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
