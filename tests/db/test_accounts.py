"""HubSpot accounts: that of the environment, those of the table, and the defaults they share."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, select

from bridge.core.oauth import TokenPair
from bridge.core.quota import Rate
from bridge.db import oauth_tokens as store
from bridge.db.accounts import Account, AccountChange, Accounts, Credentials
from bridge.db.encryption import Cipher
from bridge.db.tables import accounts as table
from bridge.db.tables import oauth_tokens
from tests.hubspot_accounts import OAUTH, STATIC, a_cipher, an_account

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ENVIRONMENT = an_account("https://api.hubapi.com", Credentials(access_token="pat-environment"))
ISSUED = TokenPair(access_token="at", refresh_token="rt", issued_at=NOW, expires_at=NOW + timedelta(hours=1))
SECRETS = ("pat-environment", "sandbox-token", "sandbox-secret", "sandbox-refresh")


@pytest.fixture
def accounts() -> Accounts:
    return Accounts(ENVIRONMENT, a_cipher())


def put(engine: Engine, accounts: Accounts, name: str, change: AccountChange) -> bool:
    with engine.begin() as connection:
        return accounts.put(connection, name, change, NOW)


def load(engine: Engine, accounts: Accounts, name: str) -> Account:
    with engine.connect() as connection:
        return accounts.load(connection, [name])[name]


def test_default_is_what_the_environment_says(engine: Engine, accounts: Accounts) -> None:
    assert load(engine, accounts, "default") == ENVIRONMENT


def test_an_account_that_nobody_has_set_has_no_credentials(engine: Engine, accounts: Accounts) -> None:
    """Least of all those of another."""
    assert load(engine, accounts, "shop") == replace(ENVIRONMENT, name="shop", credentials=Credentials())


@pytest.mark.parametrize("credentials", [STATIC, OAUTH])
def test_a_stored_account_takes_what_it_does_not_say_from_the_environment(
    engine: Engine, accounts: Accounts, credentials: Credentials
) -> None:
    assert put(engine, accounts, "shop", AccountChange(credentials=credentials))
    assert load(engine, accounts, "shop") == replace(
        ENVIRONMENT, name="shop", credentials=credentials, stored=True
    )


def test_a_stored_account_keeps_what_it_says(engine: Engine, accounts: Accounts) -> None:
    change = AccountChange(
        credentials=OAUTH,
        base_url="http://127.0.0.1:8001",
        api_version="2026-03",
        rate_limit=(190, 10.0),
        rate_share=1.0,
    )
    put(engine, accounts, "shop", change)
    assert load(engine, accounts, "shop") == Account(
        name="shop",
        credentials=OAUTH,
        base_url="http://127.0.0.1:8001",
        api_version="2026-03",
        rate=Rate(requests=190, seconds=10.0, share=1.0),
        stored=True,
    )


def test_a_share_alone_leaves_the_limit_to_the_environment(engine: Engine, accounts: Accounts) -> None:
    put(engine, accounts, "shop", AccountChange(credentials=STATIC, rate_share=0.1))
    assert load(engine, accounts, "shop").rate == replace(ENVIRONMENT.rate, share=0.1)


def test_to_set_an_account_again_replaces_all_of_it(engine: Engine, accounts: Accounts) -> None:
    assert put(engine, accounts, "shop", AccountChange(credentials=OAUTH, rate_share=0.1))
    assert not put(engine, accounts, "shop", AccountChange(credentials=STATIC))
    assert load(engine, accounts, "shop") == replace(
        ENVIRONMENT, name="shop", credentials=STATIC, stored=True
    )


def test_a_stored_default_goes_before_the_environment_s(engine: Engine, accounts: Accounts) -> None:
    put(engine, accounts, "default", AccountChange(credentials=STATIC))
    assert load(engine, accounts, "default").credentials == STATIC
    with engine.begin() as connection:
        assert accounts.remove(connection, "default")
    assert load(engine, accounts, "default") == ENVIRONMENT


def test_every_account_is_listed(engine: Engine, accounts: Accounts) -> None:
    put(engine, accounts, "shop", AccountChange(credentials=STATIC))
    put(engine, accounts, "blog", AccountChange(credentials=OAUTH))
    with engine.connect() as connection:
        every = accounts.list_all(connection)
        assert accounts.stored(connection) == {"blog", "shop"}
    assert {name: account.credentials.scheme for name, account in every.items()} == {
        "default": "token",
        "blog": "oauth",
        "shop": "token",
    }


def test_tokens_that_another_process_has_stored_meanwhile_are_kept_unless_the_credentials_are_others(
    engine: Engine,
) -> None:
    with engine.begin() as connection:
        row = store.add(connection, a_cipher(), "shop", "origin")
        assert row.issued is None
        assert store.save(connection, a_cipher(), "shop", row, ISSUED)
        assert store.add(connection, a_cipher(), "shop", "origin").issued == ISSUED
        assert store.add(connection, a_cipher(), "shop", "another origin").issued is None


def test_a_removed_account_leaves_no_secret_behind(engine: Engine, accounts: Accounts) -> None:
    put(engine, accounts, "shop", AccountChange(credentials=OAUTH))
    with engine.begin() as connection:
        row = store.add(connection, a_cipher(), "shop", "origin")
        store.save(connection, a_cipher(), "shop", row, ISSUED)
        assert accounts.remove(connection, "shop")
        assert not accounts.remove(connection, "shop")
        assert not connection.execute(select(oauth_tokens)).all()
        assert not connection.execute(select(table)).all()


@pytest.mark.parametrize(("failure", "holds"), [("HubSpot takes it no more.", False), (None, True)])
def test_to_set_an_account_forgets_a_failed_refresh_but_not_one_under_way(
    engine: Engine, accounts: Accounts, failure: str | None, *, holds: bool
) -> None:
    until = NOW + timedelta(seconds=20)
    with engine.begin() as connection:
        row = store.add(connection, a_cipher(), "shop", "origin")
        store.take_refresh_lease(connection, "shop", row, until)
        if failure:
            store.fail(
                connection, "shop", replace(row, hold_until=until), failure, at_fault=True, until=until
            )
        accounts.put(connection, "shop", AccountChange(credentials=OAUTH), NOW)
        after = store.read(connection, a_cipher(), "shop", "origin")
    assert after == replace(row, hold_until=until if holds else None)


def test_secrets_lie_encrypted(engine: Engine, accounts: Accounts) -> None:
    for credentials in (STATIC, OAUTH):
        put(engine, accounts, credentials.scheme, AccountChange(credentials=credentials))
    with engine.connect() as connection:
        rows = repr(connection.execute(select(table)).all())
    assert not any(secret in rows for secret in SECRETS)


def test_secrets_are_not_shown(engine: Engine, accounts: Accounts) -> None:
    change = AccountChange(credentials=OAUTH)
    put(engine, accounts, "shop", change)
    shown = repr((change, load(engine, accounts, "shop"), ENVIRONMENT, accounts))
    assert not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize("credentials", [STATIC, OAUTH])
def test_credentials_of_another_key_cannot_be_read_and_are_no_one_else_s_trouble(
    engine: Engine, accounts: Accounts, credentials: Credentials
) -> None:
    put(engine, accounts, "shop", AccountChange(credentials=credentials))
    account = load(engine, Accounts(ENVIRONMENT, Cipher([Fernet.generate_key().decode()])), "shop")
    assert account.unreadable
    assert account.credentials == Credentials()
    assert not load(engine, accounts, "shop").unreadable


@pytest.mark.parametrize("base_url", ["https://api.hubapi.com", "https://api.hubapi.com/"])
def test_an_account_s_addresses_have_one_slash_between(base_url: str) -> None:
    assert an_account(base_url).url("/crm/v3/imports/17") == "https://api.hubapi.com/crm/v3/imports/17"
