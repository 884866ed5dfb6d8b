"""HubSpot accounts for tests, what asks HubSpot for them, and a clock that passes only when told to."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from math import inf
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import Engine

from bridge.core.account_limits import AccountLimits
from bridge.core.http_results import NoToken
from bridge.core.quota import Rate
from bridge.db import breakers, daily_stats
from bridge.db.accounts import Account, Accounts, Credentials
from bridge.db.counters import Counters
from bridge.db.encryption import Cipher
from bridge.http.transport import Transport
from bridge.hubspot.client import HubSpot
from bridge.hubspot.oauth import OAuthTokens
from bridge.steps import check_account
from bridge.steps.check_account import AccountCheck
from bridge.steps.hubspot_calls import HubSpotCalls

# What a sandbox without options takes.
STATIC = Credentials(access_token="sandbox-token")
OAUTH = Credentials(
    client_id="sandbox-client", client_secret="sandbox-secret", refresh_token="sandbox-refresh"
)
NONE = Credentials()

KEY = Fernet.generate_key().decode()


class Clock:
    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def an_account(base_url: str, credentials: Credentials = STATIC, **others: Any) -> Account:
    fields: dict[str, Any] = {
        "name": "default",
        "api_version": "v3",
        "rate": Rate(requests=100, seconds=10.0, share=0.5),
    }
    return Account(base_url=base_url, credentials=credentials, **fields | others)


class ListedTokens(OAuthTokens):
    """OAuth tokens from a list: the first, and the next after each refusal; each takes `takes_seconds`.

    The list may be empty where no account uses OAuth.
    """

    def __init__(self, *tokens: str | NoToken, takes_seconds: float = 0) -> None:
        self._tokens = list(tokens)
        self._takes_seconds = takes_seconds
        self.left_seconds: list[float] = []

    def current(
        self, _account: Account, *, refused: str | None = None, within_seconds: float = inf
    ) -> str | NoToken:
        if refused:
            assert self._tokens.pop(0) == refused
        self.left_seconds.append(within_seconds)
        time.sleep(self._takes_seconds)
        return self._tokens[0]


def a_cipher() -> Cipher:
    return Cipher([KEY])


def a_transport(timeout_seconds: float = 10) -> Transport:
    """The deadline only keeps a broken test from hanging, unless a test wants it short."""
    return Transport(timeout_seconds=timeout_seconds, body_limit=1024 * 1024)


def new_oauth_tokens(
    engine: Engine, clock: Callable[[], datetime], transport: Transport, refresh_seconds: float = 10
) -> OAuthTokens:
    return OAuthTokens(
        engine=engine,
        cipher=a_cipher(),
        transport=transport,
        clock=clock,
        refresh_seconds=refresh_seconds,
        lease_seconds=refresh_seconds + 5,
    )


def hubspot_calls(
    engine: Engine, clock: Callable[[], datetime], account: Account, *, timeout_seconds: float = 10
) -> HubSpotCalls:
    """What asks HubSpot for one account, `default`."""
    transport = a_transport(timeout_seconds)
    oauth = new_oauth_tokens(engine, clock, transport, timeout_seconds)
    return HubSpotCalls(
        engine=engine,
        accounts=Accounts(account, a_cipher()),
        hubspot=HubSpot(transport, oauth),
        clock=clock,
        lease_seconds=60,
        counters=Counters(),
    )


def limits_of_default(engine: Engine) -> AccountLimits:
    with engine.connect() as connection:
        return breakers.all_account_limits(connection)["default"]


def counts_of_default(engine: Engine, day: date) -> tuple[int, int]:
    """Requests and errors."""
    with engine.connect() as connection:
        return daily_stats.counts(connection, day).get("default", (0, 0))


def checked(engine: Engine, clock: Clock, account: Account) -> AccountCheck:
    found = check_account.check(hubspot_calls(engine, clock, account, timeout_seconds=2), "default")
    assert found is not None
    return found
