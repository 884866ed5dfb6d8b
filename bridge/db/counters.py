"""Counters and histograms for metrics and charts; the table `counters` holds their sums over all processes.

Web and worker processes add their counts about once a second; some may be lost, or added twice. So counters
only show trends: nothing may be decided by them.
"""

from collections import Counter as Sums
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from threading import Lock
from typing import TypeAlias

from sqlalchemy import Connection, Engine, delete, select

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
# The value of the column `hour` in the rows that hold the totals.
ALL_TIME = datetime(1970, 1, 1, tzinfo=UTC)

# The values of a metric's labels, in the metric's order.
Labels: TypeAlias = tuple[str, ...]
# The key of a number: a counter or histogram, and the values of its labels. A histogram has two sorts of numbers: with
# these values alone, the sum of the durations; with a bucket's upper bound as one more value, the number of durations
# in the bucket.
Counted: TypeAlias = tuple[Counter | Histogram, Labels]
# The name and the labels of a row, such as `outcome=failed` or `account=default,le=0.5`. No label's text has a comma.
Key: TypeAlias = tuple[str, str]


class Counters:
    """Keeps this process's counts until `flush` adds them to the table. Thread-safe.

    What a transaction saves must be counted after the commit, not before.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: defaultdict[Counted, float] = defaultdict(float)

    def inc(self, counter: Counter, *labels: str, by: float = 1) -> None:
        """Add `by` to a counter; `labels` are the values of its labels, in the counter's order."""
        if by:
            self._add({(counter, labels): by})

    def observe(self, histogram: Histogram, seconds: float, *labels: str) -> None:
        """Count a duration; `labels` are the values of the histogram's labels, in the histogram's order."""
        seconds = max(seconds, 0.0)  # a clock may be set back
        bound = bound_text(histogram.bound_of(seconds))
        self._add({(histogram, (*labels, bound)): 1, (histogram, labels): seconds})

    def flush(self, engine: Engine, now: datetime) -> None:
        """Add the counts since the last flush to the table; if that fails, keep them, and raise the error."""
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
    """Return a bucket's upper bound as Prometheus writes it, `+Inf` for infinity."""
    return "+Inf" if bound == inf else str(bound)


def add(connection: Connection, counted: Mapping[Counted, float], now: datetime) -> None:
    """Add counts to the totals in the table; add those of `hourly` metrics to the hour of `now`, too."""
    rows = [
        {"hour": hour, **_row(metric, labels), "value": value}
        for (metric, labels), value in counted.items()
        for hour in ((ALL_TIME, _hour_of(now)) if metric.hourly else (ALL_TIME,))
    ]
    # Rows are locked in the same order everywhere, so that two transactions cannot deadlock.
    rows.sort(key=lambda row: (row["hour"], row["name"], row["labels"]))
    batches.run(connection, _ADD, rows)


def _row(metric: Counter | Histogram, labels: Labels) -> dict[str, str]:
    name, names = metric.name, tuple(metric.labels)
    if isinstance(metric, Histogram):
        is_bucket = len(labels) > len(names)
        name, names = (f"{name}_bucket", (*names, "le")) if is_bucket else (f"{name}_sum", names)
    pairs = zip(names, labels, strict=True)
    return {"name": name, "labels": ",".join(f"{label}={value}" for label, value in pairs)}


_ADD = batches.inserting(
    counters,
    ("hour", "name", "labels", "value"),
    lambda insert: insert.on_conflict_do_update(
        index_elements=list(counters.primary_key), set_={"value": counters.c.value + insert.excluded.value}
    ),
)


