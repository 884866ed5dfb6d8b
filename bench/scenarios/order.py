"""In what order tasks are asked about, simulated: alone, short of quota, beside stuck tasks, in a burst.

Next to the bridge: a fixed interval, a doubling back-off, and one that knows each task's end. All are
served in the order of their due instants but the bridge, which has its own.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log
from statistics import fmean

from bench.harness import Bench
from bench.report import Row, ScenarioResult, Table, at_most, percentile
from bench.simulation import (
    ACCOUNT,
    BRIDGE,
    DOUBLING,
    EPOCH,
    FIXED,
    POLICIES,
    UNBOUNDED,
    Outcome,
    Policy,
    Task,
    optimum,
    simulate,
)
from bridge.core import quota
from bridge.core.polling import gap
from bridge.core.quota import Rate, Usage

SEED = 20261121
DAY_SECONDS = 86_400.0
PER_SECOND = 1 / quota.interval_seconds(ACCOUNT, Usage(), now=EPOCH)

# Those that know no task's end: for them there is a least delay that so many requests can have.
UNKNOWING = (BRIDGE, FIXED, DOUBLING)

STUCK, MANY = 2_000, 10_000

Law = Callable[[], float]


def quick() -> float:
    """The law of a usual file import: log-normal, median 4 s."""
    return random.lognormvariate(log(4), 1.2)


def long() -> float:
    """The law of large imports: log-normal, median 60 s."""
    return random.lognormvariate(log(60), 1.2)


# Of these nobody can say in advance how long a task takes.
WIDE: dict[str, Law] = {
    "log-normal, median 4 s, sigma 1.2": quick,
    "log-normal, median 10 s, sigma 1.5": lambda: random.lognormvariate(log(10), 1.5),
    "Weibull, scale 8 s, shape 0.6": lambda: random.weibullvariate(8, 0.6),
    "Pareto (Lomax), scale 6 s, alpha 1.5": lambda: min(6 * random.paretovariate(1.5) - 6, 3_600.0),
}
# Whoever knows one of these waits, and then asks often: the bridge does not know them.
NARROW: dict[str, Law] = {
    "log-normal, median 60 s, sigma 1.2": long,
    "log-normal, median 60 s, sigma 0.6": lambda: random.lognormvariate(log(60), 0.6),
    "Weibull, scale 20 s, shape 1.5": lambda: random.weibullvariate(20, 1.5),
    "Pareto, from 2 s on, alpha 1.5": lambda: min(2 * random.paretovariate(1.5), 3_600.0),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Regime:
    """A load under the account's quota; what is looked at is the delay of its new tasks."""

    name: str
    load: Callable[[], list[tuple[float, float, str]]]  # (born_at, duration, group)
    until: float = inf


def run(bench: Bench) -> ScenarioResult:
    """Simulate all laws alone, then all regimes."""
    number = bench.pick(12_000, 3_000)
    policies = (BRIDGE,) if bench.short else UNKNOWING
    alone = {
        (name, policy.name): _alone(law, number, policy)
        for name, law in (WIDE | NARROW).items()
        for policy in policies
    }
    wide, narrow = ({name: alone[name, BRIDGE.name] for name in laws} for laws in (WIDE, NARROW))
    regimes = _regimes()
    outcomes = {
        (regime.name, policy.name): _simulated(regime.load(), policy, ACCOUNT, until=regime.until)
        for regime in regimes
        for policy in ((BRIDGE,) if bench.short else POLICIES)
    }
    by_bridge = {regime.name: outcomes[regime.name, BRIDGE.name] for regime in regimes}
    return ScenarioResult(
        rows=[*_law_rows(wide, narrow), *_regime_rows(by_bridge)],
        tables=[_law_table(alone), _regime_table(outcomes)],
    )


def _simulated(
    load: Sequence[tuple[float, float, str]], policy: Policy, rate: Rate, *, until: float = inf
) -> Outcome:
    random.seed(SEED)
    tasks = [
        Task(born_at=born, ends_at=born + duration, group=group, number=number, last_polled_at=born)
        for number, (born, duration, group) in enumerate(load)
    ]
    for task in tasks:
        task.due_at = _first_due_at(task, policy)
    return simulate(tasks, policy, rate, until=until)


def _first_due_at(task: Task, policy: Policy) -> float:
    """A task that is stuck from long ago is somewhere between two polls."""
    if task.group != "stuck" or policy.first(task) >= 0 or task.ends_at < inf:
        return policy.first(task)
    rest = gap(-task.born_at)
    task.due_at = random.uniform(0, rest)
    task.last_polled_at = task.due_at - rest
    task.polls = 12  # as many as make a doubling back-off reach its cap
    return task.due_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Alone:
    """A law, with no quota in the way."""

    durations: Sequence[float]
    outcome: Outcome

    @property
    def delay(self) -> float:
        """The mean delay."""
        return fmean(self.outcome.delays("all"))

    @property
    def over_optimum(self) -> float:
        """The mean delay over the least that so many requests can have."""
        return self.delay / optimum(self.durations, self.outcome.polls("all"))


