"""A process keeps to one core, with all its threads."""

import json
import os
import subprocess
import sys
import time

import pytest

from bridge.worker.cpu_affinity import Reading

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
