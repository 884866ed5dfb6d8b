"""A process keeps to one core, with all its threads, and leaves it when another one is freer."""

import json
import os
import subprocess
import sys
import time

import pytest

from bridge.worker.cpu_affinity import Reading, Shares, better_core

ALLOWED = (2, 0, 1)

# Prints on which cores its threads may run after a while: a thread started before, and one started after.
KEPT = """
import json, os, threading, time
from bridge.worker import cpu_affinity as cores

cores.MOVE_CHANCE = 0  # it has moved once, and stays
stop = threading.Event()
threading.Thread(target=stop.wait, daemon=True).start()
cores.use_one_core()
allowed, give_up_at = os.sched_getaffinity(0), time.monotonic() + 20
while os.sched_getaffinity(0) == allowed and time.monotonic() < give_up_at:
    time.sleep(0.05)
threading.Thread(target=stop.wait, daemon=True).start()
threads = [int(name) for name in os.listdir("/proc/self/task")]
time.sleep(0.1)
print(json.dumps([sorted(os.sched_getaffinity(thread)) for thread in threads]))
"""


def can_choose() -> bool:
    """Return whether a process may choose among cores here, and /proc/stat reports their use."""
    try:
        return len(os.sched_getaffinity(0)) > 1 and os.sched_getaffinity(0) <= Reading.now().cores.keys()
    except (AttributeError, OSError, ValueError):
        return False


@pytest.mark.skipif(not can_choose(), reason="there is nothing to choose")
def test_what_was_used_is_what_this_process_has_used() -> None:
    before = Reading.now()
    began_at, give_up_at = time.process_time(), time.monotonic() + 30
    while time.process_time() < began_at + 0.5 and time.monotonic() < give_up_at:
        pass
    used = Reading.now().since(before)
    assert set(used.cores) >= os.sched_getaffinity(0)
    assert all(share >= 0 for share in used.cores.values())
    # The system counts in hundredths of a second.
    assert 0 < used.process <= sum(used.cores.values()) + 0.3


@pytest.mark.skipif(not can_choose(), reason="there is nothing to choose")
def test_all_threads_keep_to_one_core() -> None:
    told = json.loads(subprocess.check_output([sys.executable, "-c", KEPT], timeout=60))
    assert len(told) == 4
    assert len({tuple(allowed) for allowed in told}) == 1
    assert len(told[0]) == 1


def shares(*cores: float, process: float = 0.0) -> Shares:
    return Shares(cores=dict(enumerate(cores)), process=process)


@pytest.mark.parametrize(
    ("core", "used", "moves_to"),
    [
        pytest.param(None, shares(0.9, 0.2, 0.5), 1, id="at first, to the freest"),
        pytest.param(None, shares(0.5, 0.2, 0.2), 2, id="of equal ones to the first"),
        pytest.param(0, shares(1.0, 0.0, 0.0, process=1.0), None, id="what it uses itself is no reason"),
        pytest.param(0, shares(1.0, 0.0, 0.1, process=0.5), 1, id="others want half of it"),
        pytest.param(0, shares(0.24, 0.0, 0.0, process=0.0), None, id="others want little of it"),
        pytest.param(0, shares(1.0, 0.4, 0.5, process=0.5), None, id="nowhere is it much better"),
        pytest.param(2, shares(0.1, 0.9, 0.6, process=0.1), 0, id="any core may be the freest"),
        pytest.param(2, shares(0.9, 0.3), 1, id="its core is there no more"),
        pytest.param(0, Shares(cores={}, process=0.0), None, id="nothing is known"),
    ],
)
def test_it_stays_until_another_core_is_freer(core: int | None, used: Shares, moves_to: int | None) -> None:
    assert better_core(core, ALLOWED, used) == moves_to


def test_a_core_that_is_not_allowed_is_never_chosen() -> None:
    assert better_core(None, (1, 2), shares(0.0, 0.5, 0.9)) == 1
