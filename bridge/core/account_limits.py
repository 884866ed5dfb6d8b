"""The limits of a HubSpot account, its circuit breaker and its quota together, and how answers change them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias, assert_never

from bridge.core import circuit_breaker, quota
from bridge.core.circuit_breaker import ACCOUNT_POLICY, CircuitBreaker, Failure, Fault, Hold, Signal, Success
from bridge.core.classification import (
    AccountAtFault,
    Classification,
    Ended,
    Inconclusive,
    Refused,
    Throttled,
    Trouble,
    Unfinished,
)
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.quota import Rate, Usage

# When HubSpot refuses so many different tasks in a row, the cause is likely their account, not the tasks.
SUSPECTS = 5
CHANGED = "The account was changed since HubSpot last refused it: the next request shows whether it is well."


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """HubSpot refused one task: that of the watch `watch_id`, or, with None, a task that no watch follows."""

    reason: str
    watch_id: str | None = None


AccountSignal: TypeAlias = Signal | Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountLimits:
    """An account's breaker, how much of its quota is used, and the watches whose tasks HubSpot refuses.

    `refused_watches` are the ids of the different watches that were refused since the last success, SUSPECTS of
    them at the most.
    """

    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    usage: Usage = field(default_factory=Usage)
    refused_watches: tuple[str, ...] = ()

    @property
    def suspected(self) -> bool:
        """Whether HubSpot's refusals are likely the account's trouble: another portal's token, a front that blocks."""
        return len(self.refused_watches) >= SUSPECTS


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedCall:
    """The result of one call, granted at `asked_at` to an account with this `rate`.

    `signal` is what the result means for the account's breaker; None when it means nothing for it.
    """

    answer: HttpResponse | NoResponse | NoToken
    signal: AccountSignal | None
    asked_at: datetime
    rate: Rate

    @property
    def requests(self) -> int:
        """How many requests were sent for this call: more than one when a token was refused and replaced."""
        return self.answer.refused if isinstance(self.answer, NoToken) else self.answer.refused + 1

    @property
    def errors(self) -> int:
        """How many of these requests HubSpot may count as errors."""
        went_well = isinstance(self.answer, HttpResponse) and 200 <= self.answer.status_code < 300
        return self.requests - 1 if went_well else self.requests


def signal_of(classified: Classification, watch_id: str | None = None) -> AccountSignal:
    """Return what a classified answer means for its account; `watch_id` is the watch that was polled, if any."""
    match classified:
        case Unfinished() | Ended() | Inconclusive():
            return Success()
        case Refused(reason=reason):
            return Refusal(reason=reason, watch_id=watch_id)
        case Trouble(reason=reason):
            return Failure(reason=reason)
        case AccountAtFault(reason=reason):
            return Fault(reason=reason)
        case Throttled(seconds=seconds, reason=reason):
            return Hold(seconds=seconds, reason=reason)
        case never:
            assert_never(never)


def signal_of_single_call(classified: Classification) -> AccountSignal | None:
    """Return what the classified answer to a call outside polling means for its account; None when nothing.

    A missing scope must not pause the account: its polls may have all the scopes that they need.
    """
    if isinstance(classified, AccountAtFault) and classified.scopes:
        return None
    return signal_of(classified)


def grant(rate: Rate, held: AccountLimits, *, wanted: int, now: datetime) -> int:
    """Return how many of the `wanted` requests may be sent now: none during a pause, and one probe after it."""
    until = held.breaker.paused_until
    if until is not None:
        wanted = 0 if until > now else min(wanted, 1)
    return quota.grant(rate, held.usage, wanted=wanted, now=now)


def spend(
    rate: Rate, held: AccountLimits, *, requests: int, lease_ends_at: datetime, now: datetime
) -> AccountLimits:
    """Return the limits after `requests` were granted; for a paused account the request is its probe."""
    breaker = (
        circuit_breaker.half_open(held.breaker, until=lease_ends_at) if held.breaker.paused else held.breaker
    )
    return replace(held, breaker=breaker, usage=quota.spend(rate, held.usage, requests=requests, now=now))


