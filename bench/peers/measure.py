"""Measures the rivals beside the bridge: the same tasks, the same loopback server, alternating runs."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from bench.far_side import LedgerDiffers
from bench.harness import Bench
from bench.loopback import Ledger
from bench.peers import tools
from bench.peers.tools import Missing, Started
from bench.processes import family_cpu_seconds
from bench.report import Goal, Row, ScenarioResult, Table, at_least, at_most, one_line, ratios
from bench.scenarios.throughput import WARM_UP_SHARE, case, raw
from bench.system import Run

BRIDGE = "the bridge, two processes on PostgreSQL"
TASKS = 5_000
# It manages about two hundred a second.
FEWER = {"APScheduler": 1_000}
ROUNDS = 3

RIVALS: Mapping[str, Callable[[Bench], AbstractContextManager[Started]]] = {
    "Celery": tools.celery,
    "BullMQ": tools.bullmq,
    "pgqueuer": tools.pgqueuer,
    "APScheduler": tools.apscheduler,
}
GOALS: Mapping[str, Goal] = {
    "Celery": at_least(7, floor=1),
    "BullMQ": at_least(1.5, floor=0.3),
    "pgqueuer": at_least(2, floor=0.3),
}


def run(bench: Bench) -> ScenarioResult:
    """Measure all that can run here; the others are named."""
    runs: defaultdict[str, list[Run]] = defaultdict(list)
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        rivals = {}
        own = {name: stack.enter_context(ExitStack()) for name in RIVALS}
        for name, start in RIVALS.items():
            with _named(name, failed, own[name]):
                rivals[name] = own[name].enter_context(start(bench))
        for _ in range(ROUNDS):
            runs[BRIDGE].append(case(bench, "postgresql", 2, TASKS))
            for name in [name for name in rivals if name not in failed]:
                with _named(name, failed, own[name]):
                    runs[name].append(_rival(bench, rivals[name], FEWER.get(name, TASKS)))
    measured = {name: of for name, of in runs.items() if name not in failed}
    tables = [raw("The same job with other tools", measured)]
    if failed:
        tables.append(Table(title="Not measured", columns=("tool", "why"), lines=list(failed.items())))
    return ScenarioResult(rows=_rows(measured), tables=tables)


@contextmanager
def _named(name: str, failed: dict[str, str], own: ExitStack) -> Iterator[None]:
    """Whoever cannot be installed, or does not get through its tasks, is ended: it must not disturb the others."""
    try:
        yield
    except (Missing, LedgerDiffers) as reason:
        failed[name] = one_line(reason)
        own.close()


def _rows(runs: Mapping[str, list[Run]]) -> list[Row]:
    speed = {name: [run.tasks_per_second for run in of] for name, of in runs.items()}
    rows = [
        Row(
            name=f"tasks/s, two processes on PostgreSQL, over {name}",
            figures=ratios(speed[BRIDGE], speed[name]),
            goal=goal,
        )
        for name, goal in GOALS.items()
        if name in runs
    ]
    if "BullMQ" in runs:
        cpu = [[run.cpu_seconds for run in runs[name]] for name in (BRIDGE, "BullMQ")]
        goal = at_most(0.6, floor=2)
        rows.append(Row(name="CPU per task over BullMQ's", figures=ratios(*cpu), goal=goal))
    return rows


def _rival(bench: Bench, rival: Started, tasks: int) -> Run:
    """Time a rival from its first poll to its last callback: the start of what enqueues is not counted."""
    # The bridge has warmed up too.
    _through(bench, rival, int(tasks * WARM_UP_SHARE))
    cpu = family_cpu_seconds(rival.pid)
    ledger = _through(bench, rival, tasks)
    elapsed = max(ledger.called_back_at.values()) - min(ledger.polled_at.values())
    # What the last jobs still write belongs to them.
    time.sleep(1)
    return Run(
        tasks_per_second=tasks / elapsed,
        cpu_seconds=(family_cpu_seconds(rival.pid) - cpu) / tasks * 1000,
    )


def _through(bench: Bench, rival: Started, tasks: int) -> Ledger:
    bench.far_side.reset()
    rival.enqueue(f"R{time.monotonic_ns()}", tasks)
    return bench.far_side.once_each(tasks)
