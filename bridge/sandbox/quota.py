"""The limits of an account's requests: a burst limit for a rolling window, and a daily limit."""

from collections import deque
from enum import StrEnum

from bridge.sandbox.options import SandboxOptions

DAY_SECONDS = 86_400
# HubSpot leaves these headers out of responses to requests with an OAuth token.
DAILY_HEADERS = frozenset({"X-HubSpot-RateLimit-Daily", "X-HubSpot-RateLimit-Daily-Remaining"})


class Policy(StrEnum):
    """The name of the limit that was exceeded, as HubSpot's `policyName`."""

    SECONDLY = "SECONDLY"  # the burst limit, if its window is 1 s
    TEN_SECONDLY_ROLLING = "TEN_SECONDLY_ROLLING"  # the burst limit, if its window is not 1 s
    DAILY = "DAILY"  # the daily limit


class Quota:
    """How much of its quota an account has used; requests that `take` refuses do not count."""

    def __init__(self) -> None:
        self._taken_at: deque[float] = deque()
        self._day = 0
        self._today = 0

    def take(self, options: SandboxOptions, now: float) -> Policy | None:
        """Count one request and return None; if the quota is used up, return the policy that refuses the request."""
        if self.daily_remaining(options, now) == 0:
            return Policy.DAILY
        if self.remaining(options, now) == 0:
            return Policy.SECONDLY if options.burst_seconds == 1 else Policy.TEN_SECONDLY_ROLLING
        self._taken_at.append(now)
        self._today += 1
        return None

    def remaining(self, options: SandboxOptions, now: float) -> int:
        """Return how many more requests the burst limit allows at `now`."""
        while self._taken_at and self._taken_at[0] <= now - options.burst_seconds:
            self._taken_at.popleft()
        return max(0, options.burst_requests - len(self._taken_at))

    def daily_remaining(self, options: SandboxOptions, now: float) -> int:
        """Return how many requests the daily limit allows until midnight UTC; `now` is in epoch seconds."""
        day = int(now // DAY_SECONDS)
        if day != self._day:
            self._day, self._today = day, 0
        return max(0, options.daily_requests - self._today)

    def headers(self, options: SandboxOptions, now: float) -> dict[str, str]:
        """Return the `X-HubSpot-RateLimit-*` headers."""
        return {
            "X-HubSpot-RateLimit-Max": str(options.burst_requests),
            "X-HubSpot-RateLimit-Remaining": str(self.remaining(options, now)),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(options.burst_seconds * 1000)),
            "X-HubSpot-RateLimit-Daily": str(options.daily_requests),
            "X-HubSpot-RateLimit-Daily-Remaining": str(self.daily_remaining(options, now)),
        }
