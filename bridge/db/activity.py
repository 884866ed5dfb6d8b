"""What became of the watches that were registered in the last 24 hours, in equal stretches of time."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import quantiles

from sqlalchemy import Connection, select

from bridge.core.watch import Outcome, State
from bridge.db.dialect_sql import among
from bridge.db.ids import earliest_watch_id
from bridge.db.tables import attempts, watches

DAY = timedelta(days=1)
STRETCHES = 24
# What is looked at: a page that shows it must not cost more because there is more.
MOST_WATCHES = 1_000
MOST_ATTEMPTS = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Within how many seconds half of something happened, and 95 % of it."""

    p50: float
    p95: float


@dataclass(kw_only=True, slots=True)
class Stretch:
    """What happened in one stretch of time. `delivery`: how long after their end watches were delivered."""

    starts_at: datetime
    registered: int = 0
    ended: Counter[Outcome] = field(default_factory=Counter)
    delivered: int = 0  # attempts that a receiver accepted
    failed: int = 0  # the others
    delivery: Spread | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """The stretches from `since` until now; a whole day of them, unless there were more watches than are looked at."""

    since: datetime
    is_whole_day: bool
    stretches: Sequence[Stretch]
    delivery: Spread | None


def last_day(connection: Connection, now: datetime) -> Activity:
    """Return what became of the watches of the last 24 hours, of the newest MOST_WATCHES of them."""
    rows = connection.execute(_NEWEST.where(watches.c.id >= earliest_watch_id(now - DAY))).all()
    rows = [row for row in rows if row.created_at > now - DAY]
    is_whole_day = len(rows) < MOST_WATCHES
    since = now - DAY if is_whole_day else rows[-1].created_at
    length = (now - since) / STRETCHES
    stretches = [Stretch(starts_at=since + length * number) for number in range(STRETCHES)]

    def number(instant: datetime) -> int:
        return min(max(int((instant - since) / length), 0), STRETCHES - 1)

    seconds: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        stretches[number(row.created_at)].registered += 1
        if row.ended_at is not None:
            stretches[number(row.ended_at)].ended[row.outcome] += 1
        if row.state == State.DELIVERED and row.settled_at and row.ended_at:
            seconds[number(row.settled_at)].append((row.settled_at - row.ended_at).total_seconds())
    for started_at, error in connection.execute(_ATTEMPTS, {"ids": [row.id for row in rows]}):
        if error is None:
            stretches[number(started_at)].delivered += 1
        else:
            stretches[number(started_at)].failed += 1
    for index, each in seconds.items():
        stretches[index].delivery = _spread(each)
    delivery = _spread([each for some in seconds.values() for each in some])
    return Activity(since=since, is_whole_day=is_whole_day, stretches=stretches, delivery=delivery)


def _spread(seconds: Sequence[float]) -> Spread | None:
    if not seconds:
        return None
    cuts = quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 19
    return Spread(p50=cuts[9], p95=cuts[18])


_NEWEST = (
    select(
        watches.c.id,
        watches.c.created_at,
        watches.c.ended_at,
        watches.c.settled_at,
        watches.c.outcome,
        watches.c.state,
    )
    .order_by(watches.c.id.desc())
    .limit(MOST_WATCHES)
)
_ATTEMPTS = (
    select(attempts.c.started_at, attempts.c.error)
    .where(among(attempts.c.watch_id, "ids"))
    .limit(MOST_ATTEMPTS)
)
