"""The order of polls in simulated time: one account's quota, many tasks, no network and no database.

The bridge's part is the real one: `polling.gap`, `polling.urgency` and `polling.half_young` (which the store's
SQL equals, by its tests) and `quota.grant`. They are used instead of the SQL because they are a
hundred times as fast. Each request is answered at once; a tick of the clock is 0.25 s. No task is seen
to go from PENDING to PROCESSING, where the bridge begins its gaps anew.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush, nlargest
from math import ceil, inf

from bridge.core import polling, quota
from bridge.core.quota import Rate, Usage

TICK_SECONDS = 0.25
SLOTS = 32
# The rate of the contract's defaults: 5 requests a second, less the slack of `quota`.
ACCOUNT = Rate(requests=100, seconds=10, share=0.5)
UNBOUNDED = Rate(requests=900_000, seconds=1, share=1)
EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)

# To rank ten thousand at every tick would take minutes: all are ranked every two seconds, and at each
# tick only the first of them and those that have come since. Urgency drifts slowly.
RANKED_SECONDS = 2.0
SHORTLIST = 96


@dataclass(slots=True, eq=False)
class Task:
    """One task, all instants in simulated seconds."""

    born_at: float
    ends_at: float
    group: str
    number: int
    due_at: float = 0.0
    last_polled_at: float = 0.0
    polls: int = 0
    noticed_at: float | None = None

    def delay_seconds(self, until: float) -> float:
        """How long nobody knew that it had ended; up to `until` if nobody ever did."""
        return (until if self.noticed_at is None else self.noticed_at) - self.ends_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """When a task is asked again: `first` and `following` return the next instant. `urgent`: the order."""

    name: str
    first: Callable[[Task], float]
    following: Callable[[Task, float], float]
    urgent: bool = False


def _bridge_gap(task: Task, now: float) -> float:
    jitter = random.uniform(-1, 1)
    return now + polling.gap(now - task.born_at) * (1 + polling.GAP_JITTER * jitter)


BRIDGE = Policy(
    name="the bridge",
    first=lambda task: task.born_at + polling.gap(0),
    following=_bridge_gap,
    urgent=True,
)
FIXED = Policy(name="every 5 s", first=lambda task: task.born_at + 5, following=lambda _, now: now + 5)
DOUBLING = Policy(
    name="1 s doubling to 60 s",
    first=lambda task: task.born_at + 1,
    following=lambda task, now: now + min(2.0**task.polls, 60),
)
CLAIRVOYANT = Policy(
    name="knows each end", first=lambda task: task.ends_at, following=lambda task, _: task.ends_at
)
POLICIES = (BRIDGE, FIXED, DOUBLING, CLAIRVOYANT)


@dataclass(kw_only=True)
class Outcome:
    """What a policy made of a load."""

    tasks: Sequence[Task]
    until: float = inf
    drained_at: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def delays(self, group: str) -> list[float]:
        """The delays of the group's tasks that have ended; of those that nobody noticed, up to now."""
        ended = [task for task in self.tasks if task.group == group and task.ends_at < self.until]
        return [task.delay_seconds(self.until) for task in ended]

    def polls(self, group: str) -> float:
        """Requests for each of the group's tasks that were noticed."""
        polls = [task.polls for task in self.tasks if task.group == group and task.noticed_at is not None]
        return sum(polls) / len(polls)


class Due:
    """The tasks that are due, in the order of a policy."""

    def __init__(self, *, urgent: bool) -> None:
        self._urgent = urgent
        # A dict keeps its order: the same seed gives the same figures, ties and all.
        self._tasks: dict[Task, None] = {}
        self._by_due: list[tuple[float, int, Task]] = []
        self._young: list[Task] = []
        self._every: list[Task] = []
        self._ranked_at = -inf
        self._odd_to_young = False

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """A task has fallen due."""
        self._tasks[task] = None
        heappush(self._by_due, (task.due_at, task.number, task))
        self._young.append(task)
        self._every.append(task)

    def take(self, count: int, *, plenty: bool, now: float) -> list[Task]:
        """Take `count` tasks: those that have been due for longest, or the most urgent."""
        if plenty or not self._urgent:
            taken = [self._longest_due() for _ in range(count)]
        else:
            taken = self._most_urgent(count, now)
        for task in taken:
            del self._tasks[task]
        return taken

    def _longest_due(self) -> Task:
        while True:
            due_at, _, task = heappop(self._by_due)
            # What was taken as urgent meanwhile is still in the heap, with the instant that it had then.
            if task in self._tasks and task.due_at == due_at:
                return task

    def _most_urgent(self, count: int, now: float) -> list[Task]:
        if now - self._ranked_at > RANKED_SECONDS:
            self._ranked_at = now
            self._every = _first(self._tasks, SHORTLIST, now)
            self._young = _first((task for task in self._tasks if _is_young(task, now)), SHORTLIST, now)
        self._odd_to_young = not self._odd_to_young
        young = _first((t for t in self._young if t in self._tasks and _is_young(t, now)), count, now)
        every = _first((t for t in self._every if t in self._tasks), count, now)
        known = {str(task.number): task for task in young + every}
        ids = ([str(task.number) for task in side] for side in (young, every))
        return [known[id_] for id_ in polling.half_young(*ids, count=count, odd_to_young=self._odd_to_young)]


