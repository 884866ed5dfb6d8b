"""How long from HubSpot's saying that a task has ended until the callback arrives, on an idle system.

Open loop: the tasks come at their own pace, whatever the bridge does.
"""

from datetime import UTC, datetime, timedelta

from bench.harness import KINDS, Bench
from bench.report import Row, ScenarioResult, Table, at_most, percentile
from bench.system import names

TASKS_PER_SECOND = 10


def run(bench: Bench) -> ScenarioResult:
    """Let tasks end one by one, over each kind of database."""
    rounds = range(bench.pick(2, 1))
    found = {kind: [_delays(bench, kind) for _ in rounds] for kind in KINDS}
    rows = [
        Row(
            name=f"p95 from COMPLETE seen to the callback's arrival, {kind}",
            figures=[percentile(delays, 95) for delays in runs],
            goal=at_most(10, floor=300),
            unit="ms",
        )
        for kind, runs in found.items()
    ]
    lines = [_line(kind, [delay for delays in runs for delay in delays]) for kind, runs in found.items()]
    table = Table(
        title="Milliseconds from COMPLETE seen to the callback's arrival",
        columns=("database", "p50", "p95", "p99", "max"),
        lines=lines,
    )
    return ScenarioResult(rows=rows, tables=[table])


def _line(kind: str, delays: list[float]) -> tuple[str | float, ...]:
    return (kind, *(percentile(delays, share) for share in (50, 95, 99, 100)))


def _delays(bench: Bench, kind: str) -> list[float]:
    system = bench.system(kind)
    with system.workers():
        bench.far_side.reset()
        tasks = names(bench.pick(100, 30))
        first_at = datetime.now(UTC) + timedelta(seconds=2)
        system.register_paced(tasks, first_at, per_second=TASKS_PER_SECOND)
        ledger = bench.far_side.once_each(len(tasks))
    system.engine.dispose()
    return [(ledger.called_back_at[task] - ledger.polled_at[task]) * 1000 for task in tasks]