def _hour_of(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def prune(connection: Connection, now: datetime) -> None:
    """Delete the hourly counts whose hour began more than HOURS_KEPT before `now`; keep the totals."""
    old = counters.c.hour > ALL_TIME, counters.c.hour < now - HOURS_KEPT
    connection.execute(delete(counters).where(*old))


@dataclass(frozen=True, kw_only=True, slots=True)
class Buckets:
    """The number of durations in each bucket of a histogram, and the sum of all its durations.

    The keys of `counts` are the upper bounds, in seconds, of the buckets that are not empty. Unlike
    Prometheus's, the counts are not cumulative: each duration is in one bucket only.
    """

    counts: Mapping[float, float] = field(default_factory=dict)
    sum_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """Values read from the table: the totals, or the counts of one hour or of several hours."""

    rows: Mapping[Key, float]  # the values, by the columns `name` and `labels`

    def of(self, counter: Counter) -> dict[Labels, float]:
        """Return the counts of a counter, by the values of its labels.

        Each key is a tuple with the values in the order of `counter.labels`. Combinations of label values that were
        never counted are left out.
        """
        return dict(self._named(counter.name))

    def buckets(self, histogram: Histogram) -> dict[Labels, Buckets]:
        """Return a histogram's buckets, by the values of its labels."""
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
                yield tuple(pair.partition("=")[2] for pair in text.split(",")) if text else (), value


def totals(connection: Connection) -> Counts:
    """Return the totals of all counters and histograms."""
    rows = connection.execute(select(counters).where(counters.c.hour == ALL_TIME))
    return Counts({(row.name, row.labels): row.value for row in rows})


def by_hour(connection: Connection, since: datetime) -> dict[datetime, Counts]:
    """Return the counts of each hour, from the hour of `since` on; each key is the start of an hour.

    Only counters and histograms whose `hourly` is true are counted by the hour. Hours without counts are left out.
    """
    found: defaultdict[datetime, dict[Key, float]] = defaultdict(dict)
    for row in connection.execute(select(counters).where(counters.c.hour >= _hour_of(since))):
        found[row.hour][row.name, row.labels] = row.value
    return {hour: Counts(rows) for hour, rows in sorted(found.items())}


def total(many: Iterable[Counts]) -> Counts:
    """Return the sum of the counts of several hours."""
    sums: defaultdict[Key, float] = defaultdict(float)
    for counts in many:
        for key, value in counts.rows.items():
            sums[key] += value
    return Counts(sums)


@dataclass(frozen=True, kw_only=True, slots=True)
class Percentiles:
    """The median and the 95th percentile of a duration, in seconds."""

    p50: float
    p95: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityTotals:
    """What all processes did in one hour or in several; `since` is when the first hour began.

    `detection` and `delivery` are the percentiles of measured durations; each is None without a measurement.
    """

    since: datetime
    registered: int  # new watches
    ended: Mapping[str, int]  # by outcome
    delivered: int  # attempts that were accepted
    failed: int  # attempts that were not accepted
    detection: Percentiles | None  # from a task's end to the poll that saw it
    delivery: Percentiles | None  # from `Watch.ended_at` to the accepted attempt, without redeliveries


def last_day(connection: Connection, now: datetime) -> tuple[ActivityTotals, list[ActivityTotals]]:
    """Return the activity of the current hour and the 23 before: in total, and by hour, oldest first."""
    began = [_hour_of(now) - timedelta(hours=hours) for hours in reversed(range(24))]
    found = by_hour(connection, began[0])
    hours = [_activity(began_at, found.get(began_at, Counts({}))) for began_at in began]
    return _activity(began[0], total(found.values())), hours


def _activity(since: datetime, counts: Counts) -> ActivityTotals:
    attempts = counts.of(ATTEMPTS)
    delivered = sum(count for (result, _), count in attempts.items() if result == "2xx")
    return ActivityTotals(
        since=since,
        registered=int(counts.of(REGISTRATIONS).get((), 0)),
        ended={outcome: int(count) for (outcome,), count in counts.of(ENDED).items()},
        delivered=int(delivered),
        failed=int(sum(attempts.values()) - delivered),
        detection=percentiles(DETECTION_DELAY, _whatever_labels(counts, DETECTION_DELAY)),
        delivery=percentiles(DELIVERY_DELAY, _whatever_labels(counts, DELIVERY_DELAY)),
    )


def _whatever_labels(counts: Counts, histogram: Histogram) -> Mapping[float, float]:
    return sum((Sums(buckets.counts) for buckets in counts.buckets(histogram).values()), Sums())


def percentiles(histogram: Histogram, counts: Mapping[float, float]) -> Percentiles | None:
    """Return the percentiles of a histogram from the `counts` in its buckets; None when nothing was counted.

    The keys of `counts` are the upper bounds of the buckets, in seconds.
    """
    p50, p95 = histogram.quantile(counts, 0.5), histogram.quantile(counts, 0.95)
    return None if p50 is None or p95 is None else Percentiles(p50=p50, p95=p95)
