"""Fixtures for the tests of HTTP requests."""

from collections.abc import Iterator

import pytest

from bridge.http.transport import Transport
from tests.http.receiver import OK, Authority, Receiver, answering
from tests.http.transports import a_transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A transport with a time-out that no peer of these tests comes near."""
    transport = a_transport()
    yield transport
    transport.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A peer that answers every request with OK, and keeps the requests as bytes."""
    with Receiver(answering(OK)) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))
