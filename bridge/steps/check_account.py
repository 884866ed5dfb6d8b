"""Checks by harmless requests whether HubSpot accepts an account's credentials and scopes, and explains the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import assert_never

from bridge.core import classification
from bridge.core.classification import (
    AccountError,
    Classification,
    Ended,
    Inconclusive,
    Refused,
    Throttled,
    TransientError,
    Unfinished,
    parse_json,
)
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.kinds import DEFAULT_KIND, KINDS
from bridge.core.quota import QuotaLeft, quota_left
from bridge.db.accounts import Account
from bridge.db.engine import reading
from bridge.db.watch_filters import kinds_of_account
from bridge.steps.hubspot_calls import HubSpotCalls

# By kind of task, the request that a token with the kind's scope gets a 200 to: its path with `v3`, and with a dated
# version. An answer of 400 or more would add to HubSpot's count of errors. HubSpot has no such request for other kinds.
HARMLESS_PATHS: Mapping[str, tuple[str, str]] = {
    "file-import": ("/files/{v}/files/search?limit=1", "/files/{v}/files/search?limit=1"),
    "crm-import": ("/crm/{v}/imports?limit=1", "/crm/imports/{v}?limit=1"),
}
# For the other kinds: every token has the scope of this request.
ANY_SCOPE_PATHS = ("/account-info/{v}/details", "/account-info/{v}/details")


class Scope(StrEnum):
    """Whether the credentials have the scope that a kind of task needs."""

    GRANTED = "granted"
    MISSING = "missing"
    UNKNOWN = "unknown"  # not asked, or only the kind's tasks show it


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountCheck:
    """The result of a check: `ok` is true when HubSpot accepts the credentials, with the scopes that are needed.

    `summary` explains the result to the operator. `status_code` is None when no answer came. `quota` is None when
    HubSpot reported no quota. `scopes` has each kind of task.
    """

    ok: bool
    summary: str
    status_code: int | None
    quota: QuotaLeft | None
    # How far at least this machine's clock is ahead of HubSpot's (negative: behind); None without a valid header Date.
    clock_ahead_seconds: float | None
    scopes: Mapping[str, Scope]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """HubSpot's answer to a harmless request for a kind of task; `kind` is None when it needs no scope."""

    kind: str | None
    answer: HttpResponse | NoResponse | NoToken
    asked_at: datetime
    answered_at: datetime
    ok: bool
    summary: str
    scope: Scope


def check(hubspot_calls: HubSpotCalls, name: str) -> AccountCheck | None:
    """Send harmless requests with the account's credentials, even during a pause; None when there is no such account.

    One is sent for each kind of the account's watches. An account without watches is asked for one kind after the
    other, until the credentials have the scope of one.

    Without a token no request is sent. A failure does not pause the account, because the credentials of this process
    may differ from the worker's. A success ends a pause: the account's next request is the probe, and its watches with
    a failed last poll become due now.
    """
    with reading(hubspot_calls.engine) as connection:
        used = kinds_of_account(connection, name)
    kinds: Sequence[str | None] = [kind for kind in HARMLESS_PATHS if kind in used or not used] or [None]
    answers: list[_Answer] = []
    for kind in kinds:
        account = hubspot_calls.acquire_at_once(name)
        if account is None:
            return None
        latest = _ask(hubspot_calls, account, kind, hubspot_calls.hubspot.ask_seconds / len(kinds))
        answers.append(latest)
        is_enough = latest.ok and not used
        concerns_all_kinds = not latest.ok and latest.scope is not Scope.MISSING
        if is_enough or concerns_all_kinds:
            break
    return _result(answers, used)


def _ask(hubspot_calls: HubSpotCalls, account: Account, kind: str | None, within_seconds: float) -> _Answer:
    v3, dated = HARMLESS_PATHS[kind] if kind else ANY_SCOPE_PATHS
    path = (v3 if account.api_version == "v3" else dated).format(v=account.api_version)
    asked_at = hubspot_calls.clock()
    answer = hubspot_calls.hubspot.request(account, "GET", path, within_seconds=within_seconds)
    answered_at = hubspot_calls.clock()
    classified = classification.classify(KINDS[kind or DEFAULT_KIND], answer, now=answered_at)
    ok, summary = _ok_and_summary(account, kind, answer, classified)
    hubspot_calls.record_call(account, answer, None, asked_at=asked_at, retry=ok)
    return _Answer(
        kind=kind,
        answer=answer,
        asked_at=asked_at,
        answered_at=answered_at,
        ok=ok,
        summary=summary,
        scope=_scope(answer, classified, ok=ok),
    )


