"""What many accounts cost: one worker's memory with no quota in the way, and its CPU with each at its quota."""

import time
from datetime import UTC, datetime, timedelta

from bench.bulk import Load, fill
from bench.harness import Bench
from bench.loopback import RECEIVERS
from bench.report import Row, ScenarioResult, Table, at_least, at_most
from bench.scenarios.order import PER_SECOND
from bench.system import System
from bridge.db.accounts import AccountChange, Credentials

DUE = 100_000
WARM_SECONDS = 5


def run(bench: Bench) -> ScenarioResult:
    """Measure both, on PostgreSQL."""
    peak = _memory(bench, accounts=1_000)
    numbers = (1, 10, 50)
    quotas = {number: _at_quota(bench, number) for number in numbers}
    rows = [
        Row(
            name=f"peak memory of a worker, {DUE:,} due over 1,000 accounts",
            figures=[peak],
            goal=at_most(130, floor=200),
            unit="MiB",
        ),
        Row(
            name=f"polls/s over the quota, {numbers[-1]} accounts, one worker",
            figures=[quotas[numbers[-1]][0] / (numbers[-1] * PER_SECOND)],
            goal=at_least(0.9, floor=0.3),
        ),
    ]
    lines = [(str(n), n * PER_SECOND, polls, share) for n, (polls, share) in quotas.items()]
    columns = ("accounts", "their quota, polls/s", "polls/s", "worker, % of a core")
    title = "Accounts at their quota, each poll ends its task, one worker, PostgreSQL"
    return ScenarioResult(rows=rows, tables=[Table(title=title, columns=columns, lines=lines)])


def _memory(bench: Bench, *, accounts: int) -> float:
    """Let one worker take what it can, and see how large it grows."""
    system = bench.system("postgresql")
    _fill(bench, system, accounts)
    with system.workers() as [worker]:
        time.sleep(bench.pick(15, 5))
        peak = worker.peak_mebibytes
    system.engine.dispose()
    return peak


def _at_quota(bench: Bench, accounts: int) -> tuple[float, float]:
    """Return the polls a second of one worker, and what it takes of a core."""
    system = bench.system("postgresql", HUBSPOT_RATE_LIMIT="100/10", HUBSPOT_RATE_SHARE="0.5")
    _fill(bench, system, accounts)
    seconds = bench.pick(12, 5)
    with system.workers() as [worker]:
        time.sleep(WARM_SECONDS)
        bench.far_side.reset()
        cpu = worker.cpu_seconds
        time.sleep(seconds)
        polls = bench.far_side.ledger().polls
        share = (worker.cpu_seconds - cpu) / seconds * 100
    system.engine.dispose()
    return polls / seconds, share


def _fill(bench: Bench, system: System, accounts: int) -> None:
    change = AccountChange(credentials=Credentials(access_token="pat-bench"))  # noqa: S106 -- opens nothing
    now = datetime.now(UTC)
    names = ["default"] if accounts == 1 else [f"account-{number}" for number in range(accounts)]
    with system.engine.begin() as connection:
        for name in names:
            system.bridge.accounts.put(connection, name, change, now)
    receiver = RECEIVERS[1]
    load = Load(
        stem="m",
        count=DUE,
        due_at=now - timedelta(minutes=5),
        spread=timedelta(minutes=4),
        host=receiver,
        url=f"{bench.far_side.url(receiver)}/",
        accounts=accounts,
    )
    fill(system, load)
