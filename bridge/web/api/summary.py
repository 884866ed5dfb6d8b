"""What a dashboard asks: how many watches are where, and how the accounts are."""

from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from bridge.core.instants import rfc3339
from bridge.core.watch import Outcome, State
from bridge.db import watch_lists
from bridge.db.engine import reading
from bridge.web.operations import Answered, Call, Reply, Resource, reply
from bridge.web.responses import Shown
from bridge.web.statistics import AccountFigures, late_seconds, of_accounts

resource = Resource("Operation")


class ShownDue(Shown):
    """For how many seconds the oldest step that could go has been due; null when none is."""

    poll: float | None
    deliver: float | None


class ShownDelay(Shown):
    """How long tasks had been over when the bridge noticed, today; null when none has ended."""

    p50: float | None = Field(description="Half were noticed within so many seconds.")
    p95: float | None = Field(description="95 % were.")


class ShownAccountState(Shown):
    """How an account is doing."""

    name: str
    paused_until: datetime | None
    paused_reason: str | None
    requests_per_second: float = Field(description="What the bridge may use now.")
    errors_today: int = Field(
        description="Since midnight UTC; HubSpot asks for less than 5 % of the requests."
    )
    requests_today: int
    errors_share_today: float = Field(description="0 to 1.")
    detection_delay_seconds: ShownDelay


class ShownSummary(Shown):
    """How many watches are where."""

    states: dict[State, int]
    outcomes: dict[Outcome, int]
    oldest_due_seconds: ShownDue
    accounts: list[ShownAccountState] = Field(default=[], description="For admins alone.")


@resource.operation("GET /v1/summary", answers={200: Answered(what="The summary.", model=ShownSummary)})
def show_summary(call: Call) -> Reply:
    """Count watches by state and outcome, and tell what is late.

    An admin's counts are of all clients, a client's are its own, and it sees no accounts. What waits for a
    paused account or host is not counted as late.
    """
    with reading(call.parts.engine) as connection:
        members = _counts(connection, None if call.caller.admin else call.caller.name, call.now)
        if call.caller.admin:
            every = of_accounts(connection, call.parts.accounts, call.now)
            members["accounts"] = [_account(figures) for figures in every]
    return reply(members)


def _counts(connection: Connection, client: str | None, now: datetime) -> dict[str, Any]:
    states, outcomes = watch_lists.counts(connection, client)
    late = late_seconds(connection, client, now)
    return {
        "states": {state: states[state] for state in State},
        "outcomes": {outcome: outcomes[outcome] for outcome in Outcome},
        "oldest_due_seconds": {step: _rounded(seconds) for step, seconds in late.items()},
    }


def _account(figures: AccountFigures) -> dict[str, Any]:
    until = figures.breaker.paused_until
    return {
        "name": figures.name,
        "paused_until": rfc3339(until) if until else None,
        "paused_reason": figures.breaker.reason,
        "requests_per_second": _rounded(figures.requests_per_second),
        "errors_today": figures.errors,
        "requests_today": figures.requests,
        "errors_share_today": round(figures.errors_share, 4),
        "detection_delay_seconds": {
            "p50": _rounded(figures.delay_seconds(0.5)),
            "p95": _rounded(figures.delay_seconds(0.95)),
        },
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
