"""Statistics of the bridge and its accounts, for the summary, the metrics and the admin pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time

from sqlalchemy import Connection

from bridge.core.counters import DETECTION_DELAY
from bridge.core.quota import Usage, current_headroom, interval_seconds
from bridge.core.watch import State
from bridge.db import counters, daily_stats, watch_counts
from bridge.db.accounts import Accounts
from bridge.db.counters import Percentiles
from bridge.steps.accounts import AccountStatus, statuses

STEPS = {"poll": State.WATCHING, "deliver": State.DELIVERING}


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountStatistics:
    """An account's status, and the bridge's requests to HubSpot for the account since midnight UTC.

    `requests` is the number of these requests, `errors` the number of those not answered with 2xx.
    `requests_per_second` is the rate that the quota allows now, even while the account is paused. The rate is already
    slowed by `headroom`: a factor, 0.05 to 1, from HubSpot's newest rate-limit headers. `daily_remaining` is the
    number of requests left for the day, from the same headers; None if these headers lack the number, or are older
    than today (UTC).
    """

    status: AccountStatus
    requests_per_second: float
    headroom: float
    daily_remaining: int | None
    requests: int
    errors: int

    @property
    def errors_share(self) -> float:
        """The share of today's requests that were not answered with 2xx, 0 to 1; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0


def account_statistics(connection: Connection, accounts: Accounts, now: datetime) -> list[AccountStatistics]:
    """Return the statistics of every account, sorted by name."""
    counted = daily_stats.counts(connection, now.date())
    figures = []
    for status in statuses(connection, accounts, now):
        requests, errors = counted.get(status.account.name, (0, 0))
        figures.append(
            AccountStatistics(
                status=status,
                requests_per_second=1 / interval_seconds(status.account.rate, status.usage, now=now),
                headroom=current_headroom(status.account.rate, status.usage, now=now),
                daily_remaining=_of_today(status.usage, now),
                requests=requests,
                errors=errors,
            )
        )
    return figures


def _of_today(usage: Usage, now: datetime) -> int | None:
    seen_at = usage.observed_at
    return usage.daily_remaining if seen_at and seen_at.date() == now.date() else None


def detection_delays_today(connection: Connection, now: datetime) -> dict[str, Percentiles]:
    """Return, by account, percentiles (in seconds) of how late today's polls saw that tasks had ended.

    The delay is the time from a task's end to the poll that saw the end. Today began at midnight UTC. Accounts
    without a measured delay are left out.
    """
    midnight = datetime.combine(now.date(), time.min, tzinfo=now.tzinfo)
    today = counters.total(counters.by_hour(connection, midnight).values()).buckets(DETECTION_DELAY)
    return {
        account: found
        for (account,), buckets in today.items()
        if (found := counters.percentiles(DETECTION_DELAY, buckets.counts))
    }


def late_seconds(connection: Connection, client: str | None, now: datetime) -> Mapping[str, float | None]:
    """Return, for each step in STEPS, the longest time in seconds that a watch has been due.

    The value is None for a step without a due watch. Only the watches of `client` count; if `client` is None, the
    watches of all clients count. Watches that wait for a paused account or host do not count.
    """
    oldest = {
        step: watch_counts.oldest_due_at(connection, state, client, now) for step, state in STEPS.items()
    }
    return {step: (now - due_at).total_seconds() if due_at else None for step, due_at in oldest.items()}
