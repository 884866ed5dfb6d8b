"""The limits of an account (its circuit breaker and its quota), and how HubSpot's answers change them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias, assert_never

from bridge.core import circuit_breaker, quota
from bridge.core.circuit_breaker import (
    ACCOUNT_POLICY,
    CircuitBreaker,
    Failure,
    PermanentFailure,
    RetryAfter,
    Signal,
    Success,
)
from bridge.core.classification import (
    AccountError,
    Classification,
    Ended,
    Inconclusive,
    Postponed,
    Refused,
    Throttled,
    TransientError,
    Unfinished,
)
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.quota import Rate, Usage

# When HubSpot has refused the tasks of this many watches since the last Success, the likely cause is the account.
SUSPECTS = 5
SUSPICION = (
    f"HubSpot refused {SUSPECTS} different tasks of the account in a row: check that its token is one of the portal "
    "that runs these tasks, and that nothing in front of HubSpot blocks the bridge."
)
CHANGED = "The account was changed: its next request shows whether HubSpot answers it."


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """The signal that HubSpot refused a request: a watch's poll or, if `watch_id` is None, the start of an import."""

    reason: str
    watch_id: str | None = None


AccountSignal: TypeAlias = Signal | Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountLimits:
    """The circuit breaker of an account, its use of the quota, and the watches whose tasks HubSpot refuses.

    `refused_watches` holds the ids of up to SUSPECTS watches whose tasks HubSpot has refused since the last
    Success (the signal that the account works).
    """

    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    usage: Usage = field(default_factory=Usage)
    refused_watches: tuple[str, ...] = ()

    @property
    def suspected(self) -> bool:
        """Whether the account, not a task, is the likely cause of HubSpot's refusals.

        True when HubSpot has refused polls of at least SUSPECTS watches since the last Success.
        """
        return len(self.refused_watches) >= SUSPECTS


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedCall:
    """The result of one call to HubSpot for an account; `rate` is the account's burst limit.

    `asked_at` is when the poll was claimed, or, outside polling, the instant just before the call. `signal` is None
    when the result must not change the account's circuit breaker.
    """

    answer: HttpResponse | NoResponse | NoToken
    signal: AccountSignal | None
    asked_at: datetime
    rate: Rate

    @property
    def requests(self) -> int:
        """How many requests with an access token the call made, or tried to make: 0, 1 or 2.

        A request counts even if it was not answered, or could not be sent. 0 means that no usable token came in time.
        2 means that HubSpot refused the first token, and a newer one was tried.
        """
        return (
            self.answer.earlier_refusals
            if isinstance(self.answer, NoToken)
            else self.answer.earlier_refusals + 1
        )

    @property
    def failed(self) -> bool:
        """Whether the call counts against the account: its `signal` is neither None nor a Success."""
        return not isinstance(self.signal, Success | None)

    @property
    def errors(self) -> int:
        """How many of the call's requests were not answered with 2xx; HubSpot may count them as errors."""
        went_well = isinstance(self.answer, HttpResponse) and 200 <= self.answer.status_code < 300
        return self.requests - 1 if went_well else self.requests


def only_counted(call: FinishedCall) -> FinishedCall:
    """Return a copy of the call that only counts its requests: it keeps nothing that the answer says of the account."""
    answer = replace(call.answer, headers={}) if isinstance(call.answer, HttpResponse) else call.answer
    return replace(call, answer=answer, signal=None)


def signal_of(classified: Classification, watch_id: str | None = None) -> AccountSignal | None:
    """Return the signal for the account's limits that follows from the classified answer.

    Returns None when the answer says nothing of the account. `watch_id` is the id of the watch that was polled; None
    when the request was no poll.
    """
    match classified:
        case Unfinished() | Ended() | Inconclusive():
            return Success()
        case Refused(reason=reason):
            return Refusal(reason=reason, watch_id=watch_id)
        case TransientError(reason=reason):
            return Failure(reason=reason)
        case AccountError(reason=reason):
            return PermanentFailure(reason=reason)
        case Throttled(seconds=seconds, reason=reason):
            return RetryAfter(seconds=seconds, reason=reason)
        case Postponed():
            return None
        case never:
            assert_never(never)


def signal_of_single_call(classified: Classification) -> AccountSignal | None:
    """Return the signal for the account's limits that follows from the answer to a call other than a poll.

    Returns None when the answer says nothing of the account. Returns None, too, when the credentials lack a scope for
    this call: that must not pause the account, because its polls may need other scopes.
    """
    if isinstance(classified, AccountError) and classified.scopes:
        return None
    return signal_of(classified)


def grant(rate: Rate, limits: AccountLimits, *, wanted: int, now: datetime) -> int:
    """Return how many of the `wanted` requests the account's quota and circuit breaker allow now."""
    until = limits.breaker.paused_until
    if until is not None:
        wanted = 0 if until > now else min(wanted, 1)
    return quota.grant(rate, limits.usage, wanted=wanted, now=now)


