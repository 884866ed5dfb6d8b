"""What became of the watches that were registered in the last 24 hours, in equal stretches of time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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


@dataclass(kw_only=True, slots=True)
class Stretch:
    """What happened in one stretch of time. `delivery_seconds`: how long after its end each watch was delivered."""

    starts_at: datetime
    registered: int = 0
    ended: Counter[Outcome] = field(default_factory=Counter)
    delivered: int = 0  # attempts that a receiver accepted
    failed: int = 0  # the others
    delivery_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """The stretches from `since` until now; a whole day of them, unless there were more watches than are looked at."""

    since: datetime
    is_whole_day: bool
    stretches: Sequence[Stretch]


def last_day(connection: Connection, now: datetime) -> Activity:
    """Return what became of the watches of the last 24 hours, of the newest MOST_WATCHES of them."""
    rows = connection.execute(_NEWEST.where(watches.c.id >= earliest_watch_id(now - DAY))).all()
    rows = [row for row in rows if row.created_at > now - DAY]
    is_whole_day = len(rows) < MOST_WATCHES
    since = now - DAY if is_whole_day else rows[-1].created_at
    length = (now - since) / STRETCHES
    stretches = [Stretch(starts_at=since + length * number) for number in range(STRETCHES)]

    def at(instant: datetime) -> Stretch:
        number = int((instant - since) / length)
        return stretches[min(max(number, 0), STRETCHES - 1)]

    for row in rows:
        at(row.created_at).registered += 1
        if row.ended_at is not None:
            at(row.ended_at).ended[row.outcome] += 1
        if row.state == State.DELIVERED and row.settled_at and row.ended_at:
            at(row.settled_at).delivery_seconds.append((row.settled_at - row.ended_at).total_seconds())
    for started_at, error in connection.execute(_ATTEMPTS, {"ids": [row.id for row in rows]}):
        if error is None:
            at(started_at).delivered += 1
        else:
            at(started_at).failed += 1
    return Activity(since=since, is_whole_day=is_whole_day, stretches=stretches)


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
