"""How an account stands, its breaker and its quota together: who may ask, and what the answers change."""

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

# So many different tasks refused, and none found between: their account is asked about, not they.
SUSPECTS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """HubSpot refused one task: that of the watch `watch_id`, or none that is watched."""

    reason: str
    watch_id: str | None = None


AccountSignal: TypeAlias = Signal | Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountLimits:
    """An account's breaker, how much of its quota is used, and whose tasks HubSpot refuses.

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
    """What came of one request, granted at `asked_at` to an account of this rate, and what it says of that.

    `signal` is None when it says nothing of the account.
    """

    answer: HttpResponse | NoResponse | NoToken
    signal: AccountSignal | None
    asked_at: datetime
    rate: Rate

    @property
    def requests(self) -> int:
        """How many requests were sent for it."""
        return self.answer.refused if isinstance(self.answer, NoToken) else self.answer.refused + 1

    @property
    def errors(self) -> int:
        """How many of them HubSpot may count as errors."""
        went_well = isinstance(self.answer, HttpResponse) and 200 <= self.answer.status_code < 300
        return self.requests - 1 if went_well else self.requests


def signal_of(classified: Classification, watch_id: str | None = None) -> AccountSignal:
    """Tell what a finding about the task of a watch, or about none that is watched, says of its account."""
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
    """Tell what a finding about a single request says of its account; None when it says nothing.

    A scope that only this sort of request lacks must not keep polls waiting, which may all have theirs.
    """
    if isinstance(classified, AccountAtFault) and classified.scopes:
        return None
    return signal_of(classified)


def grant(rate: Rate, held: AccountLimits, *, wanted: int, now: datetime) -> int:
    """Return how many of the `wanted` requests may go now: none while it is paused, then one probe."""
    until = held.breaker.paused_until
    if until is not None:
        wanted = 0 if until > now else min(wanted, 1)
    return quota.grant(rate, held.usage, wanted=wanted, now=now)


def spend(
    rate: Rate, held: AccountLimits, *, requests: int, lease_ends_at: datetime, now: datetime
) -> AccountLimits:
    """Return how the account stands after `requests` were granted; that of a paused one is its probe."""
    breaker = (
        circuit_breaker.half_open(held.breaker, until=lease_ends_at) if held.breaker.paused else held.breaker
    )
    return replace(held, breaker=breaker, usage=quota.spend(rate, held.usage, requests=requests, now=now))


def with_probe_due(held: AccountLimits, *, now: datetime) -> AccountLimits:
    """Return how an account stands whose trouble may be mended: if it was paused, its probe is due."""
    breaker, until = held.breaker, held.breaker.paused_until
    if until is None or until <= now:
        return held
    return replace(held, breaker=replace(breaker, paused_at=now, paused_until=now))


def after_account_change(rate: Rate, held: AccountLimits, *, now: datetime) -> AccountLimits:
    """Return how an account stands that somebody has just set: its next request is due, as a probe if it was paused.

    What its quota and its pace were before says nothing of it now.
    """
    usage = quota.capped(rate, Usage(free_at=held.usage.free_at), now=now)
    return replace(with_probe_due(held, now=now), usage=usage)


def spend_ungranted(rate: Rate, held: AccountLimits, *, now: datetime) -> AccountLimits:
    """Return how the account stands after a request that nobody granted: others wait for one turn at the most.

    So what many such requests in a row spend is forgiven but for the last, though HubSpot counts them all: they
    are an operator's, made by hand, and must not hold up the polls.
    """
    usage = quota.capped(rate, quota.spend(rate, held.usage, requests=1, now=now), now=now)
    return replace(held, usage=usage)


def after_answers(held: AccountLimits, finished: Sequence[FinishedCall], *, now: datetime) -> AccountLimits:
    """Return how the account stands after what was heard, in this order."""
    for h in finished:
        before, usage = held.breaker, held.usage
        held = _after_signal(held, h, now=now)
        # One was granted; with a newer token there were two.
        if more := max(h.requests - 1, 0):
            usage = quota.spend(h.rate, usage, requests=more, now=now)
        if isinstance(h.answer, HttpResponse):
            usage = quota.observe(usage, h.answer.headers, now=now)
        if before.paused and not held.breaker.paused:
            usage = quota.capped(h.rate, usage, now=now)
        held = replace(held, usage=usage)
    return held


def _after_signal(held: AccountLimits, h: FinishedCall, *, now: datetime) -> AccountLimits:
    """One task that is refused is no trouble of the account's; SUSPECTS different ones in a row pause it."""
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
    """Return `reason`, why a task was refused, and what to look at where that is the account's trouble."""
    return (
        f"{reason}. HubSpot refused {SUSPECTS} different tasks of the account in a row: check that its token is "
        "one of the portal that runs these tasks, and that nothing in front of HubSpot blocks the bridge."
    )


def count(finished: Sequence[FinishedCall]) -> tuple[int, int]:
    """Return how many requests were sent, and how many of them HubSpot may count as errors."""
    return sum(h.requests for h in finished), sum(h.errors for h in finished)
