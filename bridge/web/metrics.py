"""The bridge's figures as Prometheus takes them. The database is asked whenever they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import inf

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from bridge import __version__
from bridge.core.detection_delay import BOUNDS_SECONDS
from bridge.core.watch import SETTLED, Outcome, State
from bridge.db import breakers, housekeeping, lost_leases, watch_lists
from bridge.db.engine import reading
from bridge.stderr import STDERR
from bridge.web.dependencies import Dependencies
from bridge.web.statistics import AccountFigures, late_seconds, of_accounts

ALIVE = timedelta(seconds=60)

COUNTED = "Counted since midnight UTC: there it falls to 0, which Prometheus takes for a restart."
DROPPED = (
    "Log lines that could not be written to standard error, or not be rendered, since the process started that "
    "answers this: of it alone, because others may have another standard error."
)

_Accounts = Sequence[AccountFigures]


class Figures(Collector):
    """All figures at one instant, of all processes, but for the dropped lines: the database is what they share."""

    def __init__(self, parts: Dependencies, now: datetime) -> None:
        self._parts = parts
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. Raises when the database is away."""
        yield InfoMetricFamily("bridge_build", "The version of the bridge.", {"version": __version__})
        yield CounterMetricFamily("bridge_log_lines_dropped_total", DROPPED, value=STDERR.dropped)
        with reading(self._parts.engine) as connection:
            yield from _watches(connection)
            yield _oldest_due(late_seconds(connection, None, self._now))
            yield _workers(connection, self._now)
            yield _hosts(connection)
            yield _losses(connection, self._now)
            accounts = of_accounts(connection, self._parts.accounts, self._now)
        yield from _gauges(accounts)
        yield from _counters(accounts)
        yield _delays(accounts)


def _watches(connection: Connection) -> Iterator[Metric]:
    tally = watch_lists.tally(connection, None)
    states = {str(state): sum(n for (s, _), n in tally.items() if s is state) for state in State}
    yield _labelled(GaugeMetricFamily("bridge_watches", "Watches, by state.", labels=["state"]), states)
    settled = {
        str(outcome): sum(n for (s, o), n in tally.items() if o is outcome and s in SETTLED)
        for outcome in Outcome
    }
    told = "Watches that are delivered or undelivered, by outcome, until they are old enough to be deleted."
    yield _labelled(GaugeMetricFamily("bridge_watches_settled", told, labels=["outcome"]), settled)


def _labelled(family: GaugeMetricFamily, values: Mapping[str, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _oldest_due(late: Mapping[str, float | None]) -> Metric:
    told = "For how long the oldest step that nobody keeps waiting has been due; 0 when none is."
    family = GaugeMetricFamily("bridge_oldest_due_seconds", told, labels=["step"])
    return _labelled(family, {step: seconds or 0.0 for step, seconds in late.items()})


def _workers(connection: Connection, now: datetime) -> Metric:
    alive = housekeeping.alive(connection, since=now - ALIVE)
    told = f"Workers that gave a sign of life within {ALIVE.seconds} s."
    return GaugeMetricFamily("bridge_workers", told, value=alive)


def _hosts(connection: Connection) -> Metric:
    paused = breakers.paused_hosts(connection)
    return GaugeMetricFamily(
        "bridge_hosts_paused", "Receivers' hosts that fail, and are probed.", value=paused
    )


def _losses(connection: Connection, now: datetime) -> Metric:
    told = f"Results that came too late to be saved: another had taken over, or nobody wanted them. {COUNTED}"
    return CounterMetricFamily(
        "bridge_leases_lost_total", told, value=lost_leases.counted(connection, now.date())
    )


# What is told of each account: names, what they mean, and where the value comes from. No label but the account.
_ACCOUNT_GAUGES: tuple[tuple[str, str, Callable[[AccountFigures], float]], ...] = (
    ("bridge_account_paused", "1 while the account is paused, else 0.", lambda a: float(a.breaker.paused)),
    (
        "bridge_account_allowed_requests_per_second",
        "How many requests a second the bridge may make in the account now.",
        lambda a: a.requests_per_second,
    ),
    (
        "bridge_account_error_ratio",
        "Errors among the requests since midnight UTC; HubSpot asks for less than 0.05.",
        lambda a: a.errors_share,
    ),
)
_ACCOUNT_COUNTERS: tuple[tuple[str, str, Callable[[AccountFigures], float]], ...] = (
    ("bridge_account_requests_total", f"Requests to HubSpot. {COUNTED}", lambda a: a.requests),
    (
        "bridge_account_errors_total",
        f"Requests to HubSpot that were answered with anything but a 2xx, or not at all. {COUNTED}",
        lambda a: a.errors,
    ),
)


def _gauges(accounts: _Accounts) -> Iterator[Metric]:
    for name, told, value in _ACCOUNT_GAUGES:
        family = GaugeMetricFamily(name, told, labels=["account"])
        yield _labelled(family, {account.name: value(account) for account in accounts})


def _counters(accounts: _Accounts) -> Iterator[Metric]:
    for name, told, value in _ACCOUNT_COUNTERS:
        family = CounterMetricFamily(name, told, labels=["account"])
        for account in accounts:
            family.add_metric([account.name], value(account))
        yield family


def _delays(accounts: _Accounts) -> Metric:
    told = f"How long tasks had been over when the bridge noticed. {COUNTED}"
    family = HistogramMetricFamily("bridge_detection_delay_seconds", told, labels=["account"])
    for account in accounts:
        buckets = _buckets(account.delays.detections)
        family.add_metric([account.name], buckets, sum_value=account.delays.delay_seconds)
    return family


def _buckets(detections: Mapping[float, int]) -> list[tuple[str, float]]:
    """Return the counts up to each bound, as the format wants them."""
    counted = 0
    buckets = []
    for bound in BOUNDS_SECONDS:
        counted += detections.get(bound, 0)
        buckets.append(("+Inf" if bound == inf else str(bound), float(counted)))
    return buckets
