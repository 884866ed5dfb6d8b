from collections.abc import Iterator

import pytest
import requests

from bridge import sandbox
from bridge.sandbox import SandboxOptions
from tests.sandbox.caller import Caller, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hubspot(clock: Clock) -> Iterator[Caller]:
    """A sandbox whose tasks are PENDING for 1 s and PROCESSING for 2 s of a clock set by hand."""
    options = SandboxOptions(clock=clock)
    with sandbox.running(options) as running, requests.Session() as session:
        session.trust_env = False
        yield Caller(running, session)
