"""How many slots: few where the peers answer at once, many where each call takes 100 ms."""

from statistics import median

from bench.harness import KINDS, Bench
from bench.loopback import HOSTS
from bench.report import Findings, Row, Table, at_least
from bench.system import Run

FAST_SLOTS = (8, 32, 64, 128, 256)
SLOW_SLOTS = (32, 64, 128)
CALL_SECONDS = 0.1
# 12 s of work: the first tick alone may be 0.25 s away.
TASKS_A_SLOT = 60


def run(bench: Bench) -> Findings:
    """Try numbers of slots with fast peers, then with slow ones."""
    fast = {(kind, slots): _fast(bench, kind, slots) for kind in KINDS for slots in FAST_SLOTS}
    slow = {slots: [_slow(bench, slots) for _ in range(bench.pick(2, 1))] for slots in SLOW_SLOTS}
    rows = [
        Row(
            name=f"calls of 100 ms: tasks/s over {slots} slots / 0.2 s",
            figures=[run.tasks_per_second * 2 * CALL_SECONDS / slots for run in runs],
            goal=at_least(0.9, floor=0.4),
        )
        for slots, runs in slow.items()
    ]
    return Findings(rows=rows, tables=[_fast_table(fast), _slow_table(slow)])


def _fast(bench: Bench, kind: str, slots: int) -> list[Run]:
    system = bench.system(kind, BRIDGE_CONCURRENCY=str(slots))
    with system.workers() as workers:
        system.run(100, workers)
        runs = [system.run(bench.pick(1_000, 300), workers) for _ in range(bench.pick(2, 1))]
    system.engine.dispose()
    return runs


def _slow(bench: Bench, slots: int) -> Run:
    system = bench.system("sqlite", BRIDGE_CONCURRENCY=str(slots))
    with system.workers() as workers:
        # The first tasks start the threads.
        system.run(slots * 2, workers)
        measured = system.run(slots * TASKS_A_SLOT, workers, delays=dict.fromkeys(HOSTS, CALL_SECONDS))
    system.engine.dispose()
    return measured


def _fast_table(runs: dict[tuple[str, int], list[Run]]) -> Table:
    lines = [
        (
            kind,
            str(slots),
            median(run.tasks_per_second for run in of),
            median(run.cpu_seconds for run in of),
            max(run.peak_mebibytes for run in of),
        )
        for (kind, slots), of in runs.items()
    ]
    columns = ("database", "slots", "tasks/s", "CPU s per 1,000", "peak MiB")
    return Table(title="Slots, with peers that answer at once", columns=columns, lines=lines)


def _slow_table(runs: dict[int, list[Run]]) -> Table:
    lines = [
        (
            str(slots),
            slots / (2 * CALL_SECONDS),
            median(run.tasks_per_second for run in of),
            max(run.peak_mebibytes for run in of),
        )
        for slots, of in runs.items()
    ]
    columns = ("slots", "slots / 0.2 s", "tasks/s", "peak MiB")
    return Table(title="Slots, with peers that take 100 ms a call (SQLite)", columns=columns, lines=lines)
