"""Counters of all processes together, in the table `counters`.

A process counts in memory and adds its counts to the table about once a second: the work waits for no row that
another process holds. A process that is killed takes the counts of its last second with it, and one that the
database leaves in the middle of a commit may add its counts twice: counters show trends, and no work hangs on them.
"""

from collections import Counter as Sums
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from threading import Lock
from typing import TypeAlias
from urllib.parse import unquote

from sqlalchemy import Connection, Engine, delete, select, true

from bridge.core.counters import (
    ATTEMPTS,
    DELIVERY_DELAY,
    DETECTION_DELAY,
    ENDED,
    REGISTRATIONS,
    Counter,
    Histogram,
)
from bridge.db import batches
from bridge.db.tables import counters

HOURS_KEPT = timedelta(days=2)
# In place of an hour: the row holds all that was ever counted.
EVER = datetime(1970, 1, 1, tzinfo=UTC)

# The values of labels, in the order of their metric.
Labels: TypeAlias = tuple[str, ...]
# A counter and its labels; a histogram and its labels, for the sum, or with a bound behind them, for a bucket.
Counted: TypeAlias = tuple[Counter | Histogram, Labels]
# The name and the labels of a row, such as `outcome=failed` or `account=default,le=0.5`; commas are percent-encoded.
Key: TypeAlias = tuple[str, str]


class Counters:
    """Counts what this process does, until `flush` adds it to the table. Thread-safe.

    Callers count after their commit, so that work that is repeated is counted once.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: defaultdict[Counted, float] = defaultdict(float)

    def inc(self, counter: Counter, *labels: str, by: float = 1) -> None:
        """Add to a counter, under the values of its labels, in their order."""
        if by:
            self._add({(counter, labels): by})

    def observe(self, histogram: Histogram, seconds: float, *labels: str) -> None:
        """Count a duration, under the values of the histogram's labels, in their order."""
        seconds = max(seconds, 0.0)  # a clock may be set back
        bound = bound_text(histogram.bound_of(seconds))
        self._add({(histogram, (*labels, bound)): 1, (histogram, labels): seconds})

    def flush(self, engine: Engine, now: datetime) -> None:
        """Add what was counted since the last time to the table. What cannot be added is kept for the next time."""
        with self._lock:
            counted, self._counts = self._counts, defaultdict(float)
        if not counted:
            return
        try:
            with engine.begin() as connection:
                add(connection, counted, now)
        except BaseException:
            self._add(counted)
            raise

    def _add(self, counted: Mapping[Counted, float]) -> None:
        with self._lock:
            for key, value in counted.items():
                self._counts[key] += value


def bound_text(bound: float) -> str:
    """Return a bound as Prometheus writes it."""
    return "+Inf" if bound == inf else str(bound)


def add(connection: Connection, counted: Mapping[Counted, float], now: datetime) -> None:
    """Add counts to the totals and, for hourly counters, to the hour of `now`."""
    rows = [
        {"hour": hour, **_row(metric, labels), "value": value}
        for (metric, labels), value in counted.items()
        for hour in ((EVER, _hour_of(now)) if metric.hourly else (EVER,))
    ]
    # In one order everywhere, so that two processes never wait for each other in a circle.
    rows.sort(key=lambda row: (row["hour"], row["name"], row["labels"]))
    batches.run(connection, _ADD, rows)


def _row(metric: Counter | Histogram, labels: Labels) -> dict[str, str]:
    name, names = metric.name, tuple(metric.labels)
    if isinstance(metric, Histogram):
        is_bucket = len(labels) > len(names)
        name, names = (f"{name}_bucket", (*names, "le")) if is_bucket else (f"{name}_sum", names)
    pairs = zip(names, labels, strict=True)
    return {"name": name, "labels": ",".join(f"{label}={_escaped(value)}" for label, value in pairs)}


def _escaped(value: str) -> str:
    return value.replace("%", "%25").replace(",", "%2C")


_ROW = ("hour", "name", "labels", "value")
_ADD = batches.statements(
    counters,
    _ROW,
    # Without a WHERE, SQLite would take ON CONFLICT for the condition of a join.
    lambda insert, row: (
        add := insert(counters).from_select(_ROW, select(*row.values()).where(true()))
    ).on_conflict_do_update(
        index_elements=list(counters.primary_key), set_={"value": counters.c.value + add.excluded.value}
    ),
)


