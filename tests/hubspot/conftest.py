"""Fixtures for the tests of HubSpot's client."""

import pytest

from bridge.hubspot.client import HubSpot
from tests import hubspot_accounts
from tests.http.conftest import receiver

__all__ = ["receiver"]


@pytest.fixture
def asking() -> HubSpot:
    """A client of HubSpot that uses the accounts' access tokens."""
    return HubSpot(hubspot_accounts.a_transport(), hubspot_accounts.ListedTokens())
