"""Checks by a harmless request whether HubSpot accepts an account's credentials, and explains the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import assert_never

from bridge.core import classification
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
    parse_json,
)
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.kinds import DEFAULT_KIND, KINDS, Kind
from bridge.core.quota import QuotaLeft, quota_left
from bridge.db import oauth_tokens
from bridge.db.accounts import Account
from bridge.db.engine import reading
from bridge.db.watches import kinds_of_account
from bridge.steps.hubspot_calls import HubSpotCalls


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountCheck:
    """The result of a check: `ok` is true when HubSpot's answer shows that HubSpot accepts the credentials.

    `status_code` is None when no answer came; `quota` is None when HubSpot reported no quota.
    """

    ok: bool
    summary: str
    status_code: int | None
    quota: QuotaLeft | None
    # By how many seconds, at least, this machine's clock differs from HubSpot's: positive when it is ahead, negative
    # when it is behind, 0 when the clocks may agree. None without a valid header Date.
    clock_ahead_seconds: float | None


def check(hubspot_calls: HubSpotCalls, name: str) -> AccountCheck | None:
    """Check an account by a request to HubSpot, even during a pause; None if there is no such account.

    A success shows that HubSpot accepts the token. The check tests the scope for one kind of task at most; the token
    may lack the scopes for other kinds. A success makes two things due now: the account's unclaimed watches whose
    last poll failed and, in a pause, the account's trial request. A failure does not pause the account. With OAuth, the
    access token is refreshed if needed, even if the last refresh has just failed.
    """
    account = hubspot_calls.acquire_at_once(name)
    if account is None:
        return None
    # In a transaction of its own, which locks nothing else: others lock these rows in another order.
    with hubspot_calls.engine.begin() as connection:
        oauth_tokens.forget_failure(connection, name)
    with reading(hubspot_calls.engine) as connection:
        used = kinds_of_account(connection, name)
    kinds = [kind for kind in KINDS.values() if kind.name in used] or [KINDS[DEFAULT_KIND]]
    kind = next((kind for kind in kinds if kind.scope_check), kinds[0])
    asked_at = hubspot_calls.clock()
    answer = hubspot_calls.hubspot.request(account, "GET", kind.check_path(account.api_version))
    answered_at = hubspot_calls.clock()
    classified = classification.classify(kind, answer, now=answered_at)
    ok, summary = _ok_and_summary(account, kind, answer, classified)
    # No signal: a failure must not pause the account, because the worker may have other credentials.
    hubspot_calls.record_call(account, answer, None, asked_at=asked_at, retry=ok)
    if not isinstance(answer, HttpResponse):
        return AccountCheck(ok=ok, summary=summary, status_code=None, quota=None, clock_ahead_seconds=None)
    left = quota_left(answer.headers)
    quota = None if left == QuotaLeft() else left
    return AccountCheck(
        ok=ok,
        summary=summary,
        status_code=answer.status_code,
        quota=quota,
        clock_ahead_seconds=_clock_ahead_seconds(answer, asked_at, answered_at),
    )


def _unanswered_summary(account: Account, answer: NoResponse | NoToken) -> str:
    if isinstance(answer, NoToken):
        return answer.reason
    return f"HubSpot did not answer at {account.base_url}: {answer.reason}."


def _ok_and_summary(
    account: Account,
    kind: Kind,
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
            unknown = " Whether they have the scopes for the account's tasks, only the tasks themselves show."
            scope = "" if kind.scope_check else unknown
            return True, f"HubSpot takes the credentials.{scope}{_quota_sentence(quota_left(answer.headers))}"
        case Throttled(seconds=seconds, reason=reason):
            return False, f"{reason}. HubSpot wants no request for {seconds:.0f} s."
        case AccountError(reason=reason, scopes=True) if kind.scope_check:
            return False, f"{reason.rstrip('.')} for tasks of the kind {kind.name}."
        case AccountError(reason=reason) | Postponed(reason=reason):
            return False, reason
        case TransientError(reason=reason):
            return False, f"{reason}. HubSpot is out of order, or the way to it."
        case never:
            assert_never(never)


def _clock_ahead_seconds(answer: HttpResponse, asked_at: datetime, answered_at: datetime) -> float | None:
    """Return by how many seconds, at least, this machine's clock differs from HubSpot's.

    A positive result means that this machine's clock is ahead; a negative result means that it is behind. 0 means that
    the clocks may agree. None means that the header Date is missing or not valid.

    The exact difference is not known: the header Date has whole seconds, and HubSpot sets the header at an unknown time
    between `asked_at` and `answered_at` (both by this machine's clock).
    """
    try:
        date = parsedate_to_datetime(answer.headers.get("date", ""))
        early, late = (asked_at - date).total_seconds() - 1, (answered_at - date).total_seconds()
    except (ValueError, TypeError, OverflowError):  # no date, or one without a time zone
        return None
    # The Date is in whole seconds: when it lies between the request and the answer, the result is 0.
    return round(max(early, 0.0) or min(late, 0.0), 1)


def _is_json(answer: HttpResponse) -> bool:
    return "json" in answer.headers.get("content-type", "") or isinstance(parse_json(answer), Mapping)


def _quota_sentence(left: QuotaLeft) -> str:
    spans = (left.burst_remaining, left.burst, "now"), (left.daily_remaining, left.daily, "today")
    known = [(rest, most, span) for rest, most, span in spans if rest is not None and most is not None]
    return "".join(f" {rest:,} of {most:,} requests are left {span}." for rest, most, span in known)