def with_probe_due(held: AccountLimits, *, now: datetime) -> AccountLimits:
    """Return the limits with the pause, if there is one, ended now, so that the next request is the probe."""
    breaker, until = held.breaker, held.breaker.paused_until
    if until is None or until <= now:
        return held
    return replace(held, breaker=replace(breaker, paused_at=now, paused_until=now))


def after_account_change(rate: Rate, held: AccountLimits, *, now: datetime) -> AccountLimits:
    """Return the limits after an operator has set the account: its next request may be sent, as a probe if paused.

    Until then CHANGED is the reason of the pause: HubSpot's refusal was of the former credentials.
    What HubSpot reported of its quota before is dropped: the new credentials may have another quota.
    """
    usage = quota.capped(rate, Usage(free_at=held.usage.free_at), now=now)
    if held.breaker.paused:
        held = replace(held, breaker=replace(held.breaker, reason=CHANGED))
    return replace(with_probe_due(held, now=now), usage=usage)


def spend_ungranted(rate: Rate, held: AccountLimits, *, now: datetime) -> AccountLimits:
    """Return the limits after a request that was sent without a grant, such as one that an operator made by hand.

    Of many such requests in a row only the last delays the polls, by one interval at the most, although HubSpot
    counts them all.
    """
    usage = quota.capped(rate, quota.spend(rate, held.usage, requests=1, now=now), now=now)
    return replace(held, usage=usage)


def after_answers(held: AccountLimits, finished: Sequence[FinishedCall], *, now: datetime) -> AccountLimits:
    """Return the limits after these calls, applied in this order."""
    for h in finished:
        before, usage = held.breaker, held.usage
        held = _after_signal(held, h, now=now)
        # One request was granted; a call that was repeated with a newer token sent two.
        if more := max(h.requests - 1, 0):
            usage = quota.spend(h.rate, usage, requests=more, now=now)
        if isinstance(h.answer, HttpResponse):
            usage = quota.observe(usage, h.answer.headers, now=now)
        if before.paused and not held.breaker.paused:
            usage = quota.capped(h.rate, usage, now=now)
        held = replace(held, usage=usage)
    return held


def _after_signal(held: AccountLimits, h: FinishedCall, *, now: datetime) -> AccountLimits:
    """Apply a call's signal: one refused task counts as a success of the account, SUSPECTS in a row pause it."""
    signal, refused = h.signal, held.refused_watches
    if signal is None:
        return held
    if isinstance(signal, Refusal):
        refused = _with(refused, signal.watch_id)
        signal = Fault(reason=suspicion(signal.reason)) if len(refused) >= SUSPECTS else Success()
    elif isinstance(signal, Success):
        refused = ()
    if circuit_breaker.is_stale(held.breaker, h.asked_at):
        refused = held.refused_watches
    breaker = circuit_breaker.after_signal(
        held.breaker, signal, asked_at=h.asked_at, now=now, policy=ACCOUNT_POLICY
    )
    return replace(held, breaker=breaker, refused_watches=refused)


def _with(refused: tuple[str, ...], watch_id: str | None) -> tuple[str, ...]:
    if watch_id is None or watch_id in refused or len(refused) >= SUSPECTS:
        return refused
    return (*refused, watch_id)


def suspicion(reason: str) -> str:
    """Return `reason`, why a task was refused, followed by what the operator should check of the account."""
    return (
        f"{reason}. HubSpot refused {SUSPECTS} different tasks of the account in a row: check that its token is "
        "one of the portal that runs these tasks, and that nothing in front of HubSpot blocks the bridge."
    )


def count(finished: Sequence[FinishedCall]) -> tuple[int, int]:
    """Return how many requests these calls sent, and how many of them HubSpot may count as errors."""
    return sum(h.requests for h in finished), sum(h.errors for h in finished)
