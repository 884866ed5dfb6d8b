"""What a dashboard asks: how many watches are where, and how the accounts are."""

from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from bridge.core.admission import AccountGate
from bridge.core.instants import rfc3339
from bridge.core.quota import interval_seconds
from bridge.core.watch import Outcome, State
from bridge.edges.accounts import Account
from bridge.edges.database import reading
from bridge.edges.store import days, gates, listing
from bridge.web.operations import Answered, Call, Reply, Resource, reply
from bridge.web.shown import Shown

resource = Resource("Operation")


class ShownDue(Shown):
    """For how many seconds the oldest step that could go has been due; null when none is."""

    poll: float | None
    deliver: float | None


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
            members["accounts"] = _accounts(connection, call)
    return reply(members)


def _counts(connection: Connection, client: str | None, now: datetime) -> dict[str, Any]:
    states, outcomes = listing.counts(connection, client)
    late = {
        step: _late_seconds(listing.oldest_due_at(connection, state, client, now), now)
        for step, state in (("poll", State.WATCHING), ("deliver", State.DELIVERING))
    }
    return {
        "states": {state: states[state] for state in State},
        "outcomes": {outcome: outcomes[outcome] for outcome in Outcome},
        "oldest_due_seconds": late,
    }


def _late_seconds(due_at: datetime | None, now: datetime) -> float | None:
    return round((now - due_at).total_seconds(), 3) if due_at else None


def _accounts(connection: Connection, call: Call) -> list[dict[str, Any]]:
    held = gates.every_account(connection)
    made = days.counts(connection, call.now.date())
    return [
        _account(account, held.get(name, AccountGate()), made.get(name, (0, 0)), call.now)
        for name, account in call.parts.accounts.every(connection).items()
    ]


def _account(account: Account, held: AccountGate, made: tuple[int, int], now: datetime) -> dict[str, Any]:
    until = held.gate.paused_until
    requests, errors = made
    return {
        "name": account.name,
        "paused_until": rfc3339(until) if until else None,
        "paused_reason": held.gate.reason,
        "requests_per_second": round(1 / interval_seconds(account.rate, held.usage, now=now), 3),
        "errors_today": errors,
        "requests_today": requests,
    }
