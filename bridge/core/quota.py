"""Limits the rate of requests to each account by the generic cell rate algorithm (GCRA).

`free_at` is the theoretical arrival time of the next request when all come evenly spaced; it
may run ahead of the clock by a tolerance, which is the burst.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from math import floor

# Bursts may run this far ahead: at least a tick of the clock and a little, or tokens are lost.
TOLERANCE_SHARE = 0.05
TOLERANCE_SECONDS = 0.3

# Requests leave a little later than they are granted, and not all equally: without this slack
# two grants at a window's edges could reach HubSpot inside one window.
SLACK_SHARE = 0.05
SLACK_SECONDS = 0.5

# A quota that is all gone still lets one request through now and then, to see the new one.
SLOWEST_SECONDS = 900.0

RATE_LIMIT = r"([1-9][0-9]{0,5})/([1-9][0-9]{0,4})"


def rate_limit(text: str) -> tuple[int, float]:
    """Read requests / seconds. Raises ValueError with a message for the user when it is malformed."""
    found = re.fullmatch(RATE_LIMIT, text)
    if not found:
        raise ValueError("must be requests / seconds, both whole numbers, such as 100/10")
    return int(found[1]), float(found[2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """HubSpot's burst limit, `requests` in any window of `seconds`, and the `share` that is ours."""

    requests: int
    seconds: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What an account has used, and what its newest answer's headers said is left.

    `headroom` (0.05 to 1) and `daily_remaining` (None when HubSpot does not report it) were observed at `observed_at`.
    """

    free_at: datetime | None = None
    headroom: float = 1.0
    daily_remaining: int | None = None
    observed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotaLeft:
    """What HubSpot's rate-limit headers say is left; None where they say nothing.

    HubSpot does not report the daily quota to OAuth apps.
    """

    burst: int | None = None
    burst_remaining: int | None = None
    daily: int | None = None
    daily_remaining: int | None = None


def tolerance_seconds(rate: Rate) -> float:
    """Return how far `free_at` may run ahead of the clock."""
    return max(rate.seconds * TOLERANCE_SHARE, TOLERANCE_SECONDS)


def interval_seconds(rate: Rate, usage: Usage, *, now: datetime) -> float:
    """Return the seconds between two requests, such that no window ever holds more than the share."""
    slack_seconds = max(rate.seconds * SLACK_SHARE, SLACK_SECONDS)
    span = rate.seconds + slack_seconds + tolerance_seconds(rate)
    burst = span / max(floor(rate.requests * rate.share), 1)
    interval = max(burst, _daily_interval_seconds(usage, now=now)) / _headroom(rate, usage, now=now)
    return min(interval, max(burst, SLOWEST_SECONDS))


def _headroom(rate: Rate, usage: Usage, *, now: datetime) -> float:
    """Return the share, 0.05 to 1, of the even pace that the window last seen allows; 1 once it is over."""
    seen_at = usage.observed_at
    if seen_at is None or now - seen_at > timedelta(seconds=rate.seconds):
        return 1.0
    return usage.headroom


def _daily_interval_seconds(usage: Usage, *, now: datetime) -> float:
    """Spread half of what was left of the day's quota from when it was seen until midnight UTC."""
    if usage.daily_remaining is None or usage.observed_at is None:
        return 0.0
    if _midnight(usage.observed_at) != _midnight(now):
        return 0.0
    span = (_midnight(now) - usage.observed_at).total_seconds()
    return span / max(usage.daily_remaining * 0.5, 1e-9)


def _midnight(now: datetime) -> datetime:
    """Return the next midnight, UTC."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)


def grant(rate: Rate, usage: Usage, *, wanted: int, now: datetime) -> int:
    """Return how many of the `wanted` requests may go now."""
    room = tolerance_seconds(rate) - _ahead_seconds(usage, now=now)
    return min(wanted, int(room / interval_seconds(rate, usage, now=now)) + 1) if room >= 0 else 0


def wait_seconds(rate: Rate, usage: Usage, *, now: datetime) -> float:
    """Return how long it takes until one request may go; 0 when one may go now."""
    return max(_ahead_seconds(usage, now=now) - tolerance_seconds(rate), 0.0)


def spend(rate: Rate, usage: Usage, *, requests: int, now: datetime) -> Usage:
    """Return the usage after `requests` were granted."""
    free_at = _spent_until(rate, usage, requests=requests, now=now)
    # HubSpot renews the daily quota at midnight: a longer wait is of no use.
    even = _spent_until(rate, replace(usage, daily_remaining=None), requests=requests, now=now)
    return replace(usage, free_at=min(free_at, max(_midnight(now), even)))


def _spent_until(rate: Rate, usage: Usage, *, requests: int, now: datetime) -> datetime:
    seconds = interval_seconds(rate, usage, now=now) * requests
    return now + timedelta(seconds=_ahead_seconds(usage, now=now) + seconds)


def _ahead_seconds(usage: Usage, *, now: datetime) -> float:
    return max((usage.free_at - now).total_seconds(), 0.0) if usage.free_at else 0.0


def capped(rate: Rate, usage: Usage, *, now: datetime) -> Usage:
    """Return the usage with `free_at` at most the tolerance and one interval ahead of the clock.

    That is the furthest that the present pace allows; what was spent at a slower pace is forgotten.
    """
    most = tolerance_seconds(rate) + interval_seconds(rate, usage, now=now)
    if _ahead_seconds(usage, now=now) <= most:
        return usage
    return replace(usage, free_at=now + timedelta(seconds=most))


def observe(usage: Usage, headers: Mapping[str, str], *, now: datetime) -> Usage:
    """Return the usage after an answer's rate-limit `headers` (lower-case names).

    When the headers report the window only, `daily_remaining` becomes None.
    """
    left = quota_left(headers)
    if left.burst and left.burst_remaining is not None:
        headroom = min(max((left.burst_remaining / left.burst - 0.1) / 0.3, 0.05), 1.0)
    elif left.daily_remaining is not None:
        headroom = 1.0
    else:
        return usage
    return replace(usage, headroom=headroom, daily_remaining=left.daily_remaining, observed_at=now)


def quota_left(headers: Mapping[str, str]) -> QuotaLeft:
    """Return what an answer's `headers` (lower-case names) say is left."""
    return QuotaLeft(
        burst=_count(headers.get("x-hubspot-ratelimit-max")),
        burst_remaining=_count(headers.get("x-hubspot-ratelimit-remaining")),
        daily=_count(headers.get("x-hubspot-ratelimit-daily")),
        daily_remaining=_count(headers.get("x-hubspot-ratelimit-daily-remaining")),
    )


def _count(text: str | None) -> int | None:
    # 18 digits fit the database's integer; nobody has a larger quota.
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None
