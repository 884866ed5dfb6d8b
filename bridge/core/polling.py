"""Decides when to poll a task again, and how HubSpot's answer to a poll changes the watch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import sqrt
from typing import Any, assert_never

from bridge.core.account_limits import AccountSignal, signal_of, suspicion
from bridge.core.circuit_breaker import ACCOUNT_POLICY
from bridge.core.classification import (
    AccountError,
    Ended,
    Inconclusive,
    Postponed,
    Refused,
    Throttled,
    TransientError,
    Unfinished,
    classify,
)
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.kinds import Kind
from bridge.core.watch import Event, Outcome, Watch, advance


@dataclass(frozen=True, kw_only=True, slots=True)
class PollDecision:
    """What to save after one poll, and the signal for the account's limits.

    `hubspot_body` is JSON text; None when there is none to save. `signal` is None when the poll got a NoTokenYet.
    `result` is the poll's label in the counter POLLS. `delay_seconds` is the time from the task's end to this poll;
    None when it was not measured.
    """

    watch: Watch
    hubspot_body: str | None
    signal: AccountSignal | None
    result: str
    delay_seconds: float | None = None


REFUSALS = 3  # in a row before a watch is rejected; HubSpot may not know a new task at once
REFUSAL_SECONDS = 10.0
# While the account is suspected, a watch's refusals must span this time before it is rejected.
SPREAD_SECONDS = 900.0
SOONEST_REFUSAL_SECONDS = 8.0  # a refusal that follows another sooner than this is not counted
POSTPONED_SECONDS = 2.0  # until a watch is polled again that found the account's token still being refreshed
BACKOFF_SECONDS = 2.0
LONGEST_BACKOFF_SECONDS = 60.0
GAP_JITTER = 0.1
YOUNG_SECONDS = 120.0  # younger watches get half of the polls when the quota is short
BACKOFF_JITTER = 0.2
# No task is watched for longer, so a reported end that is older does not say how late the bridge noticed it.
LONGEST_WATCHED_SECONDS = 30 * 86_400.0

# Each of these counts answers of one kind in a row; an answer of another kind ends the streak.
_NO_STREAKS = {"refusals": 0, "refused_since": None, "failures": 0, "account_errors": 0}


def gap(age_seconds: float) -> float:
    """Return the seconds, before jitter, from a poll of an unfinished task to the next poll.

    `age_seconds` (≥ 0) is the task's age at the first of these two polls: the seconds since `age_zero_at`.
    """
    return max(sqrt(age_seconds + 4), age_seconds / 30)


def urgency(waited_seconds: float, age_seconds: float) -> float:
    """Return how urgent a due poll is: the square of `waited_seconds / gap(age_seconds)`.

    `waited_seconds` is the time since the last poll, or since the registration if there was no poll. `age_seconds` is
    the task's age: the time since `age_zero_at`. `bridge.db.claims` repeats the formula in SQL.
    """
    return waited_seconds**2 / max(age_seconds + 4, age_seconds**2 / 900)


def half_young(young: Sequence[str], every: Sequence[str], *, count: int, odd_to_young: bool) -> list[str]:
    """Return up to `count` watch ids: up to half from `young`, the others from `every`.

    `young` holds ids of watches younger than YOUNG_SECONDS, `every` ids of watches of any age; both lists begin with
    the most urgent. If `count` is odd, `odd_to_young` says whether the half from `young` is the larger one.
    """
    half = (count + odd_to_young) // 2
    chosen = list(young[:half])
    taken = set(chosen)
    rest = [id_ for id_ in every if id_ not in taken]
    return chosen + rest[: count - len(chosen)]


def first_poll_at(created_at: datetime, deadline_at: datetime) -> datetime:
    """Return when the first poll of a new watch is due: after 2 s, or at its deadline if that is sooner."""
    return min(created_at + timedelta(seconds=gap(0)), deadline_at)


def after_answer(
    kind: Kind,
    watch: Watch,
    answer: HttpResponse | NoResponse | NoToken,
    *,
    now: datetime,
    jitter: float,
    suspected: bool = False,
) -> PollDecision:
    """Decide what follows from HubSpot's `answer` to a poll; `jitter` is a random number from -1 to 1.

    A watch is rejected when its `refusals` reach REFUSALS. `suspected` says that the account, not the task, may be the
    cause of the refusals: then they must also span at least SPREAD_SECONDS.
    """
    classified = classify(kind, answer, now=now)
    decided = partial(PollDecision, signal=signal_of(classified, watch.id), result=classified.result)
    polled: dict[str, Any] = {"polls": watch.polls + 1, "last_polled_at": now, **_NO_STREAKS}
    match classified:
        case Ended(status=status, outcome=outcome, error=error, body=body, completed_at=completed_at):
            delay = _delay_seconds(completed_at, now=now)
            ended = end(watch, outcome, error, now=now, status=status, **polled)
            return decided(watch=ended, hubspot_body=body, delay_seconds=delay)
        case Unfinished(status=status, body=body):
            going = _unfinished(watch, status, polled, now=now, jitter=jitter)
            return decided(watch=going, hubspot_body=body)
        case Inconclusive(reason=reason, status=status, body=body):
            polled |= {"status": status or watch.status, "last_error": reason}
            going = _schedule_next_poll(watch, _gap_seconds(watch.age_zero_at, now, jitter), polled, now=now)
            return decided(watch=going, hubspot_body=body)
        case Refused(reason=reason):
            refused = _refused(watch, reason, polled, suspected=suspected, now=now, jitter=jitter)
            return decided(watch=refused, hubspot_body=None)
        case TransientError(reason=reason):
            going = _back_off(watch, reason, polled, now=now, jitter=jitter)
            return decided(watch=going, hubspot_body=None)
        case AccountError(reason=reason):
            going = _delay_after_account_error(watch, reason, polled, now=now)
            return decided(watch=going, hubspot_body=None)
        case Throttled(reason=reason):
            going = _schedule_next_poll(watch, 0, polled | _streaks(watch) | {"last_error": reason}, now=now)
            return decided(watch=going, hubspot_body=None)
        case Postponed(reason=reason):
            going = _postpone(watch, polled | _streaks(watch) | {"last_error": reason}, now=now)
            return decided(watch=going, hubspot_body=None)
        case never:
            assert_never(never)


def _delay_seconds(completed_at: datetime | None, *, now: datetime) -> float | None:
    """Return the seconds since the task's end; None when HubSpot reports no end, or an end over 30 days ago."""
    if completed_at is None:
        return None
    # The two clocks may differ a little.
    seconds = max((now - completed_at).total_seconds(), 0.0)
    return seconds if seconds <= LONGEST_WATCHED_SECONDS else None


