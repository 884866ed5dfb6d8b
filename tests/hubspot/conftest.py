"""Fixtures for the tests of HubSpot's client and of OAuth tokens."""

import pytest
from sqlalchemy import Engine

from bridge.db.accounts import Account
from bridge.hubspot.client import HubSpot
from bridge.hubspot.oauth import OAuthTokens
from bridge.sandbox import Sandbox
from tests.http.conftest import receiver
from tests.hubspot.oauth_parts import new_tokens
from tests.hubspot_accounts import OAUTH, Clock, ListedTokens, a_transport, an_account

__all__ = ["receiver"]


@pytest.fixture
def asking() -> HubSpot:
    """A client of HubSpot that uses the accounts' access tokens."""
    return HubSpot(a_transport(), ListedTokens())


@pytest.fixture
def tokens(sqlite_engine: Engine, clock: Clock) -> OAuthTokens:
    return new_tokens(sqlite_engine, clock)


@pytest.fixture
def account(hubspot: Sandbox) -> Account:
    """An account with OAuth credentials."""
    return an_account(hubspot.url, OAUTH)
