"""`GET /metrics`, for Prometheus; needs an admin's key. Each scrape reads most metrics from the database."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, chain, product

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from pydantic import RootModel
from sqlalchemy import Connection

from bridge import __version__
from bridge.core.counters import COUNTERS, HISTOGRAMS, Counter, Histogram
from bridge.db import breakers, counters, heartbeats, readiness, watch_counts
from bridge.db.counters import Buckets, Counts, Labels, bound_text
from bridge.db.engine import reading
from bridge.db.readiness import OVERDUE_AFTER
from bridge.db.watch_counts import COUNTED_EVERY
from bridge.web.dependencies import Dependencies
from bridge.web.operations import Access, ApiCall, Reply, Resource, ResponseSpec
from bridge.web.response_models import examples
from bridge.web.statistics import AccountStatistics, account_statistics, late_seconds

resource = Resource("Operation")


class MetricsTextSchema(RootModel[str]):
    """Metrics in Prometheus's text format, version 0.0.4."""

    model_config = examples('bridge_account_paused{account="default"} 0.0\n')


@resource.operation(
    "GET /metrics",
    access=Access.ADMIN,
    responses={
        200: ResponseSpec(
            description="The metrics.", model=MetricsTextSchema, media_type=CONTENT_TYPE_PLAIN_0_0_4
        ),
    },
)
def show_metrics(call: ApiCall) -> Reply:
    """Show the metrics for Prometheus.

    Most metrics are those of all processes together, whichever process answers. Some are of the answering process
    alone: the version, and the metrics whose names begin with `process_` or `python_`. With several web processes,
    each scrape may be answered by another one.
    """
    # A new registry, because the library's default one is shared by the whole process.
    registry = CollectorRegistry()
    registry.register(_BridgeCollector(call.dependencies, call.now))
    for of_process in (ProcessCollector, PlatformCollector, GCCollector):
        of_process(registry=registry)
    return Reply(text=generate_latest(registry).decode(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _BridgeCollector(Collector):
    """Collects the bridge's version, and the metrics that the database holds.

    The version is that of the answering process. The other metrics are those of all processes together.
    """

    def __init__(self, dependencies: Dependencies, now: datetime) -> None:
        self._dependencies = dependencies
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. Raises SQLAlchemyError when the database fails."""
        yield InfoMetricFamily("bridge_build", "The version of the bridge.", {"version": __version__})
        with reading(self._dependencies.engine) as connection:
            yield _watches(connection)
            yield _oldest_due(late_seconds(connection, None, self._now))
            yield _overdue(connection, self._now)
            yield from _workers(connection, self._now)
            yield _hosts(connection)
            totals = counters.totals(connection)
            accounts = account_statistics(connection, self._dependencies.accounts, self._now)
        yield from _gauges(accounts)
        known = {"account": [each.status.account.name for each in accounts]}
        yield from (_counter(counter, totals, known) for counter in COUNTERS)
        yield from (_histogram(histogram, totals, known) for histogram in HISTOGRAMS)


def _watches(connection: Connection) -> Metric:
    documentation = (
        f"Watches, by state, as they were counted within the last {COUNTED_EVERY.seconds} s or so."
    )
    counts = watch_counts.read(connection)
    return _labelled(GaugeMetricFamily("bridge_watches", documentation, labels=["state"]), counts)


def _labelled(family: GaugeMetricFamily, values: Mapping[str, float | None]) -> Metric:
    for label, value in values.items():
        if value is not None:
            family.add_metric([label], value)
    return family


def _oldest_due(late: Mapping[str, float | None]) -> Metric:
    documentation = (
        "For how long the oldest due step has been due, without what waits for a paused account or host; "
        "0 when none is due."
    )
    family = GaugeMetricFamily("bridge_oldest_due_seconds", documentation, labels=["step"])
    return _labelled(family, {step: seconds or 0.0 for step, seconds in late.items()})


def _overdue(connection: Connection, now: datetime) -> Metric:
    documentation = (
        f"Accounts with polls and hosts with callbacks that have been due for {OVERDUE_AFTER.seconds} s or longer "
        "for no known reason, as /readyz says."
    )
    family = GaugeMetricFamily("bridge_overdue", documentation, labels=["step"])
    accounts = readiness.overdue_accounts(connection, now)
    hosts = readiness.overdue_hosts(connection, now)
    return _labelled(family, {"poll": len(accounts), "deliver": len(hosts)})


def _workers(connection: Connection, now: datetime) -> Iterator[Metric]:
    alive = heartbeats.count_alive(connection, now)
    documentation = f"Workers that gave a sign of life within {heartbeats.TICKED_WITHIN.seconds} s."
    yield GaugeMetricFamily("bridge_workers", documentation, value=alive)
    documentation = "When any worker last gave a sign of life, as Unix time; 0 when none has within a day."
    newest = heartbeats.last_at(connection)
    yield GaugeMetricFamily(
        "bridge_worker_heartbeat_timestamp_seconds", documentation, value=newest.timestamp() if newest else 0
    )


def _hosts(connection: Connection) -> Metric:
    paused = breakers.count_paused_hosts(connection)
    return GaugeMetricFamily(
        "bridge_hosts_paused",
        "Receivers' hosts that fail and get one trial request at a time, while other callbacks to them wait.",
        value=paused,
    )


# The gauges of an account: name, documentation, and the function that returns the value. When the value is None, the
# gauge has no series for the account.
_ACCOUNT_GAUGES: tuple[tuple[str, str, Callable[[AccountStatistics], float | None]], ...] = (
    (
        "bridge_account_paused",
        "1 while the account is paused, else 0.",
        lambda a: float(a.status.breaker.paused),
    ),
    (
        "bridge_account_allowed_requests_per_second",
        "How many requests a second the quota allows now, even while the account is paused.",
        lambda a: a.requests_per_second,
    ),
    (
        "bridge_account_headroom_ratio",
        "How much of its share of the burst limit the bridge may use now, 0.05 to 1, by HubSpot's newest answer.",
        lambda a: a.headroom,
    ),
    (
        "bridge_account_daily_requests_left",
        "Requests that HubSpot still allows the account today, as its newest answer said. None when it does not say.",
        lambda a: a.daily_remaining,
    ),
    (
        "bridge_account_error_ratio",
        "Errors among the requests since midnight UTC; HubSpot asks for less than 0.05.",
        lambda a: a.errors_share,
    ),
)


def _gauges(accounts: Sequence[AccountStatistics]) -> Iterator[Metric]:
    for name, documentation, value in _ACCOUNT_GAUGES:
        family = GaugeMetricFamily(name, documentation, labels=["account"])
        yield _labelled(family, {each.status.account.name: value(each) for each in accounts})


def _counter(counter: Counter, totals: Counts, known: Mapping[str, Sequence[str]]) -> Metric:
    family = CounterMetricFamily(counter.name, counter.help, labels=list(counter.labels))
    found = totals.of(counter)
    for labels in _all_labels(counter, found, known):
        family.add_metric(labels, found.get(labels, 0.0))
    return family


def _histogram(histogram: Histogram, totals: Counts, known: Mapping[str, Sequence[str]]) -> Metric:
    family = HistogramMetricFamily(histogram.name, histogram.help, labels=list(histogram.labels))
    found = totals.buckets(histogram)
    for labels in _all_labels(histogram, found, known):
        counted = found.get(labels, Buckets())
        up_to = accumulate(counted.counts.get(bound, 0.0) for bound in histogram.bounds)
        bounds = (bound_text(bound) for bound in histogram.bounds)
        family.add_metric(labels, list(zip(bounds, up_to, strict=True)), sum_value=counted.sum_seconds)
    return family


def _all_labels(
    metric: Counter | Histogram, found: Collection[Labels], known: Mapping[str, Sequence[str]]
) -> list[Labels]:
    """Return the label values of each series to report: those in `found`, and some with the count 0.

    `metric.labels` maps each label to its expected values, or to OPEN_ENDED. `known` maps some OPEN_ENDED labels to
    their present values. The series with the count 0 are:

    - every combination of values, if each label has expected values or is in `known`;
    - for each series in `found`, those that differ from it only in labels with expected values. Example: if a route's
      2xx are in `found`, the route's 3xx, 4xx and 5xx are added.
    """
    # Prometheus computes no increase from the first value of a series.
    by_name = metric.labels.items()
    from_the_start = product(*(expected or known.get(name, ()) for name, expected in by_name))
    beside_found = (
        product(*(expected or (value,) for (_, expected), value in zip(by_name, labels, strict=True)))
        for labels in found
    )
    return sorted({*found, *from_the_start, *chain.from_iterable(beside_found)})