def _hour_of(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def prune(connection: Connection, now: datetime) -> None:
    """Delete the hours that no chart shows any more; the totals stay."""
    old = counters.c.hour > EVER, counters.c.hour < now - HOURS_KEPT
    connection.execute(delete(counters).where(*old))


@dataclass(frozen=True, kw_only=True, slots=True)
class Buckets:
    """What a histogram has counted: how many in each bucket, by its upper bound, and the sum of all durations."""

    counts: Mapping[float, float] = field(default_factory=dict)
    sum_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """The values of some rows, by the values of their labels."""

    rows: Mapping[Key, float]

    def of(self, counter: Counter) -> dict[Labels, float]:
        """Return a counter's values."""
        return dict(self._named(counter.name))

    def buckets(self, histogram: Histogram) -> dict[Labels, Buckets]:
        """Return what a histogram has counted."""
        sums = dict(self._named(f"{histogram.name}_sum"))
        counts: defaultdict[Labels, dict[float, float]] = defaultdict(dict)
        for (*labels, bound), value in self._named(f"{histogram.name}_bucket"):
            counts[tuple(labels)][float(bound)] = value
        return {
            labels: Buckets(counts=found, sum_seconds=sums.get(labels, 0.0))
            for labels, found in counts.items()
        }

    def _named(self, wanted: str) -> Iterator[tuple[Labels, float]]:
        for (name, text), value in self.rows.items():
            if name == wanted:
                yield (
                    tuple(unquote(pair.partition("=")[2]) for pair in text.split(",")) if text else (),
                    value,
                )


def totals(connection: Connection) -> Counts:
    """Return the totals of all counters and histograms."""
    rows = connection.execute(select(counters).where(counters.c.hour == EVER))
    return Counts({(row.name, row.labels): row.value for row in rows})


def by_hour(connection: Connection, since: datetime) -> dict[datetime, Counts]:
    """Return what was counted in each hour, from that of `since` on; hours are kept for two days."""
    found: defaultdict[datetime, dict[Key, float]] = defaultdict(dict)
    for row in connection.execute(select(counters).where(counters.c.hour >= _hour_of(since))):
        found[row.hour][row.name, row.labels] = row.value
    return {hour: Counts(rows) for hour, rows in sorted(found.items())}


def total(many: Iterable[Counts]) -> Counts:
    """Return the sums over several hours."""
    sums: defaultdict[Key, float] = defaultdict(float)
    for counts in many:
        for key, value in counts.rows.items():
            sums[key] += value
    return Counts(sums)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """How long something took, in seconds: half of all at most `p50`, 95 % at most `p95`."""

    p50: float
    p95: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What all processes did from an hour on. A spread is None when nothing was counted."""

    since: datetime
    registered: int
    ended: Mapping[str, int]  # by outcome
    delivered: int  # attempts that were accepted
    failed: int  # attempts that were not
    detection: Spread | None
    delivery: Spread | None


def last_day(connection: Connection, now: datetime) -> tuple[Work, list[Work]]:
    """Return what was done in the last 24 hours: in all, and hour by hour, the oldest first.

    The last of the hours is the one that is under way; hours without any work are there too.
    """
    began = [_hour_of(now) - timedelta(hours=hours) for hours in reversed(range(24))]
    found = by_hour(connection, began[0])
    hours = [_work(began_at, found.get(began_at, Counts({}))) for began_at in began]
    return _work(began[0], total(found.values())), hours


def _work(since: datetime, counts: Counts) -> Work:
    attempts = counts.of(ATTEMPTS)
    delivered = sum(count for (result, _), count in attempts.items() if result == "2xx")
    return Work(
        since=since,
        registered=int(counts.of(REGISTRATIONS).get((), 0)),
        ended={outcome: int(count) for (outcome,), count in counts.of(ENDED).items()},
        delivered=int(delivered),
        failed=int(sum(attempts.values()) - delivered),
        detection=_spread(DETECTION_DELAY, _whatever_labels(counts, DETECTION_DELAY)),
        delivery=_spread(DELIVERY_DELAY, _whatever_labels(counts, DELIVERY_DELAY)),
    )


def _whatever_labels(counts: Counts, histogram: Histogram) -> Mapping[float, float]:
    return sum((Sums(buckets.counts) for buckets in counts.buckets(histogram).values()), Sums())


def _spread(histogram: Histogram, counts: Mapping[float, float]) -> Spread | None:
    """Return the spread of what a histogram has in each bucket, by its upper bound; None without any."""
    p50, p95 = histogram.quantile(counts, 0.5), histogram.quantile(counts, 0.95)
    return None if p50 is None or p95 is None else Spread(p50=p50, p95=p95)
