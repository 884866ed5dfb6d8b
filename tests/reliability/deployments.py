"""A whole bridge on one installation: a worker, a web process and their clients, with watches in every stage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.sandbox import Sandbox
from tests.ports import free_port
from tests.reliability.api import Api
from tests.reliability.database import Installation
from tests.reliability.ledger import Ledger
from tests.reliability.processes import Processes, Running, errors, processes
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until

# So few that several claims find a part of what is registered together.
BATCH = 10
# Longer than the slow receiver takes, even on a loaded machine; shorter than an outage.
ENV = {
    "BRIDGE_EMBEDDED_WORKER": "false",
    "BRIDGE_LEASE_SECONDS": "6",
    "BRIDGE_CALLBACK_TIMEOUT": "5",
    "HUBSPOT_TIMEOUT": "5",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A bridge of real processes; `api` calls its web process."""

    installation: Installation
    hubspot: Sandbox
    receiver: Receiver
    ledger: Ledger
    processes: Processes
    worker: Running
    web: Running
    api: Api

    def register(self, behaviour: str = "ok", *, tasks: int = 1, pending_seconds: float = 0) -> None:
        """Register watches over REST; HubSpot's tasks have ended after so long."""
        for task_id in self.hubspot.state.add_tasks(tasks=tasks, pending_seconds=pending_seconds):
            answer = self.api.register(task_id, self.receiver.url(self.installation, behaviour))
            assert answer.status_code in {200, 201}, answer.text
            self.ledger.promise(answer.json()["id"])

    def register_together(self, behaviour: str = "ok", *, tasks: int, pending_seconds: float = 0) -> None:
        """As `register`, in few requests; only while nothing fails."""
        ids = self.hubspot.state.add_tasks(tasks=tasks, pending_seconds=pending_seconds)
        url = self.receiver.url(self.installation, behaviour)
        for start in range(0, tasks, BATCH):
            some = ids[start : start + BATCH]
            wanted = [{"task_id": task_id, "callback_url": url} for task_id in some]
            answer = self.api.call("POST", "/v1/watches/batch", {"watches": wanted})
            assert answer is not None
            self.ledger.promise(*(result["watch"]["id"] for result in answer.json()["results"]))

    def arrivals(self) -> int:
        """Return how many callbacks have arrived."""
        return len(self.receiver.arrivals(self.installation))

    def fill(self) -> None:
        """Have callbacks in flight, and tasks that end a little later."""
        before = self.arrivals()
        self.register(tasks=3, pending_seconds=5)
        self.register("slow", tasks=3)
        until(lambda: self.arrivals() > before)

    def errors(self) -> list[dict[str, Any]]:
        """Return what its processes have logged as errors."""
        return [*errors(self.worker.log), *errors(self.web.log)]


@contextmanager
def deployment(
    installation: Installation,
    hubspot: Sandbox,
    receiver: Receiver,
    folder: Path,
    *,
    interpreter: bool = False,
) -> Iterator[Deployment]:
    """Run a bridge until the block ends; `interpreter` as for `Running`."""
    port = free_port()
    with processes(installation.env(hubspot.url, **ENV), folder, interpreter=interpreter) as started:
        yield Deployment(
            installation=installation,
            hubspot=hubspot,
            receiver=receiver,
            ledger=Ledger(installation, receiver),
            processes=started,
            worker=started.worker(),
            web=started.web(port),
            api=Api(installation, port),
        )


def cpu_share(running: Running, seconds: float) -> float:
    """Return which share of a processor a process uses in the next `seconds`."""
    before = running.cpu_seconds()
    time.sleep(seconds)
    return (running.cpu_seconds() - before) / seconds
