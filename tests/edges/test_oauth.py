"""OAuth tokens: refreshed in time, once, and kept; against a real token server and real databases."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from bridge import sandbox
from bridge.core.answers import Answer, NoAnswer, NoToken
from bridge.core.gates import ACCOUNT_POLICY
from bridge.core.oauth import Issued
from bridge.edges import oauth
from bridge.edges.accounts import Account
from bridge.edges.database import open_engine
from bridge.edges.hubspot import HubSpot
from bridge.edges.migrations import upgrade
from bridge.edges.oauth import AT_FAULT_HOLD_SECONDS, TROUBLE_HOLD_SECONDS, OAuthTokens
from bridge.edges.store import oauth_tokens as store
from bridge.edges.tables import oauth_tokens
from bridge.sandbox import Reply, Sandbox, Target
from tests.edges.held_server import HeldServer, response
from tests.hubspot_accounts import KEY, OAUTH, Clock, a_cipher, a_transport, an_account
from tests.postgres import PostgresServer

TOKEN_SERVER = Target(endpoint="oauth-token")
NEW = response("200 OK", {"access_token": "new", "refresh_token": "rotated", "expires_in": 1800})
SPENT = response("400 Bad Request", {"error": "invalid_grant", "status": "BAD_REFRESH_TOKEN"})
LIFE_SECONDS = 1800
DUE_AFTER_SECONDS = 1620  # a tenth of its life before its end
BAD_REFRESH_TOKEN = (
    "HubSpot takes the refresh token no more: install the app again, and set the new one (BAD_REFRESH_TOKEN)."
)


@pytest.fixture
def hubspot() -> Iterator[Sandbox]:
    with sandbox.running() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


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


def new_tokens(engine: Engine, clock: Callable[[], Any], *, timeout_seconds: float = 10) -> OAuthTokens:
    """What a process has; two of them are as good as two processes."""
    return OAuthTokens(
        engine=engine,
        cipher=a_cipher(),
        transport=a_transport(timeout_seconds),
        clock=clock,
        lease_seconds=timeout_seconds + 5,
    )


@pytest.fixture
def tokens(sqlite_engine: Engine, clock: Clock) -> OAuthTokens:
    return new_tokens(sqlite_engine, clock)


@pytest.fixture
def account(hubspot: Sandbox) -> Account:
    return an_account(hubspot.url, OAUTH)


def asked(hubspot: Sandbox) -> int:
    """How often the token server was asked."""
    return int(hubspot.state.ledger()["endpoints"].get("oauth-token", 0))


def refreshes(hubspot: Sandbox) -> int:
    return int(hubspot.state.ledger()["refreshes"])


def status_code(account: Account, hubspot: HubSpot) -> int | str:
    answer = hubspot.status(account, "file-import", "AAAAAAAAAAA")
    return answer.status_code if isinstance(answer, Answer) else answer.reason


# When a token is refreshed


def test_a_token_is_fetched_once_and_then_remembered(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    tokens = new_tokens(engine, clock)
    first = tokens.current(account)
    engine.dispose()
    assert [tokens.current(account) for _ in range(3)] == [first] * 3
    assert refreshes(hubspot) == 1
    assert status_code(account, HubSpot(a_transport(), tokens)) == 404


def test_a_token_is_refreshed_ahead_of_its_end(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    first = tokens.current(account)
    clock.passes(DUE_AFTER_SECONDS - 1)
    assert tokens.current(account) == first
    clock.passes(2)
    second = tokens.current(account)
    assert second != first
    assert tokens.current(account) == second
    assert refreshes(hubspot) == 2


def test_processes_share_a_token(hubspot: Sandbox, engine: Engine, clock: Clock, account: Account) -> None:
    first = new_tokens(engine, clock).current(account)
    assert new_tokens(engine, clock).current(account) == first
    assert refreshes(hubspot) == 1


def test_accounts_do_not_share_a_token(hubspot: Sandbox, tokens: OAuthTokens, account: Account) -> None:
    hubspot.state.change_options({"refresh_tokens": ["sandbox-refresh", "another-refresh"]})
    another = replace(account, name="another", credentials=replace(OAUTH, refresh_token="another-refresh"))
    assert tokens.current(account) != tokens.current(another)
    assert refreshes(hubspot) == 2


# One at a time


def real_clock() -> datetime:
    return datetime.now(UTC)


def ahead_of(clock: Clock, seconds: float) -> Callable[[], datetime]:
    return lambda: clock() + timedelta(seconds=seconds)


def slow_clock(seconds: float) -> Callable[[], float]:
    """A clock for the sandbox, which reads it during each refresh: thus a refresh takes its time."""

    def clock() -> float:
        time.sleep(seconds)
        return time.time()

    return clock


def await_asked(hubspot: Sandbox, times: int) -> None:
    while asked(hubspot) < times:
        time.sleep(0.01)


def stored(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(oauth_tokens)).mappings().one()


def store_token(engine: Engine, account: Account, issued: Issued) -> None:
    with engine.begin() as connection:
        row = store.begin(connection, account.name, oauth._origin(account))
        assert store.save(connection, a_cipher(), account.name, row, issued)


@pytest.mark.parametrize("same_process", [True, False])
def test_while_one_refreshes_the_others_go_on_with_the_old_token(
    engine: Engine, clock: Clock, *, same_process: bool
) -> None:
    old = Issued(
        access_token="old", refresh_token="r", issued_at=clock(), expires_at=clock() + timedelta(seconds=1800)
    )
    clock.passes(DUE_AFTER_SECONDS)
    one = new_tokens(engine, clock)
    others = one if same_process else new_tokens(engine, clock)
    with HeldServer(NEW) as server, ThreadPoolExecutor(1) as pool:
        account = an_account(server.url, OAUTH)
        store_token(engine, account, old)
        refresh = pool.submit(one.current, account)
        server.await_requests(1)
        assert [others.current(account) for _ in range(3)] == ["old"] * 3
        server.let_go()
        assert refresh.result() == "new"
    assert others.current(account) == "new"
    assert server.requests == 1


@pytest.mark.parametrize("same_process", [True, False])
def test_without_an_old_token_the_others_wait_for_the_new_one(
    engine: Engine, clock: Clock, *, same_process: bool
) -> None:
    one = new_tokens(engine, clock)
    others = one if same_process else new_tokens(engine, clock)
    with HeldServer(NEW) as server, ThreadPoolExecutor(5) as pool:
        account = an_account(server.url, OAUTH)
        first = pool.submit(one.current, account)
        server.await_requests(1)
        waiting = [pool.submit(others.current, account) for _ in range(4)]
        assert not futures.wait(waiting, timeout=0.2).done
        server.let_go()
        assert [each.result() for each in (first, *waiting)] == ["new"] * 5
    assert server.requests == 1


class Child:
    """A process of `token_process`."""

    def __init__(self, database_url: str, hubspot: Sandbox, **order: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.edges.token_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        fields = {"key": KEY, "database_url": database_url, "hubspot_url": hubspot.url, "threads": 4}
        self._tell(json.dumps(fields | {"clock_ahead_seconds": 0, "lease_seconds": 15} | order))

    def _tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def await_ready(self) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        self._tell("go")

    def tokens(self) -> list[str]:
        said, _ = self.process.communicate(timeout=60)
        found: list[str] = json.loads(said)
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_eight_threads_in_two_processes_refresh_an_ended_token_once(
    hubspot: Sandbox, database_url: str, engine: Engine, account: Account
) -> None:
    old = new_tokens(engine, Clock()).current(account)
    hubspot.state.change_options({"clock": slow_clock(0.3)})
    children = [Child(database_url, hubspot, clock_ahead_seconds=LIFE_SECONDS + 1) for _ in range(2)]
    for child in children:
        child.await_ready()
    for child in children:
        child.go()
    found = [token for child in children for token in child.tokens()]
    assert len(found) == 8
    assert len(set(found)) == 1
    assert old not in found
    assert refreshes(hubspot) == asked(hubspot) == 2  # the old one, and then one for all


def test_when_the_one_who_refreshes_is_killed_another_takes_over(
    hubspot: Sandbox, database_url: str, engine: Engine, account: Account
) -> None:
    hubspot.state.set_fault("hang", TOKEN_SERVER, times=1)
    child = Child(database_url, hubspot, threads=1, lease_seconds=1)
    child.await_ready()
    child.go()
    await_asked(hubspot, 1)
    child.kill()
    lease_ends_at = stored(engine)["hold_until"]
    token = new_tokens(engine, real_clock).current(account)
    assert real_clock() >= lease_ends_at
    assert isinstance(token, str)
    assert (asked(hubspot), refreshes(hubspot)) == (2, 1)


def test_nobody_waits_for_ever_for_one_who_was_killed(
    hubspot: Sandbox, tokens: OAuthTokens, sqlite_engine: Engine, clock: Clock, account: Account
) -> None:
    with sqlite_engine.begin() as connection:
        row = store.begin(connection, "default", oauth._origin(account))
        assert store.hold(connection, "default", row, clock() + timedelta(seconds=15))
    began = time.monotonic()
    assert tokens.current(account) == oauth.STILL_REFRESHING
    assert time.monotonic() - began >= oauth.WAIT_SECONDS
    assert asked(hubspot) == 0


# Rotation


def test_a_rotated_refresh_token_survives_a_restart(
    hubspot: Sandbox, database_url: str, clock: Clock, account: Account
) -> None:
    hubspot.state.change_options({"rotate_refresh_token": True})
    for restart in range(3):
        engine = open_engine(database_url)
        token = new_tokens(engine, clock).current(account)
        engine.dispose()
        assert isinstance(token, str)
        assert refreshes(hubspot) == restart + 1
        clock.passes(LIFE_SECONDS)


def test_a_rotated_refresh_token_survives_a_blink_of_the_database(
    own_postgres_server: PostgresServer, clock: Clock
) -> None:
    engine = open_engine(own_postgres_server.url())
    upgrade(engine)
    tokens = new_tokens(engine, clock)
    with HeldServer(NEW) as server, ThreadPoolExecutor(1) as pool, capture_logs() as lines:
        account = an_account(server.url, OAUTH)
        refresh = pool.submit(tokens.current, account)
        server.await_requests(1)
        own_postgres_server.stop("immediate")
        server.let_go()
        assert refresh.result() == "new"
        assert tokens.current(account) == "new"
        own_postgres_server.start()
        assert stored(engine)["refresh_token"] is None
        assert tokens.current(account) == "new"
    assert a_cipher().decrypt(stored(engine)["refresh_token"]) == "rotated"
    assert [line["event"] for line in lines].count("oauth_refresh_not_saved") == 1
    assert server.requests == 1
    engine.dispose()


def test_a_refresh_that_outlived_its_lease_is_kept(engine: Engine, clock: Clock) -> None:
    """It has used up the old refresh token: what it got is all that there is."""
    slow, hasty = new_tokens(engine, clock), new_tokens(engine, ahead_of(clock, 60))
    with HeldServer(NEW, SPENT) as server, ThreadPoolExecutor(1) as pool:
        account = an_account(server.url, OAUTH)
        late = pool.submit(slow.current, account)
        server.await_requests(1)
        assert isinstance(hasty.current(account), NoToken)
        server.let_go()
        assert late.result() == "new"
    assert new_tokens(engine, clock).current(account) == "new"


def test_other_credentials_replace_the_stored_tokens(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    hubspot.state.change_options({"refresh_tokens": ["sandbox-refresh", "another-refresh"]})
    tokens = new_tokens(engine, clock)
    old = tokens.current(account)
    other = replace(account, credentials=replace(OAUTH, refresh_token="another-refresh"))
    new = tokens.current(other)
    assert new != old
    assert new_tokens(engine, clock).current(other) == new
    assert refreshes(hubspot) == 2


def test_a_new_client_secret_leaves_a_rotated_refresh_token_in_use(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    hubspot.state.change_options({"rotate_refresh_token": True})
    tokens.current(account)
    hubspot.state.change_options({"client_secret": "new-secret"})
    clock.passes(LIFE_SECONDS)
    other = replace(account, credentials=replace(OAUTH, client_secret="new-secret"))
    assert isinstance(tokens.current(other), str)


# When HubSpot refuses a token


def test_a_refused_token_is_refreshed_once(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    processes = [new_tokens(engine, clock) for _ in range(3)]
    [old] = {tokens.current(account) for tokens in processes}
    assert isinstance(old, str)
    clock.passes(AT_FAULT_HOLD_SECONDS)
    [new] = {tokens.after_refusal(account, old) for tokens in processes for _ in range(2)}
    assert new != old
    assert refreshes(hubspot) == 2


def test_a_token_that_is_refused_while_it_is_new_is_not_refreshed(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    """HubSpot refuses something else then: another token would fare no better."""
    token = tokens.current(account)
    assert isinstance(token, str)
    clock.passes(AT_FAULT_HOLD_SECONDS - 1)
    assert tokens.after_refusal(account, token) == token
    assert refreshes(hubspot) == 1


def test_a_401_is_worth_one_refresh_and_one_more_request(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    tokens.current(account)
    clock.passes(AT_FAULT_HOLD_SECONDS)
    hubspot.state.set_fault("401-expired", times=1)
    assert status_code(account, HubSpot(a_transport(), tokens)) == 404
    assert refreshes(hubspot) == 2


def test_a_401_that_stays_is_not_refreshed_over_and_over(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    tokens.current(account)
    clock.passes(AT_FAULT_HOLD_SECONDS)
    hubspot.state.set_fault("401")
    assert [status_code(account, HubSpot(a_transport(), tokens)) for _ in range(5)] == [401] * 5
    assert refreshes(hubspot) == 2


# When there is no token to be had


def test_a_bad_refresh_token_is_the_operator_s_to_mend(hubspot: Sandbox, tokens: OAuthTokens) -> None:
    account = an_account(hubspot.url, replace(OAUTH, refresh_token="wrong"))
    assert tokens.current(account) == NoToken(reason=BAD_REFRESH_TOKEN)


def test_a_bad_refresh_token_is_tried_once_for_each_probe(
    hubspot: Sandbox, engine: Engine, clock: Clock
) -> None:
    account = an_account(hubspot.url, replace(OAUTH, refresh_token="wrong"))
    processes = [new_tokens(engine, clock) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: processes[number % 2].current(account), range(16)))
    assert found == [NoToken(reason=BAD_REFRESH_TOKEN)] * 16
    assert asked(hubspot) == 1
    clock.passes(ACCOUNT_POLICY.first_seconds)
    assert processes[1].current(account) == NoToken(reason=BAD_REFRESH_TOKEN)
    assert asked(hubspot) == 2


@pytest.mark.parametrize("fault", ["500", "502", "404-html", "429", "302", "html", "drop", "cut-short"])
def test_trouble_at_the_token_server_passes(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account, fault: str
) -> None:
    hubspot.state.set_fault(fault, TOKEN_SERVER, times=1)
    trouble = tokens.current(account)
    assert isinstance(trouble, NoAnswer)
    assert trouble.reason.startswith("the OAuth token could not be refreshed: ")
    assert tokens.current(account) == trouble
    assert asked(hubspot) == 1
    clock.passes(TROUBLE_HOLD_SECONDS)
    assert isinstance(tokens.current(account), str)


def test_a_token_server_that_is_away_is_trouble(tokens: OAuthTokens) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    trouble = tokens.current(an_account(f"http://127.0.0.1:{port}", OAUTH))
    assert trouble == NoAnswer(reason="the OAuth token could not be refreshed: connection refused")


@pytest.mark.parametrize("fault", ["500", "400"])
def test_when_a_refresh_fails_the_old_token_goes_on_to_its_end(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account, fault: str
) -> None:
    old = tokens.current(account)
    clock.passes(DUE_AFTER_SECONDS)
    hubspot.state.set_fault(fault, TOKEN_SERVER)
    assert [tokens.current(account) for _ in range(3)] == [old] * 3
    assert asked(hubspot) == 2
    clock.passes(LIFE_SECONDS - DUE_AFTER_SECONDS)
    assert isinstance(tokens.current(account), NoAnswer | NoToken)


def test_without_the_database_an_old_token_goes_on(
    own_postgres_server: PostgresServer, clock: Clock, account: Account
) -> None:
    engine = open_engine(own_postgres_server.url())
    upgrade(engine)
    tokens = new_tokens(engine, clock)
    old = tokens.current(account)
    own_postgres_server.stop("immediate")
    clock.passes(DUE_AFTER_SECONDS)
    assert tokens.current(account) == old
    clock.passes(LIFE_SECONDS)
    with pytest.raises(OperationalError):
        tokens.current(account)
    engine.dispose()


# Secrets


def test_tokens_lie_encrypted_and_are_neither_logged_nor_shown(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    tokens = new_tokens(engine, clock)
    with capture_logs() as lines:
        token = tokens.current(account)
        hubspot.state.set_fault(Reply(status_code=400, body=b'{"message":"sandbox-refresh"}'), TOKEN_SERVER)
        clock.passes(LIFE_SECONDS)
        failure = tokens.current(account)
    assert isinstance(token, str)
    assert {line["event"] for line in lines} == {"oauth_refreshed", "oauth_refresh_failed"}
    shown = repr((lines, tokens, failure, stored(engine)))
    assert not any(secret in shown for secret in (token, "sandbox-refresh", "sandbox-secret"))
    with engine.connect() as connection:
        assert repr(store.read(connection, a_cipher(), "default", oauth._origin(account))).count(token) == 0