def end(watch: Watch, outcome: Outcome, error: str | None, *, now: datetime, **changes: Any) -> Watch:
    """Return the watch with this `outcome`, ended at `now`; the callback is due now.

    `error` is a sentence that says why the outcome is not `completed`; None when it is. `changes` holds new values of
    other fields.
    """
    over = {"outcome": outcome, "error": error, "last_error": error, "ended_at": now, "due_at": now}
    return advance(watch, Event.ENDED, **(changes | over | _NO_STREAKS))


def time_out(watch: Watch, *, now: datetime) -> Watch:
    """End the watch with the outcome `timed_out`; return the ended watch.

    The caller has made sure that the watch's deadline has passed.
    """
    seconds = (watch.deadline_at - watch.created_at).total_seconds()
    seen = f"its last status was {watch.status}" if watch.status else "no status was seen"
    why = f" The last answer: {watch.last_error}" if watch.last_error else ""
    return end(
        watch,
        Outcome.TIMED_OUT,
        f"The task was not seen to end within {seconds:.0f} s; {seen}.{why}",
        now=now,
    )


def _schedule_next_poll(
    watch: Watch, wait_seconds: float, changes: dict[str, Any], *, now: datetime
) -> Watch:
    """Return the watch with `changes`, due in `wait_seconds`, or at its deadline if that comes first.

    If the deadline has passed, the watch is timed out.
    """
    if now >= watch.deadline_at:
        return time_out(replace(watch, **changes), now=now)
    due_at = min(now + timedelta(seconds=wait_seconds), watch.deadline_at)
    return advance(watch, Event.CHECKED, due_at=due_at, **changes)


