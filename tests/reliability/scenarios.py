"""Scenarios in which processes die, stop and go on, with an installation, a HubSpot and a receiver.

The scenarios of a module run at the same time: most of each is waiting for a lease to run out.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bridge.sandbox import Sandbox
from bridge.settings import Settings
from bridge.wiring import Bridge
from bridge.worker.loop import Worker
from tests.reliability.database import LEASE_SECONDS, Installation
from tests.reliability.ledger import Ledger
from tests.reliability.processes import WORKER, Running, running
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until

# Two processors are busy with so many: with more at a time, they would wait for each other.
MOST_AT_ONCE = 10
# What must not be sent again would be sent when the lease runs out that nobody ended.
QUIET_SECONDS = LEASE_SECONDS + 1
FAULT_POINTS = ("-m", "tests.reliability.fault_points")

Name = TypeVar("Name", bound=Hashable)
Came = TypeVar("Came")


@contextmanager
def idle_worker(installation: Installation, hubspot: Sandbox) -> Iterator[Worker]:
    """A worker that does nothing by itself."""
    # A slow machine may need seconds between a claim and its end.
    bridge = Bridge(Settings.load(installation.env(hubspot.url, BRIDGE_LEASE_SECONDS="60")))
    yield bridge.scheduler._worker
    bridge.engine.dispose()


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What a scenario runs with; `folder` holds the logs of its processes."""

    installation: Installation
    hubspot: Sandbox
    receiver: Receiver
    folder: Path

    @property
    def log(self) -> Path:
        """The log of the process that is struck."""
        return self.folder / "struck.log"

    def struck(
        self, boundary: str, nth: int, number: str, command: str, **changes: str
    ) -> AbstractContextManager[Running]:
        """Run a command that gets a signal when it reaches a boundary for the nth time."""
        env = self.installation.env(self.hubspot.url, **changes)
        return running(env, self.log, *FAULT_POINTS, boundary, str(nth), number, command)

    def healthy_worker(self, **changes: str) -> AbstractContextManager[Running]:
        """Run a worker to which nothing happens."""
        return running(
            self.installation.env(self.hubspot.url, **changes), self.folder / "healthy.log", *WORKER
        )


def followed(ledger: Ledger) -> list[str]:
    """Wait until all that was promised is told, and for what might still come; return what is wrong."""
    until(ledger.settled)
    time.sleep(QUIET_SECONDS)
    return ledger.problems()


@contextmanager
def run_concurrently(scenarios: Mapping[Name, Callable[[], Came]]) -> Iterator[Mapping[Name, Future[Came]]]:
    """Run scenarios, some at a time; yield what comes of each."""
    pool = ThreadPoolExecutor(MOST_AT_ONCE)
    try:
        yield {name: pool.submit(scenario) for name, scenario in scenarios.items()}
    finally:
        pool.shutdown(cancel_futures=True)
