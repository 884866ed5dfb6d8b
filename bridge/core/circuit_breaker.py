"""A circuit breaker for each HubSpot account and each receiver's host: it decides whether a request may be sent.

Closed, it may. After failures the breaker is open: nothing is sent until `paused_until`. Then it is half open: one
trial request, the probe, is sent. Its success closes the breaker, its failure pauses for twice as long.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never


@dataclass(frozen=True, kw_only=True, slots=True)
class Success:
    """The party answered as it should."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The party did not answer, or answered with an error of its own: several in a row pause it."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """The party needs a repair, such as new credentials, before any request can succeed: one pauses it."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """The party named a time to wait."""

    seconds: float
    reason: str


Signal = Success | Failure | Fault | Hold


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerPolicy:
    """When failures pause a circuit breaker, and for how long: `first_seconds`, doubling to `most_seconds`.

    `slow_starts`: after a pause, the number of requests in flight is raised step by step, as `limit` describes.
    """

    failures: int
    first_seconds: float
    most_seconds: float
    slow_starts: bool


# The quota already keeps an account that comes back from being overrun.
ACCOUNT_POLICY = BreakerPolicy(failures=10, first_seconds=30, most_seconds=900, slow_starts=False)
# One probe at a time is gentle already: the pauses only have to keep a dead host from being busy work.
HOST_POLICY = BreakerPolicy(failures=5, first_seconds=0.25, most_seconds=15, slow_starts=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class CircuitBreaker:
    """The state of one account or host. A new one is closed.

    `slow_start` counts the successes since the pause ended: see `limit`. None when the party is well.
    """

    failures: int = 0  # in a row
    paused_at: datetime | None = None
    paused_until: datetime | None = None
    pause_seconds: float = 0.0  # the last pause that was ours to choose
    reason: str | None = None
    slow_start: int | None = None

    @property
    def paused(self) -> bool:
        """Whether the breaker is open or half open: it waits for its pause to end, or for its probe's answer."""
        return self.paused_until is not None

    @property
    def recovering(self) -> bool:
        """Whether the party is paused, or has just come back and is still asked little: slow start."""
        return self.paused or self.slow_start is not None


def half_open(breaker: CircuitBreaker, *, until: datetime) -> CircuitBreaker:
    """Return the breaker while its one probe is in flight, at the longest until `until`."""
    return replace(breaker, paused_until=until)


def probe_released(breaker: CircuitBreaker, *, until: datetime | None, now: datetime) -> CircuitBreaker:
    """Return the breaker after a request, leased until `until`, was given back: if it was the probe, a new one is due."""
    if until is None or breaker.paused_until != until:
        return breaker
    return replace(breaker, paused_until=now)


def limit(breaker: CircuitBreaker, most: int) -> int:
    """Return how many requests one worker may have in flight towards the party: 1 to `most`.

    One that is paused gets its probe. A party that has just come back gets one, then twice as many with each
    success, so that what waited for it goes out promptly and not as a stampede.
    """
    if breaker.paused:
        return 1
    if breaker.slow_start is None:
        return most
    return max(1, min(most, 1 << breaker.slow_start))


SLOW_START_ENDS = 10  # 2**10 requests in flight is the most that a worker may be set to have


def is_stale(breaker: CircuitBreaker, asked_at: datetime) -> bool:
    """Return whether a request that was claimed at `asked_at` was in flight before the pause began."""
    return breaker.paused_at is not None and asked_at < breaker.paused_at


def after_signal(
    breaker: CircuitBreaker, signal: Signal, *, asked_at: datetime, now: datetime, policy: BreakerPolicy
) -> CircuitBreaker:
    """Return the breaker after the `signal` of a request that was claimed at `asked_at`.

    A request that was in flight before the pause began neither ends it nor makes it longer.
    """
    stale = is_stale(breaker, asked_at)
    match signal:
        case Hold(seconds=seconds, reason=reason):
            until = now + timedelta(seconds=seconds)
            # A probe's answer is the newest and counts as it is; a stale answer must not shorten the pause.
            return _held(
                breaker, max(until, breaker.paused_until or until) if stale else until, reason, now=now
            )
        case _ if stale:
            return breaker
        case Success():
            return _closed(breaker, policy)
        case Failure(reason=reason):
            failed = replace(breaker, failures=breaker.failures + 1)
            if not breaker.paused and failed.failures < policy.failures:
                return failed
            return _paused(failed, reason, now=now, policy=policy)
        case Fault(reason=reason):
            return _paused(breaker, reason, now=now, policy=policy)
        case never:
            assert_never(never)


def _closed(breaker: CircuitBreaker, policy: BreakerPolicy) -> CircuitBreaker:
    if breaker.paused and policy.slow_starts:
        return CircuitBreaker(slow_start=0)
    if breaker.slow_start is None:
        return CircuitBreaker()
    return CircuitBreaker(slow_start=breaker.slow_start + 1 if breaker.slow_start < SLOW_START_ENDS else None)


def _paused(breaker: CircuitBreaker, reason: str, *, now: datetime, policy: BreakerPolicy) -> CircuitBreaker:
    seconds = min(max(policy.first_seconds, breaker.pause_seconds * 2), policy.most_seconds)
    until = now + timedelta(seconds=seconds)
    return replace(
        breaker, paused_at=now, paused_until=until, pause_seconds=seconds, reason=reason, slow_start=None
    )


def _held(breaker: CircuitBreaker, until: datetime, reason: str, *, now: datetime) -> CircuitBreaker:
    return replace(
        breaker, paused_at=breaker.paused_at or now, paused_until=until, reason=reason, slow_start=None
    )
