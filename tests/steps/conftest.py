"""Fixtures for the tests of the steps."""

from collections.abc import Iterator

import pytest
from structlog.testing import LogCapture

from bridge.db.accounts import Account
from bridge.sandbox import Sandbox
from tests.hubspot_accounts import an_account
from tests.steps.operators import Operator
from tests.steps.peers import Peer, Reply, Scripts
from tests.steps.rig import Rig, set_up


@pytest.fixture
def rig(database_url: str, logged: LogCapture) -> Iterator[Rig]:
    """A bridge on a database of each kind in turn."""
    with set_up(database_url, logged) as made:
        yield made


@pytest.fixture
def account(hubspot: Sandbox) -> Account:
    """The account of the simulated HubSpot."""
    return an_account(hubspot.url)


@pytest.fixture
def operator(rig: Rig) -> Iterator[Operator]:
    replies = Scripts(Reply(status_code=204))
    with Peer(lambda request: replies.next(request.path)).listening() as peer:
        yield Operator(rig, peer, replies)
