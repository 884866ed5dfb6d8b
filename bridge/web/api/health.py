"""`/healthz` shows whether the process is alive, `/readyz` whether watches are being processed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from bridge.core.instants import rfc3339
from bridge.db import heartbeats, migrations, readiness
from bridge.db.engine import UNAVAILABLE, describe_outage, reading
from bridge.web.operations import Access, ApiCall, Reply, Resource, ResponseSpec, reply
from bridge.web.response_models import Output, examples

resource = Resource("Operation")


class HealthSchema(Output):
    """The process is alive."""

    model_config = examples({"status": "ok"})

    status: str = Field(description="Always `ok`.")


PAUSE_EXAMPLE: dict[str, Any] = {
    "name": "default",
    "until": "2026-11-05T13:15:00.000000Z",
    "reason": "HubSpot answered 401",
}


class PausedAccountSchema(Output):
    """A paused account."""

    model_config = examples(PAUSE_EXAMPLE)

    name: str = Field(description="The account's name.")
    until: datetime = Field(description="When the bridge asks HubSpot again.")
    reason: str | None = Field(description="Why the account is paused.")


class ReadinessSchema(Output):
    """Whether watches are being processed."""

    model_config = examples({"status": "ready", "problems": [], "paused_accounts": [PAUSE_EXAMPLE]})

    status: str = Field(description="`ready` or `not ready`.")
    problems: list[str] = Field(description="What is wrong, in sentences.")
    paused_accounts: list[PausedAccountSchema] = Field(
        description="The paused accounts. The bridge may be `ready` while accounts are paused."
    )


@resource.operation(
    "GET /healthz",
    access=Access.OPEN,
    responses={200: ResponseSpec(description="The process lives.", model=HealthSchema)},
)
def show_health(_: ApiCall) -> Reply:
    """Show that the process is alive."""
    return reply({"status": "ok"})


@resource.operation(
    "GET /readyz",
    access=Access.OPEN,
    responses={
        200: ResponseSpec(
            description="The bridge is ready: its database answers, and work is moving.",
            model=ReadinessSchema,
        ),
        503: ResponseSpec(description="The bridge is not ready; `problems` says why.", model=ReadinessSchema),
    },
)
def show_readiness(call: ApiCall) -> Reply:
    """Show whether watches are being processed.

    The answer is 200 when the database answers and is migrated, a worker was alive in the last 60 s, and no poll or
    callback is overdue by more than 300 s; else the answer is 503. A poll or callback that waits for a paused account
    or host, for the account's quota, or for a slow receiver does not count as overdue.
    """
    try:
        with reading(call.dependencies.engine) as connection:
            if not migrations.is_migrated(connection):
                return _readiness(["The database is not migrated: run `python -m bridge migrate`."], [])
            return _readiness(_problems(connection, call.now), _paused(connection, call.now))
    except UNAVAILABLE as error:
        return _readiness([describe_outage(error) or "The database does not answer."], [])


def _readiness(problems: list[str], paused: list[dict[str, Any]]) -> Reply:
    status = "not ready" if problems else "ready"
    members = {"status": status, "problems": problems, "paused_accounts": paused}
    return reply(members, status=503 if problems else 200)


def _problems(connection: Connection, now: datetime) -> list[str]:
    accounts = readiness.overdue_accounts(connection, now)
    hosts = readiness.overdue_hosts(connection, now)
    problems = []
    if not heartbeats.count_alive(connection, now):
        problems.append("No worker was alive within the last 60 s.")
    if accounts:
        problems.append(_overdue("Polls", "accounts", accounts))
    if hosts:
        problems.append(_overdue("Callbacks", "hosts", hosts))
    return problems


def _overdue(steps: str, lanes: str, due: Mapping[str, datetime]) -> str:
    # Hosts are not named: this route needs no key, and hosts are private to the clients.
    return f"{steps} are overdue, the oldest since {rfc3339(min(due.values()))} ({lanes}: {len(due)})."


def _paused(connection: Connection, now: datetime) -> list[dict[str, Any]]:
    return [
        {"name": name, "until": rfc3339(breaker.paused_until), "reason": breaker.reason}
        for name, breaker in sorted(readiness.paused_accounts(connection, now).items())
        if breaker.paused_until
    ]
