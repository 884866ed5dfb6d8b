"""Keeps all threads of a process on one CPU core, so that the interpreter's lock (GIL) stays on that core.

On systems other than Linux, nothing is done.
"""

import os
import random
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LOOK_SECONDS = 0.5
# A process may leave its core when other processes use more than CROWDED of it, and another core is freer by MARGIN.
CROWDED = 0.25
MARGIN = 0.2
# The chance of a move at each look, so that two processes on one core do not move to the same core together.
MOVE_CHANCE = 0.5


@dataclass(frozen=True, slots=True)
class Shares:
    """The use of CPU time, as shares of one core's time.

    `cores` maps each core to its use by all processes together; `process` is the use by this process.
    """

    cores: Mapping[int, float]
    process: float


@dataclass(frozen=True, slots=True)
class Reading:
    """How many seconds each core has been busy since the boot, and this process's CPU seconds so far.

    `at` is the instant of the reading, in seconds of the monotonic clock. The keys of `cores` are the cores' numbers.
    """

    at: float
    cores: Mapping[int, float]
    process: float

    @classmethod
    def now(cls) -> Self:
        """Return a reading of /proc/stat (proc(5): `cpuN user nice system idle iowait …`).

        Raises OSError or ValueError when the file cannot be read or understood.
        """
        tick, cores = os.sysconf("SC_CLK_TCK"), {}
        for line in Path("/proc/stat").read_text().splitlines():
            name, *times = line.split()
            if name.startswith("cpu") and name != "cpu":
                user, nice, system, _, _, irq, softirq, steal = map(int, times[:8])
                cores[int(name[3:])] = (user + nice + system + irq + softirq + steal) / tick
        return cls(at=time.monotonic(), cores=cores, process=time.process_time())

    def since(self, before: "Reading") -> Shares:
        """Return how busy each core and this process were since the reading `before`, as CPU seconds per second elapsed."""
        seconds = self.at - before.at
        known = self.cores.keys() & before.cores.keys()
        cores = {core: (self.cores[core] - before.cores[core]) / seconds for core in known}
        return Shares(cores=cores, process=(self.process - before.process) / seconds)


def better_core(core: int | None, allowed: Sequence[int], shares: Shares) -> int | None:
    """Return the core that the process should move to; None if the process should stay.

    `core` is the process's core, or None before the first move. `shares` is the recent use of the cores. The candidates
    are the `allowed` cores that `shares` knows. Without candidates, the result is None. Otherwise the best candidate is
    the least used one; of equally used candidates, it is the first in `allowed`.

    If `core` is not one of the candidates, the best candidate is returned. If it is one, the best candidate is returned
    only when both conditions hold:

    - Other processes use more than CROWDED of the time of `core`.
    - The use of the best candidate, plus MARGIN, is less than the use of `core` by other processes.

    In all other cases, the result is None.
    """
    used = {one: shares.cores[one] for one in allowed if one in shares.cores}
    if not used:
        return None
    freest = min(used, key=used.__getitem__)
    if core not in used:
        return freest
    others = used[core] - shares.process
    return freest if others > CROWDED and used[freest] + MARGIN < others else None


def use_one_core() -> None:
    """Keep all threads of this process, later ones included, on one CPU core, where the system allows it."""
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = os.sched_getaffinity(0)
    try:
        first = Reading.now()
    except (OSError, ValueError):
        return
    # In a container, /proc/stat may lack the allowed cores, or hold only zeros.
    if len(allowed) > 1 and allowed <= first.cores.keys() and any(first.cores.values()):
        threading.Thread(target=_keep, args=(allowed, first), name="one-core", daemon=True).start()


def _keep(allowed: Collection[int], before: Reading) -> None:
    core = None
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            after = Reading.now()
        except (OSError, ValueError):
            continue
        in_any_order = random.sample(sorted(allowed), len(allowed))
        freer = better_core(core, in_any_order, after.since(before))
        if freer is not None and (core is None or random.random() < MOVE_CHANCE):  # noqa: S311 -- no secret
            core = freer
            _move_to(core)
        before = after


def _move_to(core: int) -> None:
    moved: set[int] = set()
    # Threads that are not moved yet may start others meanwhile.
    while new := _threads() - moved:
        for thread in new:
            # The thread may have ended, or the core may no longer be allowed.
            with suppress(OSError):
                os.sched_setaffinity(thread, {core})
        moved |= new


def _threads() -> set[int]:
    with suppress(OSError):
        return {int(name) for name in os.listdir("/proc/self/task")}  # noqa: PTH208 -- numbers, not files
    return set()