def _alone(law: Law, tasks: int, policy: Policy) -> Alone:
    random.seed(SEED)
    durations = [law() for _ in range(tasks)]
    load = [(number * 1.01, duration, "all") for number, duration in enumerate(durations)]
    return Alone(durations=durations, outcome=_simulated(load, policy, UNBOUNDED))


def _regimes() -> list[Regime]:
    """Each regime's load."""
    drain = MANY / PER_SECOND
    return [
        Regime(name="demand of 0.9 x quota", load=lambda: _arrivals(quick, 0.9 / 3.06, 1_800)),
        Regime(
            name="demand of 5 x quota, large imports",
            load=lambda: _arrivals(long, 5 / 15.8, 1_800),
        ),
        Regime(
            name=f"beside {STUCK:,} stuck tasks",
            load=lambda: _stuck(STUCK) + _arrivals(quick, 0.1, 1_800),
            until=2_400,
        ),
        Regime(
            name=f"beside a burst of {MANY:,}",
            load=lambda: _burst(MANY) + _arrivals(quick, 0.02, drain),
        ),
        Regime(
            name=f"after an outage of 10 min, {MANY:,} waiting",
            load=lambda: _missed(MANY) + _arrivals(quick, 0.02, drain),
        ),
    ]


def _arrivals(law: Law, share: float, seconds: float) -> list[tuple[float, float, str]]:
    """New tasks, as many a second as this share of the quota."""
    random.seed(SEED)
    load, at = [], 0.0
    while (at := at + random.expovariate(share * PER_SECOND)) < seconds:
        load.append((at, law(), "new"))
    return load


def _stuck(count: int) -> list[tuple[float, float, str]]:
    random.seed(SEED)
    return [(-random.uniform(0, DAY_SECONDS), inf, "stuck") for _ in range(count)]


def _burst(count: int) -> list[tuple[float, float, str]]:
    random.seed(SEED)
    return [(0.0, quick(), "many") for _ in range(count)]


def _missed(count: int) -> list[tuple[float, float, str]]:
    random.seed(SEED)
    return [(-random.uniform(0, 600), quick(), "many") for _ in range(count)]


def _law_rows(wide: dict[str, Alone], narrow: dict[str, Alone]) -> list[Row]:
    usual = next(iter(wide.values()))
    return [
        Row(
            name=f"mean delay over the optimum at equal requests, {name} laws",
            figures=[alone.over_optimum for alone in laws.values()],
            goal=at_most(1.2, floor=3),
        )
        for name, laws in (("wide", wide), ("narrow", narrow))
    ] + [
        Row(
            name="requests per task, log-normal, median 4 s, sigma 1.2",
            figures=[usual.outcome.polls("all")],
            goal=at_most(3.5, floor=4),
        ),
    ]


def _regime_rows(outcomes: dict[str, Outcome]) -> list[Row]:
    stuck, many, missed = (outcome for name, outcome in outcomes.items() if not name.startswith("demand"))
    return [
        _p95("p95 of new tasks beside 2,000 stuck ones", stuck, 20),
        _p95("p95 of the others beside a burst of 10,000", many, 30),
        Row(
            name="drain of the burst over its size / quota",
            figures=[many.drained_at["many"] * PER_SECOND / MANY],
            goal=at_most(1.3, floor=2),
        ),
        _p95("p95 of new tasks after an outage of 10 min", missed, 60),
    ]


def _p95(name: str, outcome: Outcome, seconds: float) -> Row:
    figure = percentile(outcome.delays("new"), 95)
    return Row(name=name, figures=[figure], goal=at_most(seconds, floor=seconds * 2), unit="s")


def _law_table(laws: dict[tuple[str, str], Alone]) -> Table:
    lines = [
        (
            name,
            policy,
            alone.outcome.polls("all"),
            alone.delay,
            alone.over_optimum,
        )
        for (name, policy), alone in laws.items()
    ]
    columns = ("law of the durations", "policy", "requests per task", "mean delay, s", "over the optimum")
    return Table(title="Polls of a task alone (simulated, seeded)", columns=columns, lines=lines)


def _regime_table(outcomes: dict[tuple[str, str], Outcome]) -> Table:
    lines = [
        (
            regime,
            policy,
            fmean(delays := outcome.delays("new")),
            percentile(delays, 95),
            outcome.polls("new"),
            outcome.drained_at.get("many", ""),
        )
        for (regime, policy), outcome in outcomes.items()
    ]
    columns = (
        "regime",
        "policy",
        "mean delay of new tasks, s",
        "p95, s",
        "requests per new task",
        "drained after, s",
    )
    title = f"Polls under a quota of {PER_SECOND:.2f} requests a second (simulated, seeded)"
    return Table(title=title, columns=columns, lines=lines)
