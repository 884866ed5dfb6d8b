"""Whether one who hangs, is paused or is slow makes the others wait.

Tasks fall due one by one, open loop, alone and beside each bad neighbour; what is measured is the time
from a task's being due to its callback's arrival, waits for a slot included. A tick of the clock, 0.25 s,
is part of it. They go to 200 receivers in turn.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from bench.bulk import Load, fill
from bench.harness import Bench
from bench.loopback import HOSTS, MANY_RECEIVERS
from bench.report import Row, ScenarioResult, Table, at_most, percentile, ratios
from bench.system import System, names
from bridge.core.account_limits import AccountLimits
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.watch import State
from bridge.db import breakers
from bridge.db.accounts import AccountChange, Credentials

ALONE = "alone"
PER_SECOND = 20
NEIGHBOURS = 200
HANGING_DUE = 10_000
HANGING, SLOW = HOSTS[12], HOSTS[13]
HANGING_SECONDS, SLOW_SECONDS = 3600.0, 5.0


def run(bench: Bench) -> ScenarioResult:
    """Alternate being alone with each neighbour."""
    neighbours: dict[str, Callable[[Bench, System], None]] = {
        ALONE: lambda *_: None,
        f"beside a host that hangs, with {HANGING_DUE:,} due": _hanging_host,
        "beside a paused account": _paused_account,
        "beside an account that takes 5 s a call": _slow_account,
    }
    p95: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(bench.pick(2, 1)):
        for name, disturb in neighbours.items():
            p95[name].append(percentile(_waits(bench, disturb), 95))
    rows = [
        Row(
            name=f"p95 from due to called back, {name}, over alone",
            figures=ratios(figures, p95[ALONE]),
            goal=at_most(1.2, floor=4),
        )
        for name, figures in p95.items()
        if name != ALONE
    ]
    lines = [(name, percentile(of, 50) * 1000, max(of) * 1000) for name, of in p95.items()]
    table = Table(
        title="p95 from due to called back, 32 slots, PostgreSQL",
        columns=("", "ms, median of the runs", "ms, the worst run"),
        lines=lines,
    )
    return ScenarioResult(rows=rows, tables=[table])


def _waits(bench: Bench, disturb: Callable[[Bench, System], None]) -> list[float]:
    system = bench.system("postgresql")
    bench.far_side.reset({HANGING: HANGING_SECONDS, SLOW: SLOW_SECONDS})
    tasks = names(bench.pick(120, 60))
    with system.workers():
        disturb(bench, system)
        first_at = datetime.now(UTC) + timedelta(seconds=3)
        system.register_paced(tasks, first_at, per_second=PER_SECOND, receivers=MANY_RECEIVERS)
        last_at = first_at + timedelta(seconds=len(tasks) / PER_SECOND + 3)
        time.sleep(max((last_at - datetime.now(UTC)).total_seconds(), 0))
        arrived_at = bench.far_side.ledger().called_back_at
    system.engine.dispose()
    first = first_at.timestamp() - (time.time() - time.monotonic())
    return [arrived_at.get(task, time.monotonic()) - first - n / PER_SECOND for n, task in enumerate(tasks)]


def _hanging_host(bench: Bench, system: System) -> None:
    fill(
        system,
        Load(
            stem="h",
            count=HANGING_DUE,
            due_at=datetime.now(UTC) - timedelta(minutes=1),
            state=State.DELIVERING,
            host=HANGING,
            url=f"{bench.far_side.url(HANGING)}/",
        ),
    )


def _paused_account(bench: Bench, system: System) -> None:
    _account(bench, system, "paused", HOSTS[0])
    with system.engine.begin() as connection:
        held = breakers.lock_account_limits(connection, ["paused"])["paused"]
        now = datetime.now(UTC)
        paused = CircuitBreaker(
            paused_at=now, paused_until=now + timedelta(hours=1), reason="for the benchmark"
        )
        breakers.save_account_limits(connection, {"paused": AccountLimits(breaker=paused, usage=held.usage)})
    system.register(names(NEIGHBOURS), account="paused")


def _slow_account(bench: Bench, system: System) -> None:
    _account(bench, system, "slow", SLOW)
    system.register(names(NEIGHBOURS), account="slow")


def _account(bench: Bench, system: System, name: str, host: str) -> None:
    change = AccountChange(
        credentials=Credentials(access_token="pat-bench"),  # noqa: S106 -- opens nothing
        base_url=bench.far_side.url(host),
    )
    with system.engine.begin() as connection:
        system.bridge.accounts.put(connection, name, change, datetime.now(UTC))
