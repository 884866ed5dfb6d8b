"""Whether a worker stays as it is: an hour at half of what it can do, its memory and descriptors read meanwhile.

It is not among the scenarios that run by themselves: `python -m bench --only soak`.
"""

import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from math import ceil
from statistics import median

from bench.harness import Bench
from bench.processes import Process
from bench.report import Row, ScenarioResult, Table, at_most
from bench.system import System, names

# What is read in the first tenth is not counted: caches and connections fill there.
WARM_UP_SHARE = 0.1
SLICES = 120
COLUMNS = ("resident MiB", "descriptors", "sockets", "CPU s of a slice")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one look at the worker found; `cpu_seconds` are those of the slice before it."""

    mebibytes: float
    descriptors: float
    sockets: float
    cpu_seconds: float


def run(bench: Bench) -> ScenarioResult:
    """Register at half of the speed that a first run has shown, and look at the worker after each slice."""
    seconds = bench.pick(3600, 60)
    system = bench.system("postgresql")
    with system.workers() as [worker]:
        system.run(1_000, [worker])
        full = system.run(bench.pick(10_000, 2_000), [worker]).tasks_per_second
        a_slice = round(full / 2 * seconds / SLICES)
        samples = [_slice(bench, system, worker, a_slice, seconds / SLICES) for _ in range(SLICES)]
    system.engine.dispose()
    kept = samples[round(SLICES * WARM_UP_SHARE) :]
    size = len(kept) // 4
    quarters = [_medians(kept[number * size : (number + 1) * size]) for number in range(4)]
    lines = [(str(number), *astuple(quarter)) for number, quarter in enumerate(quarters, 1)]
    minutes = f"{seconds / 60:.0f} min"
    rows = [
        Row(
            name=f"{what} of a worker, last quarter of {minutes} over the first",
            figures=[after / before],
            goal=at_most(1.05, floor=2),
        )
        for what, before, after in zip(COLUMNS[:3], astuple(quarters[0]), astuple(quarters[3]), strict=False)
    ]
    title = f"A worker at {full / 2:.0f} tasks/s for {minutes}: the medians of each quarter"
    return ScenarioResult(rows=rows, tables=[Table(title=title, columns=("quarter", *COLUMNS), lines=lines)])


def _slice(bench: Bench, system: System, worker: Process, tasks: int, seconds: float) -> Sample:
    """Register tasks second by second, see each of them called back once, and look at the worker."""
    bench.far_side.reset()
    cpu, end_at = worker.cpu_seconds, time.monotonic() + seconds
    wanted = names(tasks)
    while wanted:
        left = max(end_at - time.monotonic(), 1.0)
        share = ceil(len(wanted) / left)
        system.register(wanted[:share])
        wanted = wanted[share:]
        time.sleep(1.0 if wanted else 0.0)
    bench.far_side.once_each(tasks)
    files = worker.open_files
    sockets = sum(file.startswith("socket:") for file in files)
    return Sample(worker.resident_mebibytes, len(files), sockets, worker.cpu_seconds - cpu)


def _medians(samples: Sequence[Sample]) -> Sample:
    return Sample(*(median(of) for of in zip(*map(astuple, samples), strict=True)))