def spend(
    rate: Rate, limits: AccountLimits, *, requests: int, lease_ends_at: datetime, now: datetime
) -> AccountLimits:
    """Return the limits after a grant of `requests` requests; for a paused account, `requests` is 1.

    The one request of a paused account is the account's trial request. If no answer to the trial comes, the next trial
    is due at `lease_ends_at`.
    """
    breaker = (
        circuit_breaker.half_open(limits.breaker, until=lease_ends_at)
        if limits.breaker.paused
        else limits.breaker
    )
    return replace(limits, breaker=breaker, usage=quota.spend(rate, limits.usage, requests=requests, now=now))


def with_trial_due(limits: AccountLimits, *, now: datetime) -> AccountLimits:
    """Return the limits with the trial request due now if the account is paused; otherwise return them unchanged."""
    breaker, until = limits.breaker, limits.breaker.paused_until
    if until is None or until <= now:
        return limits
    return replace(limits, breaker=replace(breaker, paused_at=now, paused_until=now))


def after_account_change(rate: Rate, limits: AccountLimits, *, now: datetime) -> AccountLimits:
    """Return the limits after an operator has added or replaced an account.

    If the account is paused, its trial request is due now, and the reason of the pause becomes CHANGED. HubSpot's
    last report of the account's quota is forgotten.
    """
    # The new credentials may have another quota.
    usage = quota.limit_wait(rate, Usage(free_at=limits.usage.free_at), now=now)
    if limits.breaker.paused:
        limits = replace(limits, breaker=replace(limits.breaker, reason=CHANGED))
    return replace(with_trial_due(limits, now=now), usage=usage)


def spend_ungranted(rate: Rate, limits: AccountLimits, *, now: datetime) -> AccountLimits:
    """Return the limits after an operator's check of the account: one request, sent without a `grant`.

    The request is added to the usage, even if the quota is used up or the account is paused. If the wait for the next
    request is then longer than `quota.interval_seconds()`, it is shortened to that. The circuit breaker stays as it is.
    """
    # The waits of several such requests must not add up for the polls.
    usage = quota.limit_wait(rate, quota.spend(rate, limits.usage, requests=1, now=now), now=now)
    return replace(limits, usage=usage)


def after_answers(limits: AccountLimits, finished: Sequence[FinishedCall], *, now: datetime) -> AccountLimits:
    """Return the limits after the results of the `finished` calls are applied in the given order."""
    for call in finished:
        before, usage = limits.breaker, limits.usage
        limits = _after_signal(limits, call, now=now)
        # The grant counted one request; a call that was repeated with a newer token sent two.
        if more := max(call.requests - 1, 0):
            usage = quota.spend(call.rate, usage, requests=more, now=now)
        if isinstance(call.answer, HttpResponse):
            usage = quota.observe(usage, call.answer.headers, now=now)
        if before.paused and not limits.breaker.paused:
            usage = quota.limit_wait(call.rate, usage, now=now)
        limits = replace(limits, usage=usage)
    return limits


def _after_signal(limits: AccountLimits, call: FinishedCall, *, now: datetime) -> AccountLimits:
    signal, refused = call.signal, limits.refused_watches
    stale = circuit_breaker.is_stale(limits.breaker, call.asked_at)
    if signal is None:
        return limits
    if isinstance(signal, Refusal):
        if limits.suspected and signal.watch_id is None:
            # A client's faulty import says nothing of the account, so the trial is left to a watch.
            return limits if stale else with_trial_due(limits, now=now)
        # HubSpot has answered the account: for its breaker, the first refusals count as Successes.
        refused = _with(refused, signal.watch_id)
        signal = PermanentFailure(reason=suspicion(signal.reason)) if len(refused) >= SUSPECTS else Success()
    elif isinstance(signal, Success):
        refused = ()
    breaker = circuit_breaker.after_signal(
        limits.breaker, signal, asked_at=call.asked_at, now=now, policy=ACCOUNT_POLICY
    )
    return replace(limits, breaker=breaker, refused_watches=limits.refused_watches if stale else refused)


def _with(refused: tuple[str, ...], watch_id: str | None) -> tuple[str, ...]:
    if watch_id is None or watch_id in refused or len(refused) >= SUSPECTS:
        return refused
    return (*refused, watch_id)


def suspicion(reason: str) -> str:
    """Return a message about an account that may itself be the cause of HubSpot's refusals.

    It says why HubSpot refused a task (the `reason`, without a final dot), and what to check.
    """
    return f"{reason}. {SUSPICION}"


def count(finished: Sequence[FinishedCall]) -> tuple[int, int]:
    """Return how many requests the `finished` calls made and how many of them HubSpot may count as errors."""
    return sum(call.requests for call in finished), sum(call.errors for call in finished)
