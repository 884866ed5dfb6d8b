"""A process may die between any two steps: nothing is lost, and what is told again is told alike.

All boundaries are tried at the same time, each on a database of its own: leases have to run out.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from bridge.sandbox import Sandbox
from tests.reliability import forked
from tests.reliability.api import Api
from tests.reliability.conftest import NewSite
from tests.reliability.dying import DELIVER, POLL, REGISTER
from tests.reliability.ledger import Ledger
from tests.reliability.processes import free_port
from tests.reliability.receiver import Receiver
from tests.reliability.site import LEASE_SECONDS, Site
from tests.reliability.waiting import until

KINDS = ("sqlite", "postgresql")
KILLED = -9
# The second time: what comes first has gone well.
NTH = "2"
# What would be sent again after all is told would come when a forgotten lease runs out.
QUIET_SECONDS = LEASE_SECONDS + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Aftermath:
    """How the process that was struck ended, and what does not add up in the end."""

    died: bool
    problems: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Where a process dies, and others go on."""

    site: Site
    hubspot: Sandbox
    receiver: Receiver
    folder: Path

    def worker_dies(self, boundary: str) -> Aftermath:
        ledger = Ledger(self.site, self.receiver)
        ended = self.hubspot.state.add_tasks(tasks=2)
        going_on = self.hubspot.state.add_tasks(processing_seconds=1.0, tasks=2)
        ledger.promise(*self.site.register([*ended, *going_on], self.receiver.url(self.site, "flaky")))
        env = self.site.env(self.hubspot.url)
        with self._running(env, boundary, NTH, "SIGKILL", "worker") as struck:
            struck.join(60)
            died = struck.exitcode == KILLED
        with self._running(env):
            return Aftermath(died=died, problems=_followed(ledger))

    def web_dies(self, boundary: str) -> Aftermath:
        """gunicorn replaces the process that dies; the client sends again what got no answer."""
        ledger = Ledger(self.site, self.receiver)
        port = free_port()
        env = self.site.env(self.hubspot.url, PORT=str(port))
        with self._running(env, boundary, NTH, "SIGKILL", "web"):
            api = Api(self.site, port)
            answers = [
                api.register(task_id, self.receiver.url(self.site))
                for task_id in self.hubspot.state.add_tasks(tasks=2)
            ]
            ledger.promise(*(answer.json()["id"] for answer in answers))
            problems = _followed(ledger)
        log = (self.folder / "log").read_text()
        return Aftermath(died="SIGKILL" in log, problems=problems)

    @contextmanager
    def _running(self, env: dict[str, str], *boundary: str) -> Iterator[BaseProcess]:
        child = forked.start(env, self.folder / "log", *boundary)
        try:
            yield child
        finally:
            forked.end(child)


def _followed(ledger: Ledger) -> list[str]:
    until(ledger.settled)
    time.sleep(QUIET_SECONDS)
    return ledger.problems()


Aftermaths = dict[tuple[str, str], Future[Aftermath]]


@pytest.fixture(scope="module")
def aftermaths(
    new_site: NewSite, hubspot: Sandbox, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Aftermaths]:
    """What came of each boundary on each kind of database."""
    played: Aftermaths = {}
    with ThreadPoolExecutor(len(KINDS) * len(REGISTER | POLL | DELIVER)) as stage:
        for kind in KINDS:
            for boundary in REGISTER | POLL | DELIVER:
                scene = Scene(
                    site=new_site(kind),
                    hubspot=hubspot,
                    receiver=receiver,
                    folder=tmp_path_factory.mktemp("scene"),
                )
                play = scene.web_dies if boundary in REGISTER else scene.worker_dies
                played[kind, boundary] = stage.submit(play, boundary)
        yield played


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("boundary", REGISTER | POLL | DELIVER)
def test_whoever_dies_there_loses_nothing(aftermaths: Aftermaths, kind: str, boundary: str) -> None:
    aftermath = aftermaths[kind, boundary].result()
    assert aftermath.died, "the boundary was not reached"
    assert not aftermath.problems
