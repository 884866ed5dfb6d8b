"""Fixtures for the tests of what talks to the outside."""

from collections.abc import Iterator

import pytest

from bridge.edges.hubspot import HubSpot, StaticTokens
from bridge.edges.transport import Transport
from tests import hubspot_accounts
from tests.edges.receiver import OK, Authority, Receiver, answering
from tests.edges.transports import a_transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    """For peers that answer."""
    transport = a_transport()
    yield transport
    transport.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A peer that answers everything with OK, and whose requests can be read as they came."""
    with Receiver(answering(OK)) as receiver:
        yield receiver


@pytest.fixture
def asking() -> HubSpot:
    """Asks HubSpot with the accounts' static tokens."""
    return HubSpot(hubspot_accounts.a_transport(), StaticTokens())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
