"""When to try a callback again, what the receiver's answer means, and the callback's body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

from bridge.core.circuit_breaker import Failure, Signal, Success
from bridge.core.http_results import HttpResponse, NoResponse, NotSent
from bridge.core.instants import retry_after_seconds, rfc3339
from bridge.core.kinds import KINDS
from bridge.core.watch import Event, Watch, advance

LARGEST_HUBSPOT_BYTES = 256 * 1024
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
EXCERPT_BYTES = 2048


class Trigger(StrEnum):
    """Who asked for an attempt."""

    SCHEDULE = "schedule"  # the bridge's own schedule, also for the later attempts of a redelivery
    MANUAL = "manual"  # a person or a program: the first attempt of a redelivery, or a test callback


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """The waits between attempts; each varies at random by up to `jitter_share` (0 to 1) of itself."""

    schedule_seconds: tuple[float, ...]  # in order; after the last wait, one last attempt is made
    jitter_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One attempt to POST a callback, and its result.

    `number` counts the attempts of the watch, from 1. `status_code` and `response_excerpt` (the start of the body)
    are None when no response came. `error` says why the attempt failed; None when the receiver accepted the callback.
    """

    watch_id: str
    number: int
    trigger: Trigger
    started_at: datetime
    duration_ms: int
    status_code: int | None
    error: str | None
    response_excerpt: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptDecision:
    """What to save after one attempt, and the signal for the circuit breaker of the receiver's host.

    `signal` is None when the attempt's result is a NotSent.
    """

    watch: Watch
    attempt: Attempt
    signal: Signal | None


def after_attempt(
    watch: Watch,
    answer: HttpResponse | NoResponse | NotSent,
    *,
    started_at: datetime,
    now: datetime,
    policy: RetryPolicy,
    jitter: float,
) -> AttemptDecision:
    """Decide what follows from an attempt that got `answer`; `jitter` is a random number from -1 to 1."""
    trigger = Trigger.MANUAL if watch.manual else Trigger.SCHEDULE
    attempt = record(watch.id, watch.attempts + 1, trigger, answer, started_at=started_at, now=now)
    made = {
        "attempts": attempt.number,
        "tries": watch.tries + 1,
        "manual": False,
        "last_attempt_at": started_at,
        "last_status_code": attempt.status_code,
        "last_error": attempt.error or watch.error,
    }
    wait = wait_seconds(watch.tries, answer, policy, now=now, jitter=jitter)
    if attempt.error is None:
        after = advance(watch, Event.ACCEPTED, settled_at=now, **made)
    elif wait is None:
        after = advance(watch, Event.GAVE_UP, settled_at=now, **made)
    else:
        after = advance(watch, Event.ATTEMPT_FAILED, due_at=now + timedelta(seconds=wait), **made)
    return AttemptDecision(watch=after, attempt=attempt, signal=_signal(answer, attempt.error))


def record(
    watch_id: str,
    number: int,
    trigger: Trigger,
    answer: HttpResponse | NoResponse | NotSent,
    *,
    started_at: datetime,
    now: datetime,
) -> Attempt:
    """Return the record of an attempt that got `answer` at `now`; `number` counts a watch's attempts, from 1."""
    answered = answer if isinstance(answer, HttpResponse) else None
    return Attempt(
        watch_id=watch_id,
        number=number,
        trigger=trigger,
        started_at=started_at,
        duration_ms=max(0, round((now - started_at).total_seconds() * 1000)),
        status_code=answered.status_code if answered else None,
        error=attempt_error(answer),
        response_excerpt=excerpt(answered.body) if answered else None,
    )


def attempt_error(answer: HttpResponse | NoResponse | NotSent) -> str | None:
    """Return why an attempt failed, as a sentence; None when the receiver accepted the callback."""
    if isinstance(answer, NoResponse):
        return f"The receiver did not answer: {answer.reason}"
    if isinstance(answer, NotSent):
        return answer.reason
    if 200 <= answer.status_code < 300:
        return None
    if 300 <= answer.status_code < 400:
        return f"The receiver answered {answer.status_code}; redirects are not followed"
    return f"The receiver answered {answer.status_code}"


