"""OAuth tokens among threads, processes and restarts: one of them refreshes, and no token that it got is lost."""

import json
import subprocess
import sys
import time
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from bridge.core.http_results import NoToken
from bridge.core.oauth import TokenPair
from bridge.db import oauth_tokens as store
from bridge.db.accounts import Account
from bridge.db.engine import open_engine
from bridge.db.migrations import upgrade
from bridge.hubspot import oauth
from bridge.hubspot.oauth import OAuthTokens
from bridge.sandbox import Sandbox
from tests.http.held_server import HeldServer, response
from tests.hubspot.oauth_parts import (
    DUE_AFTER_SECONDS,
    LIFE_SECONDS,
    TOKEN_SERVER,
    ahead_of,
    asked,
    await_asked,
    new_tokens,
    refreshes,
    slow_clock,
    stored,
)
from tests.hubspot_accounts import KEY, OAUTH, Clock, a_cipher, an_account
from tests.makers import real_clock
from tests.postgres import PostgresServer

NEW = response("200 OK", {"access_token": "new", "refresh_token": "rotated", "expires_in": 1800})
SPENT = response("400 Bad Request", {"error": "invalid_grant", "status": "BAD_REFRESH_TOKEN"})


# One at a time


def store_token(engine: Engine, account: Account, issued: TokenPair) -> None:
    with engine.begin() as connection:
        row = store.add(connection, a_cipher(), account.name, oauth._origin(account))
        assert store.save(connection, a_cipher(), account.name, row, issued)


@pytest.mark.parametrize("same_process", [True, False])
def test_while_one_refreshes_the_others_go_on_with_the_old_token(
    engine: Engine, clock: Clock, *, same_process: bool
) -> None:
    old = TokenPair(
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
            [sys.executable, "-m", "tests.hubspot.token_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        fields = {"key": KEY, "database_url": database_url, "hubspot_url": hubspot.url}
        self._write_line(json.dumps(fields | {"clock_ahead_seconds": 0, "lease_seconds": 15} | order))

    def _write_line(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def await_ready(self) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        self._write_line("go")

    def tokens(self) -> list[str]:
        said, _ = self.process.communicate(timeout=60)
        found: list[str] = json.loads(said)
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_eight_threads_in_each_of_two_processes_refresh_an_ended_token_once(
    hubspot: Sandbox, database_url: str, engine: Engine, account: Account
) -> None:
    old = new_tokens(engine, Clock()).current(account)
    hubspot.state.change_options({"clock": slow_clock(0.3)})
    order = {"threads": 8, "clock_ahead_seconds": LIFE_SECONDS + 1}
    children = [Child(database_url, hubspot, **order) for _ in range(2)]
    for child in children:
        child.await_ready()
    for child in children:
        child.go()
    found = [token for child in children for token in child.tokens()]
    assert len(found) == 16
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
        row = store.add(connection, a_cipher(), "default", oauth._origin(account))
        assert store.take_refresh_lease(connection, "default", row, clock() + timedelta(seconds=15))
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
    """It has used up the old refresh token, so the new one is the only one that works."""
    slow, fast_clock = new_tokens(engine, clock), new_tokens(engine, ahead_of(clock, 60))
    with HeldServer(NEW, SPENT) as server, ThreadPoolExecutor(1) as pool:
        account = an_account(server.url, OAUTH)
        late = pool.submit(slow.current, account)
        server.await_requests(1)
        assert isinstance(fast_clock.current(account), NoToken)
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
