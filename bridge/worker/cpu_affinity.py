"""One core for all threads of a process, so that they need not hand the interpreter's lock across cores.

Only one thread runs Python at a time. When the threads sit on several cores, nearly every call to the
system passes the lock from one to another: a busy worker then needs half as much CPU again, and does two
thirds of the work. Linux alone lets a process choose; elsewhere nothing is done.
"""

import os
import random
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bridge.core.cpu_affinity import Shares, better

LOOK_SECONDS = 0.5
# Two processes that share a core must not both leave it, and meet again on the next one.
MOVE_CHANCE = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """CPU seconds since the start, of each core and of this process, at a monotonic instant."""

    at: float
    cores: Mapping[int, float]
    process: float

    @classmethod
    def now(cls) -> Self:
        """Read /proc/stat (proc(5): `cpuN user nice system idle iowait …`). Raises OSError or ValueError."""
        tick, cores = os.sysconf("SC_CLK_TCK"), {}
        for line in Path("/proc/stat").read_text().splitlines():
            name, *times = line.split()
            if name.startswith("cpu") and name != "cpu":
                user, nice, system, _, _, irq, softirq, steal = map(int, times[:8])
                cores[int(name[3:])] = (user + nice + system + irq + softirq + steal) / tick
        return cls(at=time.monotonic(), cores=cores, process=time.process_time())

    def since(self, before: "Reading") -> Shares:
        """Return what was used since then, of the cores that both readings know."""
        seconds = self.at - before.at
        known = self.cores.keys() & before.cores.keys()
        cores = {core: (self.cores[core] - before.cores[core]) / seconds for core in known}
        return Shares(cores=cores, process=(self.process - before.process) / seconds)


def use_one_core() -> None:
    """Keep this process on one core from now on: its threads move, and those that come later inherit.

    Twice a second it looks whether another core is freer. Where the system does not tell what its cores do,
    nothing is done.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = os.sched_getaffinity(0)
    try:
        first = Reading.now()
    except (OSError, ValueError):
        return
    # A container may show other cores than those that it names, or none that ever does anything.
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
        freer = better(core, in_any_order, after.since(before))
        if freer is not None and (core is None or random.random() < MOVE_CHANCE):  # noqa: S311 -- no secret
            core = freer
            _move_to(core)
        before = after


def _move_to(core: int) -> None:
    moved: set[int] = set()
    # Whoever is not moved yet may start another one meanwhile.
    while new := _threads() - moved:
        for thread in new:
            # It may have ended meanwhile, or the core may have been taken away.
            with suppress(OSError):
                os.sched_setaffinity(thread, {core})
        moved |= new


def _threads() -> set[int]:
    with suppress(OSError):
        return {int(name) for name in os.listdir("/proc/self/task")}  # noqa: PTH208 -- numbers, not files
    return set()
