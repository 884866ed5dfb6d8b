"""`GET /v1/summary`, for dashboards: counts of watches by state, what is late, and the accounts."""

from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from bridge.core.instants import rfc3339_or_none
from bridge.core.watch import Outcome, State
from bridge.db import watch_counts
from bridge.db.counters import Percentiles
from bridge.db.engine import reading
from bridge.web.operations import ApiCall, Reply, Resource, ResponseSpec, reply
from bridge.web.response_models import Absent, Output, examples
from bridge.web.statistics import AccountStatistics, account_statistics, detection_delays_today, late_seconds

resource = Resource("Operation")


DUE_EXAMPLE: dict[str, Any] = {"poll": 0.2, "deliver": 1.4}
DELAY_EXAMPLE: dict[str, Any] = {"p50": 1.9, "p95": 4.8}
ACCOUNT_EXAMPLE: dict[str, Any] = {
    "name": "default",
    "paused_until": None,
    "paused_reason": None,
    "requests_per_second": 9.5,
    "errors_today": 3,
    "requests_today": 1840,
    "errors_share_today": 0.0016,
    "detection_delay_seconds": DELAY_EXAMPLE,
}
PAUSED_EXAMPLE = ACCOUNT_EXAMPLE | {
    "paused_until": "2026-11-05T13:15:00.000000Z",
    "paused_reason": "HubSpot answered 401",
}


class OldestDueSchema(Output):
    """How late the longest-waiting due poll and callback are, in seconds; null when none is due.

    Polls and callbacks that wait for a paused account or host do not count.
    """

    model_config = examples(DUE_EXAMPLE)

    poll: float | None = Field(
        description="By how many seconds the poll that has waited longest is late; null when none is due.",
        ge=0,
    )
    deliver: float | None = Field(
        description="By how many seconds the callback that has waited longest is late; null when none is due.",
        ge=0,
    )


class DetectionDelaySchema(Output):
    """Today's percentiles of the time, in seconds, from a task's end until the bridge noticed the end.

    `p50` and `p95` are null if nothing was measured today (UTC).
    """

    model_config = examples(DELAY_EXAMPLE)

    p50: float | None = Field(
        description="The median: half of the delays were at most this many seconds; null if nothing was measured.",
        ge=0,
    )
    p95: float | None = Field(
        description="The 95th percentile: 95 % of the delays were at most this many seconds; null if nothing was measured.",
        ge=0,
    )


class AccountSummarySchema(Output):
    """An account's current limits, and its requests and errors today."""

    model_config = examples(ACCOUNT_EXAMPLE, PAUSED_EXAMPLE)

    name: str = Field(description="The account's name.")
    paused_until: datetime | None = Field(
        description="When the bridge asks HubSpot again; null when the account is not paused."
    )
    paused_reason: str | None = Field(description="Why the account is paused; null when it is not paused.")
    requests_per_second: float = Field(
        description="How many requests a second the quota alone allows now; a pause of the account does not change this number.",
        ge=0,
    )
    errors_today: int = Field(
        description="How many requests since midnight UTC were not answered with 2xx; HubSpot wants fewer than 5 % of a day's requests to fail.",
        ge=0,
    )
    requests_today: int = Field(description="How many requests the bridge has sent since midnight UTC.", ge=0)
    errors_share_today: float = Field(
        description="`errors_today` as a share of `requests_today`.", ge=0, le=1
    )
    detection_delay_seconds: DetectionDelaySchema = Field(
        description="Today's (UTC) percentiles of the time from a task's end until the bridge noticed the end."
    )


class SummarySchema(Output):
    """Counts of watches, and what is late."""

    model_config = examples(
        {
            "states": {state.value: 3 for state in State},
            "outcomes": {outcome.value: 2 for outcome in Outcome},
            "oldest_due_seconds": DUE_EXAMPLE,
            "accounts": [ACCOUNT_EXAMPLE],
        }
    )

    states: dict[str, int] = Field(description="How many watches are in each state.")
    outcomes: dict[str, int] = Field(description="How many tasks ended in each way.")
    oldest_due_seconds: OldestDueSchema = Field(
        description="How many seconds late the oldest due poll and the oldest due callback are."
    )
    accounts: list[AccountSummarySchema] | Absent = Field(
        default=None, description="The accounts; absent unless the API key is an admin's."
    )


@resource.operation(
    "GET /v1/summary", responses={200: ResponseSpec(description="The summary.", model=SummarySchema)}
)
def show_summary(call: ApiCall) -> Reply:
    """Count watches by state and outcome, and show what is late.

    An admin gets the counts of all clients, and the accounts; a client gets its own counts, and no accounts. Watches
    that wait for a paused account or host do not count as late.
    """
    with reading(call.dependencies.engine) as connection:
        members = _counts(connection, None if call.caller.admin else call.caller.name, call.now)
        if call.caller.admin:
            delays = detection_delays_today(connection, call.now)
            every = account_statistics(connection, call.dependencies.accounts, call.now)
            members["accounts"] = [_account(each, delays.get(each.status.account.name)) for each in every]
    return reply(members)


def _counts(connection: Connection, client: str | None, now: datetime) -> dict[str, Any]:
    states, outcomes = watch_counts.counts(connection, client)
    late = late_seconds(connection, client, now)
    return {
        "states": {state: states[state] for state in State},
        "outcomes": {outcome: outcomes[outcome] for outcome in Outcome},
        "oldest_due_seconds": {step: _rounded(seconds) for step, seconds in late.items()},
    }


def _account(figures: AccountStatistics, delay: Percentiles | None) -> dict[str, Any]:
    status = figures.status
    return {
        "name": status.account.name,
        "paused_until": rfc3339_or_none(status.breaker.paused_until),
        "paused_reason": status.breaker.reason,
        "requests_per_second": _rounded(figures.requests_per_second),
        "errors_today": figures.errors,
        "requests_today": figures.requests,
        "errors_share_today": round(figures.errors_share, 4),
        "detection_delay_seconds": {
            "p50": _rounded(delay.p50 if delay else None),
            "p95": _rounded(delay.p95 if delay else None),
        },
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
