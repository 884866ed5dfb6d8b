"""Limits the rate of requests to each account by the generic cell rate algorithm (GCRA).

The earliest grant is `tolerance_seconds()` before `Usage.free_at`, which is GCRA's theoretical arrival time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from math import floor

# The tolerance exceeds the worker's tick (0.25 s): a smaller one would leave a part of the quota unused.
TOLERANCE_SHARE = 0.05
TOLERANCE_SECONDS = 0.3

# Requests are sent a little later than they are granted, some more than others. Without this slack,
# requests that are granted one window apart could reach HubSpot within one window.
SLACK_SHARE = 0.05
SLACK_SECONDS = 0.5

# Even with no quota left, one request is granted after this time, because HubSpot may have renewed the quota.
SLOWEST_SECONDS = 900.0

RATE_LIMIT = r"([1-9][0-9]{0,5})/([1-9][0-9]{0,4})"


def parse_rate_limit(text: str) -> tuple[int, float]:
    """Parse a limit such as `100/10` (requests / seconds); return both numbers, or raise ValueError."""
    found = re.fullmatch(RATE_LIMIT, text)
    if not found:
        raise ValueError("must be requests / seconds, both whole numbers, such as 100/10")
    return int(found[1]), float(found[2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """HubSpot's burst limit, `requests` in any period of `seconds`; the bridge may use the `share` (up to 1) of it."""

    requests: int
    seconds: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """An account's use of its quota, and what HubSpot's newest rate-limit headers report as left.

    `free_at` is when the next request would be sent at an even pace. A burst may be sent earlier. None before the first
    request. `headroom` (0.05 to 1) is a factor for the account's request rate: the smaller, the slower.
    `daily_remaining` is how many of the day's requests are left; None when this is not known. `observed_at` is when
    the headers came; None when no headers are known.
    """

    free_at: datetime | None = None
    headroom: float = 1.0
    daily_remaining: int | None = None
    observed_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotaLeft:
    """What HubSpot's rate-limit headers report; None for a header that is missing or no number."""

    burst: int | None = None  # HubSpot's burst limit, in requests
    burst_remaining: int | None = None  # how many requests of the burst limit are left
    daily: int | None = None  # HubSpot's limit of requests a day
    daily_remaining: int | None = None  # how many requests of the day's limit are left


def tolerance_seconds(rate: Rate) -> float:
    """Return how many seconds before `Usage.free_at` a request may be granted.

    `Usage.free_at` is the instant of the next request at an even pace. The tolerance allows bursts.
    """
    return max(rate.seconds * TOLERANCE_SHARE, TOLERANCE_SECONDS)


def interval_seconds(rate: Rate, usage: Usage, *, now: datetime) -> float:
    """Return the seconds between requests at the even pace that the quota allows now."""
    slack_seconds = max(rate.seconds * SLACK_SHARE, SLACK_SECONDS)
    span = rate.seconds + slack_seconds + tolerance_seconds(rate)
    burst = span / max(floor(rate.requests * rate.share), 1)
    interval = max(burst, _daily_interval_seconds(usage, now=now)) / current_headroom(rate, usage, now=now)
    return min(interval, max(burst, SLOWEST_SECONDS))


def current_headroom(rate: Rate, usage: Usage, *, now: datetime) -> float:
    """Return the factor, 0.05 to 1, to multiply the account's request rate by; the smaller, the slower.

    The factor follows from HubSpot's newest rate-limit headers. Without headers from the last `rate.seconds`, the
    factor is 1 (not slowed).
    """
    seen_at = usage.observed_at
    if seen_at is None or now - seen_at > timedelta(seconds=rate.seconds):
        return 1.0
    return usage.headroom


def _daily_interval_seconds(usage: Usage, *, now: datetime) -> float:
    """Return the seconds between requests if half of the day's remaining quota is to last until midnight.

    The remaining quota is `usage.daily_remaining`. The time until midnight (UTC) is counted from `usage.observed_at`.
    The result is 0 when no `daily_remaining` is known for today (UTC).
    """
    if usage.daily_remaining is None or usage.observed_at is None:
        return 0.0
    if _midnight(usage.observed_at) != _midnight(now):
        return 0.0
    span = (_midnight(now) - usage.observed_at).total_seconds()
    return span / max(usage.daily_remaining * 0.5, 1e-9)


def _midnight(now: datetime) -> datetime:
    """Return the next midnight in UTC."""
    return datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)


def grant(rate: Rate, usage: Usage, *, wanted: int, now: datetime) -> int:
    """Return how many of the `wanted` requests may be sent now."""
    room = tolerance_seconds(rate) - _ahead_seconds(usage, now=now)
    return min(wanted, int(room / interval_seconds(rate, usage, now=now)) + 1) if room >= 0 else 0


def wait_seconds(rate: Rate, usage: Usage, *, now: datetime) -> float:
    """Return the seconds until a request may be sent; 0 when one may be sent now."""
    return max(_ahead_seconds(usage, now=now) - tolerance_seconds(rate), 0.0)


def spend(rate: Rate, usage: Usage, *, requests: int, now: datetime) -> Usage:
    """Return the usage with this number of `requests` added."""
    free_at = _spent_until(rate, usage, requests=requests, now=now)
    # HubSpot renews the daily quota at midnight: a longer wait is of no use.
    even = _spent_until(rate, replace(usage, daily_remaining=None), requests=requests, now=now)
    return replace(usage, free_at=min(free_at, max(_midnight(now), even)))


def _spent_until(rate: Rate, usage: Usage, *, requests: int, now: datetime) -> datetime:
    seconds = interval_seconds(rate, usage, now=now) * requests
    return now + timedelta(seconds=_ahead_seconds(usage, now=now) + seconds)


def _ahead_seconds(usage: Usage, *, now: datetime) -> float:
    return max((usage.free_at - now).total_seconds(), 0.0) if usage.free_at else 0.0


def limit_wait(rate: Rate, usage: Usage, *, now: datetime) -> Usage:
    """Return the usage, changed if need be so that a request may be sent within `interval_seconds()` from `now`.

    A longer wait is shortened by moving `free_at` to an earlier instant.
    """
    most = tolerance_seconds(rate) + interval_seconds(rate, usage, now=now)
    if _ahead_seconds(usage, now=now) <= most:
        return usage
    return replace(usage, free_at=now + timedelta(seconds=most))


def observe(usage: Usage, headers: Mapping[str, str], *, now: datetime) -> Usage:
    """Return the usage, updated if an answer's `headers` (lower-case names) report a quota."""
    left = quota_left(headers)
    if left.burst and left.burst_remaining is not None:
        headroom = min(max((left.burst_remaining / left.burst - 0.1) / 0.3, 0.05), 1.0)
    elif left.daily_remaining is not None:
        headroom = 1.0
    else:
        return usage
    return replace(usage, headroom=headroom, daily_remaining=left.daily_remaining, observed_at=now)


def quota_left(headers: Mapping[str, str]) -> QuotaLeft:
    """Return what an answer's `headers` (lower-case names) report about the quota."""
    return QuotaLeft(
        burst=_count(headers.get("x-hubspot-ratelimit-max")),
        burst_remaining=_count(headers.get("x-hubspot-ratelimit-remaining")),
        daily=_count(headers.get("x-hubspot-ratelimit-daily")),
        daily_remaining=_count(headers.get("x-hubspot-ratelimit-daily-remaining")),
    )


def _count(text: str | None) -> int | None:
    # 18 digits fit the database's integer; no quota is that large.
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None