def excerpt(body: bytes) -> str:
    """Return the start of a response, at most 2 KiB, with `·` for unprintable characters."""
    text = body[:EXCERPT_BYTES].decode(errors="replace")
    kept = "".join(c if c.isprintable() or c in "\n\t" else "·" for c in text)
    # A replacement may take more bytes than the character that it replaces.
    return kept.encode()[:EXCERPT_BYTES].decode(errors="ignore")


def wait_seconds(
    tries: int,
    answer: HttpResponse | NoResponse | NotSent,
    policy: RetryPolicy,
    *,
    now: datetime,
    jitter: float,
) -> float | None:
    """Return the seconds from a failed attempt to the next; None after a 410, or when the schedule ends.

    `tries` attempts of the same delivery came before the failed one. `jitter` is a random number from -1 to 1.
    """
    gone = isinstance(answer, HttpResponse) and answer.status_code == 410
    if gone or tries >= len(policy.schedule_seconds):
        return None
    wait = policy.schedule_seconds[tries] * (1 + policy.jitter_share * jitter)
    if isinstance(answer, HttpResponse) and answer.status_code in (429, 503):
        asked = retry_after_seconds(answer.headers.get("retry-after"), now=now) or 0.0
        wait = max(wait, min(asked, LONGEST_RETRY_AFTER_SECONDS))
    return wait


def _signal(answer: HttpResponse | NoResponse | NotSent, error: str | None) -> Signal | None:
    """Return what an attempt's answer means for the circuit breaker of the receiver's host.

    None for a NotSent. A Failure, with `error` as its reason, for no response, a 429 or a 5xx. A Success for any other
    response.
    """
    if isinstance(answer, NotSent):
        return None
    if isinstance(answer, HttpResponse) and answer.status_code < 500 and answer.status_code != 429:
        return Success()
    return Failure(reason=error or "")


def event_type(watch: Watch) -> str:
    """Return the callback's `type`, such as `import.completed`."""
    return f"{KINDS[watch.kind].event_prefix}.{watch.outcome}"


def payload(watch: Watch, hubspot_body: str | None) -> bytes:
    """Return the callback's body: the same bytes for every attempt of one watch.

    `hubspot_body` is HubSpot's answer as JSON text; None if there is none. If the answer has more than 256 KiB, the
    callback says `truncated` and has no answer. Raises ValueError when `watch.ended_at` is None.
    """
    if watch.ended_at is None:
        raise ValueError(f"{watch.id} has not ended: there is nothing to tell yet")
    truncated = hubspot_body is not None and len(hubspot_body.encode()) > LARGEST_HUBSPOT_BYTES
    data = {
        "id": watch.id,
        "task_id": watch.task_id,
        "kind": watch.kind,
        "account": watch.account,
        "outcome": watch.outcome,
        "metadata": Verbatim(watch.metadata),
        "created_at": rfc3339(watch.created_at),
        "ended_at": rfc3339(watch.ended_at),
        "error": watch.error,
        **({"truncated": True} if truncated else {}),
        "hubspot": None if truncated or hubspot_body is None else Verbatim(hubspot_body),
    }
    event = {
        "type": event_type(watch),
        "timestamp": rfc3339(watch.ended_at),
        "data": Verbatim(json_object(data)),
    }
    return json_object(event).encode()


# Parsing and writing JSON anew could change numbers and the order of members.
class Verbatim(str):
    """JSON text that `json_object` inserts unchanged."""

    __slots__ = ()


def json_object(members: Mapping[str, Any]) -> str:
    """Return a JSON object with these members, as text.

    A value of the class Verbatim, which is JSON text, is inserted unchanged.
    """
    texts: list[str] = []
    # Other members that stand side by side are encoded together; one at a time would take twice as long.
    for is_verbatim, run in groupby(members.items(), lambda member: isinstance(member[1], Verbatim)):
        if is_verbatim:
            texts.extend(f'"{name}": {text}' for name, text in run)
        else:
            texts.append(json.dumps(dict(run))[1:-1])
    return f"{{{', '.join(texts)}}}"
