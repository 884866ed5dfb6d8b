"""One core for all threads of a process, so that they need not hand the interpreter's lock across cores.

Only one thread runs Python at a time. When the threads sit on several cores, nearly every call to the
system passes the lock from one to another: a busy worker then needs half as much CPU again, and does two
thirds of the work. Linux alone lets a process choose; elsewhere nothing is done.
"""

import os
import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LOOK_SECONDS = 0.5
# Where others want this much of a core, and another one is freer by the margin, it is left.
CROWDED = 0.25
MARGIN = 0.2
# Two processes that share a core must not both leave it, and meet again on the next one.
MOVE_CHANCE = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the start: of each core, by whoever it was, and of this process."""

    at: float
    cores: Mapping[int, float]
    process: float

    @classmethod
    def now(cls) -> Self:
        """Read it from /proc (proc(5): `cpuN user nice system idle iowait …`)."""
        cores = {}
        for line in Path("/proc/stat").read_text().splitlines():
            name, *times = line.split()
            if name.startswith("cpu") and name != "cpu":
                idle, waiting = times[3:5]
                cores[int(name[3:])] = (sum(map(int, times[:8])) - int(idle) - int(waiting)) / _TICKS
        return cls(at=time.monotonic(), cores=cores, process=time.process_time())

    def since(self, before: "Usage") -> "Usage":
        """Return the shares of a core that were used since then: 0 to 1 of each."""
        seconds = self.at - before.at
        cores = {core: (used - before.cores.get(core, used)) / seconds for core, used in self.cores.items()}
        return Usage(at=self.at, cores=cores, process=(self.process - before.process) / seconds)


def better(core: int | None, allowed: frozenset[int], usage: Usage) -> int | None:
    """Return the core to move to, of those allowed; None to stay."""
    freest = min(allowed, key=lambda one: usage.cores.get(one, 0.0))
    if core is None:
        return freest
    others = usage.cores.get(core, 0.0) - usage.process
    crowded = others > CROWDED and usage.cores.get(freest, 0.0) + MARGIN < others
    return freest if crowded else None


def keep_to_one() -> None:
    """Keep this process on one core from now on: its threads move, and those that come later inherit.

    Twice a second it looks whether another core is freer.
    """
    if hasattr(os, "sched_setaffinity") and len(allowed := frozenset(os.sched_getaffinity(0))) > 1:
        threading.Thread(target=_keep, args=(allowed,), name="one-core", daemon=True).start()


def _keep(allowed: frozenset[int]) -> None:
    core, before = None, Usage.now()
    while True:
        time.sleep(LOOK_SECONDS)
        after = Usage.now()
        freer = better(core, allowed, after.since(before))
        if freer is not None and (core is None or random.random() < MOVE_CHANCE):  # noqa: S311 -- no secret
            core = freer
            _move_to(core)
        before = after


def _move_to(core: int) -> None:
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 -- these are numbers, not files
        # It may have ended meanwhile, or the core may have been taken away.
        with suppress(OSError):
            os.sched_setaffinity(int(thread), {core})
