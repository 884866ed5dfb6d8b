"""The circuit breaker of a HubSpot account or of a receiver's host, which says whether requests may be sent.

After failures the breaker opens: no request is granted until `paused_until`. Then it is half open: one trial
request (the trial, for short) is sent; its result closes the breaker or begins another pause.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never


@dataclass(frozen=True, kw_only=True, slots=True)
class Success:
    """The signal that the account or host works."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The signal that a request failed but a later one may succeed; several in a row open the breaker."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PermanentFailure:
    """The signal of a failure that probably lasts until a repair; a single such signal opens the breaker."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryAfter:
    """The signal that no request may be sent for `seconds`; the breaker opens for that time."""

    seconds: float
    reason: str


Signal = Success | Failure | PermanentFailure | RetryAfter


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerPolicy:
    """When a circuit breaker opens, and how long its pauses last.

    The breaker opens after `failure_threshold` Failures in a row. The first pause after failures lasts
    `first_seconds`; each failed trial doubles the pause, up to `most_seconds`. With `slow_starts`, few requests
    are allowed just after a pause.
    """

    failure_threshold: int
    first_seconds: float
    most_seconds: float
    slow_starts: bool


# No slow start: the quota already limits the requests to an account after its pause.
ACCOUNT_POLICY = BreakerPolicy(failure_threshold=10, first_seconds=30, most_seconds=900, slow_starts=False)
# Short pauses are enough: a host gets one trial request at a time, so that a dead host costs the workers little.
HOST_POLICY = BreakerPolicy(failure_threshold=5, first_seconds=0.25, most_seconds=15, slow_starts=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class CircuitBreaker:
    """The breaker of one account or host; a new one is closed.

    `slow_start` is the number of successes since the slow start began; the trial's success does not count. None
    outside a slow start.
    """

    failures: int = 0  # Failures in a row
    paused_at: datetime | None = None  # when the pause began; None while closed
    paused_until: datetime | None = None  # when the next trial is due; None while closed
    pause_seconds: float = 0.0  # length of the last pause after a failure; a RetryAfter does not change it
    reason: str | None = None  # why the breaker opened; None while closed
    slow_start: int | None = None

    @property
    def paused(self) -> bool:
        """Whether the breaker is open or half open: its pause goes on, or its trial request is due or in flight."""
        return self.paused_until is not None

    @property
    def recovering(self) -> bool:
        """Whether the account or host is paused or in slow start."""
        return self.paused or self.slow_start is not None


def half_open(breaker: CircuitBreaker, *, until: datetime) -> CircuitBreaker:
    """Return the breaker with its trial request in flight; without an answer, the next trial is due at `until`."""
    return replace(breaker, paused_until=until)


def limit(breaker: CircuitBreaker, *, room: int, in_flight: int) -> int:
    """Return how many more requests one worker may claim.

    `room` is how many more requests the worker has room for; `in_flight` is how many requests the worker has in
    flight.

    A paused breaker allows 1 request, the trial, whatever `room` is. The caller must not claim the trial before
    `paused_until`. A slow start limits the worker's requests in flight: to 1 at first, and to twice as many after
    each success. The result is then this limit minus `in_flight`, at most `room` and at least 0. In all other cases
    the result is `room`.
    """
    if breaker.paused:
        return 1
    if breaker.slow_start is None:
        return room
    return max(0, min(room, (1 << breaker.slow_start) - in_flight))


SLOW_START_ENDS = 10  # successes; no worker can be set to have more than 2**10 requests in flight


def is_stale(breaker: CircuitBreaker, asked_at: datetime) -> bool:
    """Return whether a request's result is stale: `asked_at` is before `breaker.paused_at`.

    `asked_at` is when the poll or callback was claimed; for any other request, when it was sent. Always false while
    the breaker is not paused.
    """
    return breaker.paused_at is not None and asked_at < breaker.paused_at


def after_signal(
    breaker: CircuitBreaker, signal: Signal, *, asked_at: datetime, now: datetime, policy: BreakerPolicy
) -> CircuitBreaker:
    """Return the breaker after the `signal` of a request.

    `asked_at` is when the poll or callback was claimed; for any other request, when it was sent.
    """
    stale = is_stale(breaker, asked_at)
    match signal:
        case RetryAfter(seconds=seconds, reason=reason):
            until = now + timedelta(seconds=seconds)
            # The wait that a trial's answer asks for replaces the pause; a stale answer must not shorten the pause.
            return _paused_for(
                breaker, max(until, breaker.paused_until or until) if stale else until, reason, now=now
            )
        case _ if stale:
            return breaker
        case Success():
            return _closed(breaker, policy)
        case Failure(reason=reason):
            failed = replace(breaker, failures=breaker.failures + 1)
            if not breaker.paused and failed.failures < policy.failure_threshold:
                return failed
            return _paused(failed, reason, now=now, policy=policy)
        case PermanentFailure(reason=reason):
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


def _paused_for(breaker: CircuitBreaker, until: datetime, reason: str, *, now: datetime) -> CircuitBreaker:
    return replace(
        breaker, paused_at=breaker.paused_at or now, paused_until=until, reason=reason, slow_start=None
    )
