"""Classifies HubSpot's answers; `polling` decides what follows for a watch, `account_limits` for its account.

In HubSpot's 2xx answers about a task, any field but the status field may be null or absent; unknown fields are
ignored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from bridge.core.http_results import HttpResponse, NoResponse, NoToken, NoTokenYet
from bridge.core.instants import retry_after_seconds
from bridge.core.kinds import DEFAULT_KIND, KINDS, Kind
from bridge.core.watch import Outcome

THROTTLED_SECONDS = 10.0  # after a 429 that names no time: HubSpot's rolling window
DAILY_SECONDS = 900.0  # after a 429 for the daily quota: a trial request four times an hour
MIGRATING_SECONDS = 60.0  # after a 477 that names no time, although it should
LONGEST_PAUSE_SECONDS = 86_400.0
NO_TOKEN_PAUSE_SECONDS = 5.0  # after the token server gave no token; then a trial request asks it again
MAY_HAVE_BEGUN = frozenset({408, 499})  # a proxy timed out, and HubSpot may still carry out the request
TROUBLES = MAY_HAVE_BEGUN | {423}  # 4xx answers that say nothing about the task
# Each error of HubSpot has a `message` and at least one of these fields, even without `"status": "error"`.
ENVELOPE_FIELDS = frozenset({"category", "correlationId", "errorType"})
STATUS_LENGTH = 64  # in characters; HubSpot's own statuses are shorter


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """The task has not ended; `status` is HubSpot's word, `body` its answer as JSON text."""

    result: ClassVar = "unfinished"
    status: str
    body: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The task has ended; `status` is HubSpot's word, `body` its answer as JSON text.

    `error` is a sentence; None when the outcome is `completed`. `completed_at` is the instant at which HubSpot says
    the task ended; None when HubSpot's answer has no valid instant.
    """

    result: ClassVar = "ended"
    status: str
    outcome: Outcome
    error: str | None
    body: str
    completed_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Inconclusive:
    """HubSpot answered 2xx, but without a task status, or with a status that the bridge does not know.

    `status` is the unknown status, cut to STATUS_LENGTH characters, and `body` is the answer as JSON text. Both are
    None when the answer has no task status.
    """

    result: ClassVar = "inconclusive"
    reason: str
    status: str | None = None
    body: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """HubSpot itself, not a proxy in front of it, refused this task or import."""

    result: ClassVar = "refused"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountError:
    """HubSpot refused the account's credentials, or banned its app, or no usable credentials exist.

    `scopes` is true when the credentials only lack a scope: HubSpot may still answer for tasks of other kinds.
    """

    result: ClassVar = "account_at_fault"
    reason: str
    scopes: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Throttled:
    """The whole account must pause for `seconds`: HubSpot asks for it, or the token server gave no token."""

    result: ClassVar = "throttled"
    seconds: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Postponed:
    """No access token came in time. This is no sign that the account is at fault; a later request may find a token."""

    result: ClassVar = "postponed"
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TransientError:
    """HubSpot or something on the way to it failed, or the answer was unexpected; a later request may succeed."""

    result: ClassVar = "trouble"
    reason: str


Classification = (
    Unfinished | Ended | Inconclusive | Refused | AccountError | Throttled | Postponed | TransientError
)


def classify(kind: Kind, answer: HttpResponse | NoResponse | NoToken, *, now: datetime) -> Classification:
    """Classify HubSpot's answer to a request: a poll, the start of an import, or the check of an account.

    `kind` says how to read the body of a 2xx answer. Other answers mean the same for every kind.
    """
    if isinstance(answer, NoTokenYet):
        return Postponed(reason=answer.reason)
    if isinstance(answer, NoToken):
        if answer.is_temporary and not answer.earlier_refusals:
            return Throttled(seconds=NO_TOKEN_PAUSE_SECONDS, reason=answer.reason)
        return AccountError(reason=answer.reason)
    if isinstance(answer, NoResponse):
        return TransientError(reason=f"HubSpot did not answer: {answer.reason}")
    if 200 <= answer.status_code < 300:
        return _read_body(kind, answer)
    return _classify_error(answer, now=now)


def classify_start(answer: HttpResponse | NoResponse | NoToken, *, now: datetime) -> Classification:
    """Classify HubSpot's answer to the start of an import.

    Returns what `classify` returns, with one exception: Refused instead of TransientError, if the answer is a 4xx
    from HubSpot itself, not from a proxy. The statuses in TROUBLES (408, 423, 499) stay a TransientError.
    """
    classified = classify(KINDS[DEFAULT_KIND], answer, now=now)
    if isinstance(classified, TransientError) and isinstance(answer, HttpResponse) and _is_refused(answer):
        return Refused(reason=classified.reason)
    return classified


def _is_refused(answer: HttpResponse) -> bool:
    is_theirs = 400 <= answer.status_code < 500 and answer.status_code not in TROUBLES
    return is_theirs and is_error_envelope(parse_json(answer))


def _read_body(kind: Kind, answer: HttpResponse) -> Classification:
    body = parse_json(answer)
    if not isinstance(body, Mapping):
        return Inconclusive(
            reason=_inconclusive(answer, "is not a JSON object" if answer.body else "has no body")
        )
    word, text = body.get(kind.field), text_of(answer)
    if not isinstance(word, str) or not word:
        return Inconclusive(reason=_inconclusive(answer, f"has no `{kind.field}`"))
    if word in kind.running:
        return Unfinished(status=word, body=text)
    if judge := kind.ends.get(word):
        outcome = judge(body)
        error = _error(outcome, word, body)
        return Ended(status=word, outcome=outcome, error=error, body=text, completed_at=_completed_at(body))
    short = clean(word, STATUS_LENGTH)
    return Inconclusive(
        reason=_inconclusive(answer, f"has the unknown {kind.field} {short!r}"), status=short, body=text
    )


def _completed_at(body: Mapping[str, Any]) -> datetime | None:
    try:
        instant = datetime.fromisoformat(body["completedAt"])
    except (KeyError, TypeError, ValueError):
        return None
    return instant if instant.tzinfo else None


def _inconclusive(answer: HttpResponse, what: str) -> str:
    if not answer.complete:
        what = "was cut short"
    return f"HubSpot's {answer.status_code} answer {what}; still watching"


def _error(outcome: Outcome, word: str, body: Mapping[str, Any]) -> str | None:
    match outcome:
        case Outcome.COMPLETED:
            return None
        case Outcome.CANCELED:
            return f"HubSpot ended the task as {word}: it was stopped or undone."
        case Outcome.COMPLETED_WITH_ERRORS:
            return f"HubSpot finished the task with errors{_message(_first_error(body))}."
        case _:
            return f"HubSpot ended the task as {word} without a result{_message(_first_error(body))}."


def _first_error(body: Mapping[str, Any]) -> Mapping[str, Any]:
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    return first if isinstance(first, Mapping) else {}


def _classify_error(answer: HttpResponse, *, now: datetime) -> Classification:
    body = parse_json(answer)
    said = body if isinstance(body, Mapping) else {}
    reason = f"HubSpot answered {answer.status_code}{_message(said)}"
    match answer.status_code:
        case 401:
            return AccountError(reason=f"{reason}. Give the account a valid token.")
        case 403 if _names(said, "MISSING_SCOPES"):
            return AccountError(reason=f"{reason}. Give the token {_scopes(said)}.", scopes=True)
        case 403 if _names(said, "BANNED"):
            return AccountError(reason=f"{reason}. HubSpot has banned the account's app.")
        case 429:
            return Throttled(seconds=_throttled_seconds(answer, said, now=now), reason=reason)
        case 477:
            asked = retry_after_seconds(answer.headers.get("retry-after"), now=now)
            return Throttled(seconds=_bounded(MIGRATING_SECONDS if asked is None else asked), reason=reason)
        case 400 | 403 | 404 if is_error_envelope(body):
            return Refused(reason=reason)
        case 400 | 403 | 404:
            return TransientError(
                reason=f"{reason}, but not in HubSpot's error format: a proxy or firewall may have answered"
            )
        case _:
            return TransientError(reason=reason)


def is_error_envelope(body: object) -> bool:
    """Return whether a parsed JSON body is one in which HubSpot itself, not a proxy, reports an error."""
    if not isinstance(body, Mapping):
        return False
    return body.get("status") == "error" or ("message" in body and not ENVELOPE_FIELDS.isdisjoint(body))


def _throttled_seconds(answer: HttpResponse, said: Mapping[str, Any], *, now: datetime) -> float:
    if said.get("policyName") == "DAILY":
        return DAILY_SECONDS
    asked = retry_after_seconds(answer.headers.get("retry-after"), now=now)
    if asked is not None:
        return _bounded(asked)
    interval = answer.headers.get("x-hubspot-ratelimit-interval-milliseconds", "")
    return (
        _bounded(float(interval) / 1000) if interval.isascii() and interval.isdigit() else THROTTLED_SECONDS
    )


def _bounded(seconds: float) -> float:
    return min(max(seconds, 1.0), LONGEST_PAUSE_SECONDS)


def _names(said: Mapping[str, Any], category: str) -> bool:
    return category in (said.get("category"), said.get("errorType"))


def _scopes(said: Mapping[str, Any]) -> str:
    context = _first_error(said).get("context")
    named = context.get("requiredGranularScopes") if isinstance(context, Mapping) else None
    names = [clean(name, 60) for name in named if isinstance(name, str)] if isinstance(named, list) else []
    return f"one of the scopes {', '.join(names)}" if names else "the missing scopes"


def _message(said: Mapping[str, Any]) -> str:
    message = said.get("message")
    return f": {clean(message, 300).rstrip('.')}" if isinstance(message, str) and message else ""


def clean(text: str, length: int) -> str:
    """Cut a text from HubSpot to `length` characters; put `�` in place of each unprintable character."""
    return "".join(c if c.isprintable() else "�" for c in text[:length])


def text_of(answer: HttpResponse) -> str:
    """Return the body decoded from UTF-8; a byte order mark at its start is dropped (RFC 8259, 8.1).

    Raises UnicodeDecodeError.
    """
    return answer.body.decode("utf-8-sig")


def parse_json(answer: HttpResponse) -> Any:
    """Return the value of a JSON body; None if the body cannot be parsed as strict JSON (RFC 8259).

    None also stands for a body that was cut short, and for the value `null`. Every number becomes a float, because
    Python parses no int of more than 4,300 digits.
    """
    if not answer.complete:
        return None
    try:
        return json.loads(text_of(answer), parse_constant=_not_json, parse_int=float)
    except (ValueError, RecursionError):
        return None


def _not_json(word: str) -> Any:
    raise ValueError(word)
