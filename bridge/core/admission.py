"""How an account stands, its gate and its quota together: who may ask, and what the answers change."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import assert_never

from bridge.core import gates, quota
from bridge.core.answers import Answer, NoAnswer, NoToken
from bridge.core.findings import (
    AccountAtFault,
    Ended,
    Finding,
    NoNews,
    Refused,
    Throttled,
    Trouble,
    Unfinished,
)
from bridge.core.gates import ACCOUNT_POLICY, Failure, Fault, Gate, Hold, Signal, Success
from bridge.core.quota import Rate, Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountGate:
    """An account's gate, and how much of its quota is used."""

    gate: Gate = field(default_factory=Gate)
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What came of one request, granted at `asked_at` to an account of this rate, and what it says of that.

    `signal` is None when it says nothing of the account.
    """

    answer: Answer | NoAnswer | NoToken
    signal: Signal | None
    asked_at: datetime
    rate: Rate

    @property
    def requests(self) -> int:
        """How many requests were sent for it."""
        return self.answer.refused if isinstance(self.answer, NoToken) else self.answer.refused + 1

    @property
    def errors(self) -> int:
        """How many of them HubSpot may count as errors."""
        went_well = isinstance(self.answer, Answer) and 200 <= self.answer.status_code < 300
        return self.requests - 1 if went_well else self.requests


def signal_of(finding: Finding) -> Signal:
    """Tell what a finding about one task says of its account."""
    match finding:
        case Unfinished() | Ended() | NoNews() | Refused():
            return Success()
        case Trouble(reason=reason):
            return Failure(reason=reason)
        case AccountAtFault(reason=reason):
            return Fault(reason=reason)
        case Throttled(seconds=seconds, reason=reason):
            return Hold(seconds=seconds, reason=reason)
        case never:
            assert_never(never)


def signal_of_errand(finding: Finding) -> Signal | None:
    """Tell what a finding about a single request says of its account; None when it says nothing.

    A scope that only this sort of request lacks must not keep polls waiting, which may all have theirs.
    """
    if isinstance(finding, AccountAtFault) and finding.scopes:
        return None
    return signal_of(finding)


def grant(rate: Rate, held: AccountGate, *, wanted: int, now: datetime) -> int:
    """Return how many of the `wanted` requests may go now: none while it is paused, then one probe."""
    until = held.gate.paused_until
    if until is not None:
        wanted = 0 if until > now else min(wanted, 1)
    return quota.grant(rate, held.usage, wanted=wanted, now=now)


def spend(
    rate: Rate, held: AccountGate, *, requests: int, lease_ends_at: datetime, now: datetime
) -> AccountGate:
    """Return how the account stands after `requests` were granted; that of a paused one is its probe."""
    gate = gates.probing(held.gate, until=lease_ends_at) if held.gate.paused else held.gate
    return AccountGate(gate=gate, usage=quota.spend(rate, held.usage, requests=requests, now=now))


def renewed(rate: Rate, held: AccountGate, *, now: datetime) -> AccountGate:
    """Return how an account stands that somebody has just set: its next request is due, as a probe if it was paused.

    What its quota and its pace were before says nothing of it now.
    """
    gate, until = held.gate, held.gate.paused_until
    if until is not None and until > now:
        gate = replace(gate, paused_at=now, paused_until=now)
    return AccountGate(gate=gate, usage=quota.relieved(rate, Usage(free_at=held.usage.free_at), now=now))


def spend_at_once(rate: Rate, held: AccountGate, *, now: datetime) -> AccountGate:
    """Return how the account stands after a request that nobody granted: others wait for one turn at the most.

    So what many such requests in a row spend is forgiven but for the last, though HubSpot counts them all: they
    are an operator's, made by hand, and must not hold up the polls.
    """
    usage = quota.relieved(rate, quota.spend(rate, held.usage, requests=1, now=now), now=now)
    return replace(held, usage=usage)


def after_answers(held: AccountGate, heard: Sequence[Heard], *, now: datetime) -> AccountGate:
    """Return how the account stands after what was heard, in this order."""
    gate, usage = held.gate, held.usage
    for h in heard:
        before = gate
        if h.signal is not None:
            gate = gates.after_signal(before, h.signal, asked_at=h.asked_at, now=now, policy=ACCOUNT_POLICY)
        # One was granted; with a newer token there were two.
        if more := max(h.requests - 1, 0):
            usage = quota.spend(h.rate, usage, requests=more, now=now)
        if isinstance(h.answer, Answer):
            usage = quota.observe(usage, h.answer.headers, now=now)
        if before.paused and not gate.paused:
            usage = quota.relieved(h.rate, usage, now=now)
    return AccountGate(gate=gate, usage=usage)


def count(heard: Sequence[Heard]) -> tuple[int, int]:
    """Return how many requests were sent, and how many of them HubSpot may count as errors."""
    return sum(h.requests for h in heard), sum(h.errors for h in heard)
