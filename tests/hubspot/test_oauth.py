"""OAuth tokens: when they are refreshed, and what refusals and failures lead to, with a real token server."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine
from structlog.testing import capture_logs

from bridge.core.circuit_breaker import ACCOUNT_POLICY
from bridge.core.classification import NO_TOKEN_PAUSE_SECONDS
from bridge.core.http_results import HttpResponse, NoToken
from bridge.db import oauth_tokens as store
from bridge.db.accounts import Account
from bridge.db.encryption import Cipher
from bridge.db.engine import open_engine
from bridge.db.migrations import upgrade
from bridge.hubspot import oauth
from bridge.hubspot.client import HubSpot
from bridge.hubspot.oauth import AT_FAULT_HOLD_SECONDS, OAuthTokens
from bridge.sandbox import Reply, Sandbox
from tests.hubspot.oauth_parts import (
    DUE_AFTER_SECONDS,
    LIFE_SECONDS,
    TOKEN_SERVER,
    asked,
    new_tokens,
    refreshes,
    stored,
)
from tests.hubspot_accounts import OAUTH, Clock, a_cipher, a_transport, an_account, new_oauth_tokens
from tests.postgres import PostgresServer

BAD_REFRESH_TOKEN = (
    "HubSpot takes the refresh token no more: install the app again, and set the new one (BAD_REFRESH_TOKEN)."
)


def status_code(account: Account, hubspot: HubSpot) -> int | str:
    answer = hubspot.status(account, "file-import", "AAAAAAAAAAA")
    return answer.status_code if isinstance(answer, HttpResponse) else answer.reason


# When a token is refreshed


def test_a_token_is_fetched_once_and_then_remembered(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    tokens = new_tokens(engine, clock)
    first = tokens.current(account)
    with engine.begin() as connection:
        store.remove(connection, account.name)
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


# When HubSpot refuses a token


def test_a_refused_token_is_refreshed_once(
    hubspot: Sandbox, engine: Engine, clock: Clock, account: Account
) -> None:
    processes = [new_tokens(engine, clock) for _ in range(3)]
    [old] = {tokens.current(account) for tokens in processes}
    assert isinstance(old, str)
    clock.passes(AT_FAULT_HOLD_SECONDS)
    [new] = {tokens.current(account, refused=old) for tokens in processes for _ in range(2)}
    assert new != old
    assert refreshes(hubspot) == 2


def test_a_token_that_is_refused_while_it_is_new_is_not_refreshed(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    """The refusal then has another reason: another token would be refused as well."""
    token = tokens.current(account)
    assert isinstance(token, str)
    clock.passes(AT_FAULT_HOLD_SECONDS - 1)
    assert tokens.current(account, refused=token) == token
    assert refreshes(hubspot) == 1


def test_a_401_is_worth_one_refresh_and_one_more_request(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    tokens.current(account)
    clock.passes(AT_FAULT_HOLD_SECONDS)
    hubspot.state.set_fault("401-expired", times=1)
    assert status_code(account, HubSpot(a_transport(), tokens, ask_seconds=20)) == 404
    assert refreshes(hubspot) == 2


def test_a_401_that_stays_is_not_refreshed_over_and_over(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    tokens.current(account)
    clock.passes(AT_FAULT_HOLD_SECONDS)
    hubspot.state.set_fault("401")
    assert [status_code(account, HubSpot(a_transport(), tokens)) for _ in range(5)] == [401] * 5
    assert refreshes(hubspot) == 2


def test_no_refresh_is_begun_that_could_not_end_in_time(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    """The transport may take ten seconds: a request that is cut off could lose a rotated refresh token."""
    assert tokens.current(account, within_seconds=9) == oauth.NO_TIME_TO_REFRESH
    assert asked(hubspot) == 0
    old = tokens.current(account, within_seconds=10)
    assert isinstance(old, str)
    clock.passes(DUE_AFTER_SECONDS)
    assert tokens.current(account, within_seconds=9) == old
    assert tokens.current(account, refused=old, within_seconds=9) == oauth.NO_TIME_TO_REFRESH
    assert asked(hubspot) == 1
    assert tokens.current(account, refused=old, within_seconds=10) != old


def test_a_refresh_has_a_time_out_of_its_own(
    hubspot: Sandbox, sqlite_engine: Engine, clock: Clock, account: Account
) -> None:
    hubspot.state.set_fault("hang", TOKEN_SERVER)
    found = new_oauth_tokens(sqlite_engine, clock, a_transport(60), 0.3).current(account)
    assert isinstance(found, NoToken)
    assert "timed out after 0.3 s" in found.reason


# When there is no token to be had


def test_a_bad_refresh_token_is_the_operator_s_to_mend(hubspot: Sandbox, tokens: OAuthTokens) -> None:
    account = an_account(hubspot.url, replace(OAUTH, refresh_token="wrong"))
    assert tokens.current(account) == NoToken(reason=BAD_REFRESH_TOKEN)


def test_a_bad_refresh_token_is_tried_once_for_each_trial(
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
    assert isinstance(trouble, NoToken)
    assert trouble.is_temporary
    assert trouble.reason.startswith("The OAuth token could not be refreshed: ")
    assert tokens.current(account) == trouble
    assert asked(hubspot) == 1
    clock.passes(NO_TOKEN_PAUSE_SECONDS)
    assert isinstance(tokens.current(account), str)


def test_a_token_server_that_is_away_is_trouble(tokens: OAuthTokens) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    trouble = tokens.current(an_account(f"http://127.0.0.1:{port}", OAUTH))
    reason = "The OAuth token could not be refreshed: connection refused."
    assert trouble == NoToken(reason=reason, is_temporary=True)


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
    assert isinstance(tokens.current(account), NoToken)


def test_without_the_database_an_old_token_goes_on(
    own_postgres_server: PostgresServer, clock: Clock, account: Account
) -> None:
    engine = open_engine(own_postgres_server.url())
    upgrade(engine)
    tokens = new_tokens(engine, clock)
    old = tokens.current(account)
    assert isinstance(old, str)
    own_postgres_server.stop("immediate")
    clock.passes(DUE_AFTER_SECONDS)
    assert tokens.current(account) == old
    clock.passes(LIFE_SECONDS)
    assert tokens.current(account) == oauth.DATABASE_UNAVAILABLE
    assert tokens.current(account, refused=old) == oauth.DATABASE_UNAVAILABLE
    engine.dispose()


def test_tokens_of_another_key_are_the_operator_s_to_mend(
    engine: Engine, clock: Clock, account: Account
) -> None:
    new_tokens(engine, clock).current(account)
    other = Cipher([Fernet.generate_key().decode()])
    stranger = OAuthTokens(
        engine=engine,
        cipher=other,
        transport=a_transport(),
        clock=clock,
        refresh_seconds=10,
        lease_seconds=15,
    )
    found = stranger.current(account)
    assert isinstance(found, NoToken)
    assert not found.is_temporary
    assert found.reason.startswith("The OAuth tokens of the account 'default' are not encrypted with")


def test_a_failure_is_told_once_and_a_new_one_again(
    hubspot: Sandbox, tokens: OAuthTokens, clock: Clock, account: Account
) -> None:
    reasons = []
    for fault in ("500", "429"):
        hubspot.state.clear_faults()
        hubspot.state.set_fault(fault, TOKEN_SERVER)
        with capture_logs() as lines:
            for _ in range(5):
                clock.passes(NO_TOKEN_PAUSE_SECONDS)
                tokens.current(account)
        reasons += [line["reason"] for line in lines if line["log_level"] == "warning"]
    assert [reason[-4:] for reason in reasons] == ["500.", "429."]
    assert asked(hubspot) == 10


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
