"""What a look for work, a claim, a page of the list and an idle worker cost when many other watches wait.

The watches are made inside the database. The timed calls alternate among the databases; all but the
idle worker are the store's own functions, called as the worker and the API call them.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

from bench.bulk import Load, fill
from bench.harness import KINDS, Bench
from bench.processes import family_cpu_seconds
from bench.report import Row, ScenarioResult, Table, at_most
from bench.system import CLIENT, System
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.watch import Outcome, State
from bridge.db import breakers, claims, pagination, watch_filters
from bridge.db.due_lanes import DueLanes
from bridge.db.engine import reading
from bridge.db.pagination import Order

CLAIMED = 100
FEW = 1_000
SETTLE_SECONDS = 3
DEAD = "dead.example.com"
CLAIMANT = claims.Claimant(worker="bench", lease_seconds=3600)

Timings = Mapping[str, Sequence[float]]


def run(bench: Bench) -> ScenarioResult:
    """Measure all of it, for each kind of database."""
    found = [one for kind in KINDS for one in _waiting(bench, kind)]
    found += [_lanes(bench, kind) for kind in KINDS]
    found += [_looks(bench, kind) for kind in KINDS]
    return ScenarioResult(
        rows=[row for one in found for row in one.rows],
        tables=[table for one in found for table in one.tables],
    )


def _waiting(bench: Bench, kind: str) -> list[ScenarioResult]:
    """Compare 1,000 waiting watches with more and more; then a worker idles beside the most."""
    rounds = bench.pick(21, 5)
    sizes = [FEW, bench.pick(100_000, 10_000), bench.pick(1_000_000, 50_000)]
    systems = {
        f"{size:,} waiting": _filled(bench, kind, waiting=size, due=CLAIMED * rounds) for size in sizes
    }
    *_, most = systems
    found = [_calls(systems, kind, rounds), _idle(bench, systems[most], f"{most}: {kind}")]
    _dispose(systems)
    return found


def _calls(systems: Mapping[str, System], kind: str, rounds: int) -> ScenarioResult:
    few, *_, many = systems
    rare = watch_filters.Filters(client=CLIENT, outcome=[Outcome.REJECTED])
    claimed = _timed(systems, _claiming(State.WATCHING, "default"), rounds)
    pages = _timed(systems, lambda system: _page(system, watch_filters.Filters(client=CLIENT)), rounds)
    rares = _timed(systems, lambda system: _page(system, rare), 3)
    lines = [(name, median(claimed[name]), median(pages[name]), median(rares[name])) for name in systems]
    columns = ("", f"claim of {CLAIMED}", "a page of 50", "a page of an outcome that is rare")
    return ScenarioResult(
        rows=[
            _row(f"claim of {CLAIMED} rows, {many} over {few}: {kind}", claimed, many, few),
            _row(f"a page of the list, {many} over {few}: {kind}", pages, many, few),
        ],
        tables=[Table(title=f"Waiting watches, {kind}: milliseconds", columns=columns, lines=lines)],
    )


def _idle(bench: Bench, system: System, name: str) -> ScenarioResult:
    """Measure what an idle worker takes of a core, and PostgreSQL beside it."""
    seconds = bench.pick(10, 4)
    with system.workers() as [worker]:
        time.sleep(SETTLE_SECONDS)
        server = bench.postgres_pid()
        cpu, beside = worker.cpu_seconds, family_cpu_seconds(server)
        time.sleep(seconds)
        used = (worker.cpu_seconds - cpu) / seconds * 100
        by_server = (family_cpu_seconds(server) - beside) / seconds * 100
    columns = ("worker, % of a core", "PostgreSQL beside it, % of a core")
    lines = [(used, by_server if system.engine.dialect.name == "postgresql" else "")]
    goal = at_most(2, floor=10)
    return ScenarioResult(
        rows=[Row(name=f"idle worker, {name}", figures=[used], goal=goal, unit="% of a core")],
        tables=[Table(title=f"An idle worker, {name}", columns=columns, lines=lines)],
    )


def _lanes(bench: Bench, kind: str) -> ScenarioResult:
    """Compare one account with many, and being alone with being beside a dead host."""
    rounds = bench.pick(21, 5)
    size = bench.pick(100_000, 10_000)
    due = CLAIMED * rounds
    systems = {
        "1 account": _filled(bench, kind, waiting=size, due=due),
        "1,000 accounts": _filled(bench, kind, waiting=size, due=due, accounts=1_000),
        "a dead host": _filled(bench, kind, waiting=size, due=due),
    }
    for system in systems.values():
        _add_callbacks(system, due)
    _add_dead_hosts(systems["a dead host"], size)
    polls = _timed(systems, _claiming(State.WATCHING, "default"), rounds)
    callbacks = _timed(systems, _claiming(State.DELIVERING, "app.example.com"), rounds)
    _dispose(systems)
    title = f"Other accounts and a dead host, {size:,} waiting, {kind}: milliseconds"
    lines = [(name, median(polls[name]), median(callbacks[name])) for name in systems]
    columns = ("beside", f"claim of {CLAIMED} polls", f"claim of {CLAIMED} callbacks")
    return ScenarioResult(
        rows=[
            _row(f"claim with 1,000 accounts over 1: {kind}", polls, "1,000 accounts", "1 account"),
            _row(f"claim beside {size:,} due of a dead host: {kind}", callbacks, "a dead host", "1 account"),
        ],
        tables=[Table(title=title, columns=columns, lines=lines)],
    )


def _dispose(systems: Mapping[str, System]) -> None:
    for system in systems.values():
        system.engine.dispose()


def _row(name: str, timings: Timings, above: str, below: str) -> Row:
    # Of the medians: one slow call of the disk says nothing about how the claim grows.
    ratio = median(timings[above]) / median(timings[below])
    return Row(name=name, figures=[ratio], goal=at_most(1.5, floor=4))


def _filled(bench: Bench, kind: str, *, waiting: int, due: int, accounts: int = 1) -> System:
    system = bench.system(kind)
    now = datetime.now(UTC)
    spread = timedelta(hours=12)
    fill(system, Load(stem="w", count=waiting, due_at=now + spread, spread=spread, accounts=accounts))
    ago = now - timedelta(minutes=1)
    fill(system, Load(stem="d", count=due, due_at=ago, spread=timedelta(seconds=30)))
    return system


def _add_callbacks(system: System, due: int) -> None:
    ago = datetime.now(UTC) - timedelta(minutes=1)
    fill(system, Load(stem="c", count=due, due_at=ago, spread=timedelta(seconds=30), state=State.DELIVERING))


def _looks(bench: Bench, kind: str) -> ScenarioResult:
    """Look for due callbacks beside very many hosts that back off, and beside some that are paused."""
    hosts, rounds = bench.pick(20_000, 2_000), bench.pick(41, 11)
    back_off, one_due = f"{hosts:,} hosts in back-off", f"{hosts:,} hosts, one of them due"
    paused = f"{hosts:,} hosts, one of them due, ten paused with {hosts // 2:,} due each"
    systems = {name: bench.system(kind) for name in (back_off, one_due, paused)}
    now, half_a_day = datetime.now(UTC), timedelta(hours=12)
    waiting = Load(
        stem="b",
        count=hosts,
        due_at=now + half_a_day,
        spread=half_a_day,
        state=State.DELIVERING,
        hosts=hosts,
    )
    for system in systems.values():
        fill(system, waiting)
    for system in (systems[one_due], systems[paused]):
        fill(system, Load(stem="o", count=1, due_at=now, state=State.DELIVERING))
    _add_dead_hosts(systems[paused], hosts // 2, hosts=10)
    timings = _timed(systems, _looking(State.DELIVERING), rounds)
    _dispose(systems)
    return ScenarioResult(
        rows=[
            Row(
                name=f"a look for due callbacks: {name}: {kind}",
                figures=[median(of)],
                goal=at_most(2, floor=50),
                unit="ms",
            )
            for name, of in timings.items()
        ]
    )


def _looking(state: State) -> Callable[[System], None]:
    lanes: dict[str, DueLanes] = defaultdict(lambda: DueLanes(state))

    def look(system: System) -> None:
        with reading(system.engine) as connection:
            due = lanes[str(system.engine.url)].look(connection, datetime.now(UTC))
            if state is State.DELIVERING:
                breakers.read_hosts(connection, due)

    return look


def _add_dead_hosts(system: System, size: int, hosts: int = 1) -> None:
    """Pause hosts that have so many due callbacks each."""
    now = datetime.now(UTC)
    ago = now - timedelta(hours=1)
    fill(
        system,
        Load(stem="x", count=size * hosts, due_at=ago, state=State.DELIVERING, host=DEAD, hosts=hosts),
    )
    names = [DEAD] if hosts == 1 else [f"host-{number}.{DEAD}" for number in range(hosts)]
    paused = CircuitBreaker(failures=9, paused_at=now, paused_until=now + timedelta(hours=1), reason="dead")
    with system.engine.begin() as connection:
        breakers.lock_hosts(connection, names)
        breakers.save_hosts(connection, dict.fromkeys(names, paused))


def _timed(
    systems: Mapping[str, System], act: Callable[[System], None], rounds: int
) -> dict[str, list[float]]:
    """Return the milliseconds of each call, the systems in turn; the first round only warms up."""
    timings: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, system in systems.items():
            began_at = time.perf_counter()
            act(system)
            timings[name].append((time.perf_counter() - began_at) * 1000)
    return {name: of[1:] for name, of in timings.items()}


def _claiming(state: State, lane: str) -> Callable[[System], None]:
    look = _looking(state)

    def claim(system: System) -> None:
        look(system)
        with system.engine.begin() as connection:
            claimed = claims.claim(connection, state, {lane: CLAIMED}, CLAIMANT, datetime.now(UTC))
        if len(claimed) != CLAIMED:
            raise RuntimeError(f"{len(claimed)} were claimed instead of {CLAIMED}")

    return claim


def _page(system: System, filters: watch_filters.Filters) -> None:
    with reading(system.engine) as connection:
        pagination.page(connection, filters, order=Order.CREATED_AT, cursor=None, limit=50)
