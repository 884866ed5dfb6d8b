"""How many slots: few where the peers answer at once, many where each call takes 100 ms or 2 s."""

from statistics import median

from bench.harness import KINDS, Bench
from bench.loopback import HOSTS
from bench.report import Row, ScenarioResult, Table, at_least, at_most
from bench.system import Run

FAST_SLOTS = (8, 32, 64, 128, 256)
# Slots, how long a call takes, tasks: 12 s of work and more, because the first tick alone may be 0.25 s away.
SLOW = ((32, 0.1, 2_000), (128, 0.1, 8_000), (512, 0.1, 12_000), (1_000, 2.0, 6_000))
MOST = SLOW[-1]


def run(bench: Bench) -> ScenarioResult:
    """Try numbers of slots with fast peers, then with slow ones."""
    fast = {(kind, slots): _fast(bench, kind, slots) for kind in KINDS for slots in FAST_SLOTS}
    slow = {case: [_slow(bench, *case) for _ in range(bench.pick(2, 1))] for case in SLOW}
    rows = [
        Row(
            name=f"calls of {seconds:g} s: tasks/s over {slots:,} slots / {2 * seconds:g} s",
            figures=[run.tasks_per_second * 2 * seconds / slots for run in runs],
            goal=at_least(0.9 if seconds > 1 else 0.95, floor=0.1),
        )
        for (slots, seconds, _), runs in slow.items()
    ]
    memory = Row(
        name=f"peak memory of a worker, {MOST[0]:,} requests in flight",
        figures=[run.peak_mebibytes for run in slow[MOST]],
        goal=at_most(130, floor=300),
        unit="MiB",
    )
    return ScenarioResult(rows=[*rows, memory], tables=[_fast_table(fast), _slow_table(slow)])


def _fast(bench: Bench, kind: str, slots: int) -> list[Run]:
    system = bench.system(kind, BRIDGE_CONCURRENCY=str(slots))
    with system.workers() as workers:
        system.run(100, workers)
        runs = [system.run(bench.pick(1_000, 300), workers) for _ in range(bench.pick(2, 1))]
    system.engine.dispose()
    return runs


def _slow(bench: Bench, slots: int, seconds: float, tasks: int) -> Run:
    system = bench.system("postgresql", BRIDGE_CONCURRENCY=str(slots))
    with system.workers() as workers:
        # The first tasks start the threads.
        system.run(slots * 2, workers)
        measured = system.run(tasks, workers, delays=dict.fromkeys(HOSTS, seconds))
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


def _slow_table(runs: dict[tuple[int, float, int], list[Run]]) -> Table:
    lines = [
        (
            f"{slots:,}",
            f"{seconds:g} s",
            slots / (2 * seconds),
            median(run.tasks_per_second for run in of),
            median(run.cpu_seconds for run in of),
            max(run.peak_mebibytes for run in of),
        )
        for (slots, seconds, _), of in runs.items()
    ]
    columns = ("slots", "a call takes", "the most that they can do", "tasks/s", "CPU s per 1,000", "peak MiB")
    return Table(title="Slots, with peers that are slow (PostgreSQL)", columns=columns, lines=lines)
