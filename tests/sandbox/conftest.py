from collections.abc import Iterator

import pytest
import requests

from bridge import sandbox
from bridge.sandbox import Sandbox, SandboxOptions
from tests.sandbox.caller import Caller, Clock


@pytest.fixture(scope="session")
def served() -> Iterator[tuple[Sandbox, Clock]]:
    """One sandbox for all tests, because starting and stopping it takes longer than most tests."""
    clock = Clock()
    with sandbox.running(SandboxOptions(clock=clock)) as running:
        yield running, clock


@pytest.fixture
def clock(served: tuple[Sandbox, Clock]) -> Clock:
    _, clock = served
    return clock


@pytest.fixture
def hubspot(served: tuple[Sandbox, Clock]) -> Iterator[Caller]:
    """A client of the sandbox in its initial state, whose tasks are PENDING for 1 s and PROCESSING for 2 s of `clock`."""
    running, clock = served
    clock.starts()
    running.state.reset()
    with requests.Session() as session:
        session.trust_env = False
        yield Caller(running, session)
