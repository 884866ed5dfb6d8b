"""Helpers for the tests of OAuth tokens."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select

from bridge.db.tables import oauth_tokens
from bridge.hubspot.oauth import OAuthTokens
from bridge.sandbox import Sandbox, Target
from tests.hubspot_accounts import Clock, a_transport, new_oauth_tokens
from tests.reliability.waiting import until

TOKEN_SERVER = Target(endpoint="oauth-token")
LIFE_SECONDS = 1800
DUE_AFTER_SECONDS = 1620  # a tenth of its life before its end


def new_tokens(engine: Engine, clock: Callable[[], Any], *, timeout_seconds: float = 10) -> OAuthTokens:
    """Return a process's OAuthTokens; two of them share as little as two processes."""
    return new_oauth_tokens(engine, clock, a_transport(timeout_seconds), timeout_seconds)


def asked(hubspot: Sandbox) -> int:
    """Return how many requests the token server got."""
    return int(hubspot.state.ledger()["endpoints"].get("oauth-token", 0))


def refreshes(hubspot: Sandbox) -> int:
    return int(hubspot.state.ledger()["refreshes"])


def ahead_of(clock: Clock, seconds: float) -> Callable[[], datetime]:
    return lambda: clock() + timedelta(seconds=seconds)


def slow_clock(seconds: float) -> Callable[[], float]:
    """A clock for the sandbox that waits at each reading, so that a refresh takes this time."""

    def clock() -> float:
        time.sleep(seconds)
        return time.time()

    return clock


def await_asked(hubspot: Sandbox, times: int) -> None:
    until(lambda: asked(hubspot) >= times)


def stored(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(oauth_tokens)).mappings().one()