def _scope(answer: HttpResponse | NoResponse | NoToken, classified: Classification, *, ok: bool) -> Scope:
    if isinstance(classified, AccountError) and classified.scopes:
        return Scope.MISSING
    is_granted = ok and isinstance(answer, HttpResponse) and 200 <= answer.status_code < 300
    return Scope.GRANTED if is_granted else Scope.UNKNOWN


def _result(answers: Sequence[_Answer], used: frozenset[str]) -> AccountCheck:
    """Return the result: every kind of the account's watches must work; without watches, one kind."""
    failed = [each for each in answers if not each.ok]
    ok = not failed or (not used and answers[-1].ok)
    told = answers[-1] if ok else failed[0]
    scopes = dict.fromkeys(KINDS, Scope.UNKNOWN) | {a.kind: a.scope for a in answers if a.kind}
    sentences = [told.summary] if ok else [each.summary for each in failed]
    if ok and failed:
        sentences.append(f"The scope for {', '.join(str(each.kind) for each in failed)} is missing.")
    if ok and (unknown := sorted(kind for kind in used if scopes.get(kind) is Scope.UNKNOWN)):
        sentences.append(f"Whether the scope for {', '.join(unknown)} is there, only such tasks show.")
    answer = told.answer
    left = quota_left(answer.headers) if isinstance(answer, HttpResponse) else QuotaLeft()
    return AccountCheck(
        ok=ok,
        summary=" ".join(sentences),
        status_code=answer.status_code if isinstance(answer, HttpResponse) else None,
        quota=None if left == QuotaLeft() else left,
        clock_ahead_seconds=_clock_ahead_seconds(told),
        scopes=scopes,
    )


def _unanswered_summary(account: Account, answer: NoResponse | NoToken) -> str:
    if isinstance(answer, NoToken):
        return answer.reason
    return f"HubSpot did not answer at {account.base_url}: {answer.reason}."


def _ok_and_summary(
    account: Account,
    kind: str | None,
    answer: HttpResponse | NoResponse | NoToken,
    classified: Classification,
) -> tuple[bool, str]:
    if not isinstance(answer, HttpResponse):
        return False, _unanswered_summary(account, answer)
    if answer.status_code < 500 and not _is_json(answer):
        return False, (
            f"{account.base_url} answered {answer.status_code}, and not in JSON: that is not HubSpot's API, "
            "or something on the way answers in its place. Check the base URL and the proxy."
        )
    match classified:
        case Refused(reason=reason) if answer.status_code == 403:
            return False, f"{reason}."
        case Unfinished() | Ended() | Inconclusive() | Refused():
            return True, f"HubSpot takes the credentials.{_quota_sentence(quota_left(answer.headers))}"
        case Throttled(seconds=seconds, reason=reason):
            return False, f"{reason}. HubSpot wants no request for {seconds:.0f} s."
        case AccountError(reason=reason, scopes=True) if kind:
            return False, f"{reason.rstrip('.')} for tasks of the kind {kind}."
        case AccountError(reason=reason):
            return False, reason
        case TransientError(reason=reason):
            return False, f"{reason}. HubSpot is out of order, or the way to it."
        case never:
            assert_never(never)


def _clock_ahead_seconds(told: _Answer) -> float | None:
    """Return how far at least this machine's clock is ahead of the header Date (negative: behind).

    Returns None without a valid Date, and 0 when the Date, which is in whole seconds, lies between the request and
    the answer.
    """
    if not isinstance(told.answer, HttpResponse):
        return None
    try:
        date = parsedate_to_datetime(told.answer.headers.get("date", ""))
        early, late = (told.asked_at - date).total_seconds() - 1, (told.answered_at - date).total_seconds()
    except (ValueError, TypeError, OverflowError):  # no date, or one without a time zone
        return None
    return round(max(early, 0.0) or min(late, 0.0), 1)


def _is_json(answer: HttpResponse) -> bool:
    return "json" in answer.headers.get("content-type", "") or isinstance(parse_json(answer), Mapping)


def _quota_sentence(left: QuotaLeft) -> str:
    spans = (left.burst_remaining, left.burst, "now"), (left.daily_remaining, left.daily, "today")
    known = [(rest, most, span) for rest, most, span in spans if rest is not None and most is not None]
    return "".join(f" {rest:,} of {most:,} requests are left {span}." for rest, most, span in known)
