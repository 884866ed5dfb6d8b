"""A process keeps to one core, and leaves it when others want it."""

import json
import os
import subprocess
import sys
import time

import pytest

from bridge.edges.cores import Usage, better

ALLOWED = frozenset({0, 1, 2})
# It tells on which cores its threads may run, once that is settled: those from before and those from after.
KEPT = """
import json, os, threading, time
from bridge.edges import cores

stop = threading.Event()
threading.Thread(target=stop.wait, daemon=True).start()
cores.keep_to_one()
allowed, give_up_at = os.sched_getaffinity(0), time.monotonic() + 20
while os.sched_getaffinity(0) == allowed and time.monotonic() < give_up_at:
    time.sleep(0.05)
threading.Thread(target=stop.wait, daemon=True).start()
threads = [int(name) for name in os.listdir("/proc/self/task")]
time.sleep(0.1)
print(json.dumps([sorted(os.sched_getaffinity(thread)) for thread in threads]))
"""


def usage(*cores: float, process: float = 0.0) -> Usage:
    return Usage(at=0.0, cores=dict(enumerate(cores)), process=process)


@pytest.mark.parametrize(
    ("core", "used", "moves_to"),
    [
        pytest.param(None, usage(0.9, 0.2, 0.5), 1, id="at first, to the freest"),
        pytest.param(0, usage(1.0, 0.0, 0.0, process=1.0), None, id="what it uses itself is no reason"),
        pytest.param(0, usage(1.0, 0.0, 0.1, process=0.5), 1, id="others want half of it"),
        pytest.param(0, usage(0.2, 0.0, 0.0, process=0.0), None, id="others want little of it"),
        pytest.param(0, usage(1.0, 0.4, 0.5, process=0.5), None, id="nowhere is it much better"),
        pytest.param(2, usage(0.1, 0.9, 0.6, process=0.1), 0, id="any core may be the freest"),
    ],
)
def test_it_stays_until_another_core_is_freer(core: int | None, used: Usage, moves_to: int | None) -> None:
    assert better(core, ALLOWED, used) == moves_to


def test_a_core_that_is_not_allowed_is_never_chosen() -> None:
    assert better(None, frozenset({1, 2}), usage(0.0, 0.5, 0.9)) == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux lets a process choose its cores")
def test_the_usage_is_what_the_machine_did() -> None:
    before = Usage.now()
    began_at, give_up_at = time.process_time(), time.monotonic() + 30
    while time.process_time() < began_at + 0.2 and time.monotonic() < give_up_at:
        pass
    used = Usage.now().since(before)
    assert set(used.cores) >= os.sched_getaffinity(0)
    assert all(-0.1 <= share <= 1.2 for share in used.cores.values())
    assert 0 < used.process <= sum(used.cores.values()) + 0.2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux lets a process choose its cores")
def test_all_threads_keep_to_one_core() -> None:
    told = json.loads(subprocess.check_output([sys.executable, "-c", KEPT], timeout=60))
    cores = {tuple(allowed) for allowed in told}
    assert len(told) >= 3
    assert len(cores) == 1
    assert len(cores.pop()) == 1