def _unfinished(watch: Watch, status: str, polled: dict[str, Any], *, now: datetime, jitter: float) -> Watch:
    # The age that sets the gap between polls restarts at 0 when the task is first seen PROCESSING.
    first = status == "PROCESSING" and watch.age_zero_at == watch.created_at
    zero_at = now if first else watch.age_zero_at
    seen = {"status": status, "age_zero_at": zero_at, "last_error": None}
    return _schedule_next_poll(watch, _gap_seconds(zero_at, now, jitter), polled | seen, now=now)


def _gap_seconds(age_zero_at: datetime, now: datetime, jitter: float) -> float:
    # The age must not be negative when the clock was set back.
    age = max((now - age_zero_at).total_seconds(), 0.0)
    return gap(age) * (1 + GAP_JITTER * jitter)


def _refused(
    watch: Watch, reason: str, polled: dict[str, Any], *, suspected: bool, now: datetime, jitter: float
) -> Watch:
    refusals = watch.refusals if _is_hasty(watch, now) else watch.refusals + 1
    since = watch.refused_since if watch.refusals and watch.refused_since else now
    spread_enough = not suspected or now - since >= timedelta(seconds=SPREAD_SECONDS)
    if refusals >= REFUSALS and spread_enough:
        why = f"{reason} ({refusals} times in a row)."
        return end(watch, Outcome.REJECTED, why, now=now, **polled)
    wait = REFUSAL_SECONDS * (1 + GAP_JITTER * jitter)
    why = suspicion(reason) if suspected else reason
    refused = {"refusals": refusals, "refused_since": since, "last_error": why}
    return _schedule_next_poll(watch, wait, polled | refused, now=now)


def _is_hasty(watch: Watch, now: datetime) -> bool:
    """Return whether a refusal at `now` follows the previous poll too soon to be counted.

    The first refusal in a row is always counted.
    """
    if not watch.refusals or watch.last_polled_at is None:
        return False
    return now - watch.last_polled_at < timedelta(seconds=SOONEST_REFUSAL_SECONDS)


def _postpone(watch: Watch, changes: dict[str, Any], *, now: datetime) -> Watch:
    due_at = now + timedelta(seconds=POSTPONED_SECONDS)
    # After the deadline, too: HubSpot was not asked, so the last poll is still to come.
    if now < watch.deadline_at:
        due_at = min(due_at, watch.deadline_at)
    return advance(watch, Event.CHECKED, due_at=due_at, **changes)


def _streaks(watch: Watch) -> dict[str, int]:
    # A 429, a 477 or a missing token says nothing of the task or the credentials: these two go on. Refusals do not:
    # they count only in a row.
    return {"failures": watch.failures, "account_errors": watch.account_errors}


def _delay_after_account_error(watch: Watch, reason: str, polled: dict[str, Any], *, now: datetime) -> Watch:
    # The watch waits: the account's next trial polls another watch, perhaps of a kind that the scopes allow.
    policy = ACCOUNT_POLICY
    wait = min(policy.first_seconds * 2 ** min(watch.account_errors, 5), policy.most_seconds)
    failed = {"account_errors": watch.account_errors + 1, "last_error": reason}
    return _schedule_next_poll(watch, wait, polled | failed, now=now)


def _back_off(watch: Watch, reason: str, polled: dict[str, Any], *, now: datetime, jitter: float) -> Watch:
    # The exponent is capped: 2 s doubles five times to 64 s, and 2.0**1024 would overflow.
    wait = min(BACKOFF_SECONDS * 2 ** min(watch.failures, 5), LONGEST_BACKOFF_SECONDS)
    wait *= 1 + BACKOFF_JITTER * jitter
    failed = {"failures": watch.failures + 1, "last_error": reason}
    return _schedule_next_poll(watch, wait, polled | failed, now=now)
