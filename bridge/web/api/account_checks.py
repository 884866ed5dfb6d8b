"""Asking HubSpot whether it takes an account's credentials: for admins alone."""

from dataclasses import asdict

from pydantic import Field

from bridge.steps.check_account import check
from bridge.web.operations import Access, Answered, Call, Reply, Resource, reply
from bridge.web.problems import Problem, not_found
from bridge.web.responses import Shown

resource = Resource("Accounts")


class ShownQuotaLeft(Shown):
    """What HubSpot says is left of the account's requests; null where it says nothing."""

    burst: int | None = Field(description="HubSpot's burst limit.")
    burst_remaining: int | None
    daily: int | None = Field(description="The day's limit; OAuth apps are not told.")
    daily_remaining: int | None


class ShownAccountCheck(Shown):
    """Whether HubSpot takes an account's credentials."""

    ok: bool
    summary: str = Field(description="What HubSpot answered, and what to do about it, in words.")
    status_code: int | None = Field(description="Null when HubSpot was not asked, or did not answer.")
    quota: ShownQuotaLeft | None
    clock_ahead_seconds: float | None = Field(
        description="How far the bridge's clock is ahead of HubSpot's; null when HubSpot did not tell the time."
    )


@resource.operation(
    "POST /v1/accounts/{name}/check",
    access=Access.ADMIN,
    answers={200: Answered(what="What HubSpot said, good or bad.", model=ShownAccountCheck)},
    problems=(404,),
)
def check_account(call: Call, name: str) -> Reply | Problem:
    """Ask HubSpot whether it takes an account's credentials.

    It is one harmless request, and counts in the quota. It is made even while the account is paused, and pauses
    nothing itself; after a success the next poll is tried at once.
    """
    found = check(call.parts.hubspot_calls, name)
    return reply(asdict(found)) if found else not_found("account")
