"""How many tasks a second, end to end, against the bound: the same requests with no bridge around them.

A task is registered in the store, polled once (it is COMPLETE), called back once with a signature, and
all of its state is durable. The runs alternate, so that what else the machine does meets all alike.
"""

import json
import subprocess
from collections import defaultdict
from statistics import median

from bench.harness import Bench
from bench.processes import ROOT, python
from bench.report import Row, ScenarioResult, Table, at_least, at_most, ratios
from bench.system import Run

# The default: what waits ahead of the slots makes the batches full, so that more slots gain nothing.
CONCURRENCY = "32"
BOUND = "two bare requests calls"
# As many of the tasks go first: every thread has its connections then.
WARM_UP_SHARE = 0.2
SQLITE = "SQLite, one process"
ONE, TWO, FOUR = (f"PostgreSQL, {count}" for count in ("one process", "two processes", "four processes"))
CASES = {SQLITE: ("sqlite", 1), ONE: ("postgresql", 1), TWO: ("postgresql", 2), FOUR: ("postgresql", 4)}


def run(bench: Bench) -> ScenarioResult:
    """Alternate the bound and the cases."""
    # Seconds of work: in one second, half of it is the beginning and the end.
    tasks = bench.pick(5_000, 600)
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    for _ in range(bench.pick(5, 1)):
        runs[BOUND].append(bound(bench, tasks))
        for name, (kind, processes) in CASES.items():
            runs[name].append(case(bench, kind, processes, tasks))
    return ScenarioResult(rows=_rows(runs), tables=[raw("Tasks end to end", runs)])


def bound(bench: Bench, tasks: int) -> Run:
    """Make the requests of so many tasks without a bridge, in a process of its own."""
    bench.far_side.reset()
    command = python("-m", "bench.bound", str(bench.far_side.port), str(tasks))
    measured = json.loads(subprocess.check_output(command, cwd=ROOT))
    return Run(
        tasks_per_second=measured["tasks_per_second"], cpu_seconds=measured["cpu_seconds"] / tasks * 1000
    )


def case(bench: Bench, kind: str, processes: int, tasks: int) -> Run:
    """Put so many tasks through the bridge, once its workers have warmed up."""
    system = bench.system(kind, BRIDGE_CONCURRENCY=CONCURRENCY)
    with system.workers(processes) as workers:
        system.run(int(tasks * WARM_UP_SHARE), workers)
        measured = system.run(tasks, workers)
    system.engine.dispose()
    return measured


def _rows(runs: dict[str, list[Run]]) -> list[Row]:
    speed = {name: [run.tasks_per_second for run in of] for name, of in runs.items()}
    cpu = {name: [run.cpu_seconds for run in of] for name, of in runs.items()}
    return [
        *(
            Row(
                name=f"tasks/s over the bound: {name}",
                figures=ratios(speed[name], speed[BOUND]),
                goal=at_least(2, floor=0.3),
            )
            for name in (SQLITE, ONE)
        ),
        *(
            Row(
                name=f"CPU per task over the bound's: {name}",
                figures=ratios(cpu[name], cpu[BOUND]),
                goal=at_most(1.2, floor=4),
            )
            for name in CASES
        ),
        Row(
            name="two worker processes over one, PostgreSQL",
            figures=ratios(speed[TWO], speed[ONE]),
            goal=at_least(1.6, floor=0.7),
        ),
    ]


def raw(title: str, runs: dict[str, list[Run]]) -> Table:
    """Return the runs as a table."""
    lines = [
        (
            name,
            median(run.tasks_per_second for run in of),
            min(run.tasks_per_second for run in of),
            max(run.tasks_per_second for run in of),
            median(run.cpu_seconds for run in of),
            max(run.peak_mebibytes for run in of) or "",
        )
        for name, of in runs.items()
    ]
    columns = ("", "tasks/s", "min", "max", "CPU s per 1,000, servers aside", "peak MiB of a process")
    return Table(title=title, columns=columns, lines=lines)
