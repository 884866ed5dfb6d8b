"""A worker that is stopped past its lease comes back too late: it may neither save nor send any more."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import pytest

from tests.reliability.conftest import KINDS, NewScene
from tests.reliability.ledger import Ledger
from tests.reliability.processes import lines, process_state
from tests.reliability.scenes import Scene, played
from tests.reliability.waiting import until

STOPPED = "T"
BOUNDARIES = ("poll: claimed", "poll: asked", "poll: answered", "deliver: claimed", "deliver: answered")
# Long enough to see the watch move back, or a callback go out, if they did.
QUIET_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Aftermath:
    """What the one that came back did, and what does not add up in the end."""

    arrivals: int
    lost: list[str]
    problems: list[str]


def worker_stops(scene: Scene, boundary: str) -> Aftermath:
    """Stop a worker at the boundary until another has done its work; then let it go on."""
    ledger = Ledger(scene.site, scene.receiver)
    [watch_id] = scene.site.register(scene.hubspot.state.add_tasks(), scene.receiver.url(scene.site))
    ledger.promise(watch_id)
    with scene.struck(boundary, 1, "SIGSTOP", "worker") as stopped:
        pid = stopped.pid or 0
        until(lambda: process_state(pid) == STOPPED)
        with scene.healthy_worker():
            until(ledger.settled)
            told = len(scene.receiver.arrivals(scene.site))
            os.kill(pid, signal.SIGCONT)
            lost = until(lambda: lines(scene.log, "lease_lost"))
            time.sleep(QUIET_SECONDS)
    return Aftermath(
        arrivals=len(scene.receiver.arrivals(scene.site)) - told,
        lost=[line["watch"] for line in lost],
        problems=ledger.problems(),
    )


Aftermaths = Mapping[tuple[str, str], Future[Aftermath]]


@pytest.fixture(scope="module")
def aftermaths(new_scene: NewScene) -> Iterator[Aftermaths]:
    plays = {
        (kind, boundary): partial(worker_stops, new_scene(kind), boundary)
        for kind in KINDS
        for boundary in BOUNDARIES
    }
    with played(plays) as came:
        yield came


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_whoever_comes_back_too_late_changes_nothing(
    aftermaths: Aftermaths, kind: str, boundary: str
) -> None:
    aftermath = aftermaths[kind, boundary].result()
    assert not aftermath.problems
    assert len(aftermath.lost) == 1
    assert aftermath.arrivals == 0