def _first(tasks: Iterable[Task], count: int, now: float) -> list[Task]:
    return nlargest(
        count, tasks, key=lambda task: polling.urgency(now - task.last_polled_at, now - task.born_at)
    )


def _is_young(task: Task, now: float) -> bool:
    return now - task.born_at < polling.YOUNG_SECONDS


def simulate(tasks: Sequence[Task], policy: Policy, rate: Rate, *, until: float = inf) -> Outcome:
    """Poll the tasks until all ends are noticed, or until an instant. Tasks may be born before zero."""
    outcome = Outcome(tasks=tasks, until=until)
    waiting = [(task.due_at, task.number, task) for task in tasks]
    heapify(waiting)
    due, usage, now = Due(urgent=policy.urgent), Usage(), 0.0
    while (waiting or len(due)) and now < until:
        while waiting and waiting[0][0] <= now:
            due.add(heappop(waiting)[2])
        wanted = min(SLOTS, len(due))
        granted = quota.grant(rate, usage, wanted=wanted, now=_instant(now))
        usage = quota.spend(rate, usage, requests=granted, now=_instant(now)) if granted else usage
        for task in due.take(granted, plenty=granted == wanted, now=now) if granted else ():
            _poll(task, policy, outcome, now)
            if task.noticed_at is None:
                heappush(waiting, (task.due_at, task.number, task))
        # With nothing due, on to the tick at which something will be.
        later = now if len(due) or not waiting else waiting[0][0] - TICK_SECONDS
        now = inf if later == inf else TICK_SECONDS * (ceil(max(later, now) / TICK_SECONDS) + 1)
    return outcome


def _poll(task: Task, policy: Policy, outcome: Outcome, now: float) -> None:
    task.polls += 1
    task.last_polled_at = now
    if now >= task.ends_at:
        task.noticed_at = now
        outcome.drained_at[task.group] = max(outcome.drained_at[task.group], now)
    else:
        task.due_at = policy.following(task, now)


def _instant(now: float) -> datetime:
    return EPOCH + timedelta(seconds=now)


def optimum(durations: Sequence[float], requests: float) -> float:
    """Return the least mean delay of any fixed times of asking that make as many `requests` per task.

    Whoever knows the law of the durations can do no better. Found by dynamic programming over a grid
    of instants, with a price for each request that is tuned until their number fits.
    """
    grid = _Grid(durations)
    cheap, dear = 1e-3, 1e4
    for _ in range(30):
        price = (cheap * dear) ** 0.5
        cheap, dear = (cheap, price) if grid.best(price)[1] < requests else (price, dear)
    (more, many), (less, few) = grid.best(cheap), grid.best(dear)
    share = (requests - few) / (many - few) if many > few else 1.0
    return less + (more - less) * min(max(share, 0.0), 1.0)


class _Grid:
    """Instants at which may be asked, and what is known of the durations at each."""

    def __init__(self, durations: Sequence[float], points: int = 360) -> None:
        ordered = sorted(durations)
        shortest, longest = max(ordered[0], 0.05), ordered[-1]
        self._at = [0.0, *(shortest * (longest / shortest) ** (i / points) for i in range(points + 1))]
        self._ended, self._sum = [], []
        number, total = 0, 0.0
        for at in self._at:
            while number < len(ordered) and ordered[number] <= at * (1 + 1e-12):
                total += ordered[number]
                number += 1
            self._ended.append(number / len(ordered))
            self._sum.append(total / len(ordered))

    def best(self, price: float) -> tuple[float, float]:
        """Return the mean delay and the mean number of requests of the best times at this price."""
        last = len(self._at) - 1
        value, after = [0.0] * (last + 1), [last] * (last + 1)
        for i in range(last - 1, -1, -1):
            ended, total = self._ended[i], self._sum[i]
            costs = [
                self._at[j] * (self._ended[j] - ended) - self._sum[j] + total + value[j]
                for j in range(i + 1, last + 1)
            ]
            least = min(costs)
            after[i] = i + 1 + costs.index(least)
            value[i] = least + price * (1 - ended)
        requests, i = 0.0, 0
        while i < last:
            requests += 1 - self._ended[i]
            i = after[i]
        return value[0] - price * requests, requests
