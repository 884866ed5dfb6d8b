"""OAuth tokens: refreshed in time, once, and kept; against a real token server and real databases."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, select
from structlog.testing import capture_logs

from bridge import sandbox
from bridge.core.answers import Answer, NoAnswer, NoToken
from bridge.edges.accounts import Account
from bridge.edges.database import open_engine
from bridge.edges.hubspot import HubSpot
from bridge.edges.migrations import upgrade
from bridge.edges.oauth import AT_FAULT_HOLD_SECONDS, TROUBLE_HOLD_SECONDS, WAIT_SECONDS, OAuthTokens
from bridge.edges.store import oauth_tokens as store
from bridge.edges.tables import oauth_tokens
from bridge.sandbox import Manner, Reply, Sandbox, SandboxOptions, Target
from tests.hubspot_accounts import KEY, OAUTH, Clock, a_cipher, a_transport, an_account
from tests.postgres import PostgresServer

TOKEN_SERVER = Target(endpoint="oauth-token")
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


def test_processes_share_a_token(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    first = new_tokens(engine, clock).current(account)
    assert new_tokens(engine, clock).current(account) == first
    assert refreshes(hubspot) == 1


def test_accounts_do_not_share_a_token(hubspot: Sandbox, tokens: OAuthTokens, account: Account) -> None:
    hubspot.state.change_options({"refresh_tokens": ["sandbox-refresh", "another-refresh"]})
    another = replace(account, name="another", credentials=replace(OAUTH, refresh_token="another-refresh"))
    assert tokens.current(account) != tokens.current(another)
    assert refreshes(hubspot) == 2


# One at a time


@contextmanager
def slow_refresh(
    hubspot: Sandbox, tokens: OAuthTokens, account: Account
) -> Iterator[Callable[[], object]]:
    """A refresh that is under way and will fail; gives what waits for its end."""
    before = asked(hubspot)
    hubspot.state.set_fault(Reply(manner=Manner.HANG, seconds=1), TOKEN_SERVER, times=1)
    with ThreadPoolExecutor(1) as pool:
        refresh = pool.submit(tokens.current, account)
        while asked(hubspot) == before:
            time.sleep(0.01)
        yield refresh.result


@pytest.mark.parametrize("same_process", [True, False])
def test_while_one_refreshes_the_others_go_on_with_the_old_token(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account, *, same_process: bool
) -> None:
    tokens = new_tokens(engine, clock)
    old = tokens.current(account)
    clock.passes(DUE_AFTER_SECONDS)
    with slow_refresh(hubspot, tokens, account) as result:
        others = tokens if same_process else new_tokens(engine, clock)
        assert [others.current(account) for _ in range(3)] == [old] * 3
        assert asked(hubspot) == 2
        assert result() == old


@pytest.mark.parametrize("same_process", [True, False])
def test_without_an_old_token_the_others_wait_for_the_new_one(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account, *, same_process: bool
) -> None:
    """The sandbox's clock is read during the refresh: a slow one makes a slow token server."""
    hubspot.state.change_options({"clock": lambda: time.sleep(0.5) or time.time()})
    tokens = new_tokens(engine, clock)
    others = tokens if same_process else new_tokens(engine, clock)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(each.current, account) for each in (tokens, others)]
        first, second = (each.result() for each in both)
    assert first == second
    assert isinstance(first, str)
    assert asked(hubspot) == 1


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
    hubspot.state.change_options({"clock": lambda: time.sleep(0.3) or time.time()})
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
    child = Child(database_url, hubspot, threads=1, lease_seconds=3)
    child.await_ready()
    child.go()
    while asked(hubspot) == 0:
        time.sleep(0.01)
    child.kill()
    now = Clock()
    with engine.connect() as connection:
        lease_ends_at = connection.scalars(select(oauth_tokens.c.hold_until)).one()
    assert lease_ends_at is not None
    token = new_tokens(engine, time_from(now)).current(account)
    assert isinstance(token, str)
    assert refreshes(hubspot) == 1
