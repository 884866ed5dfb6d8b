"""`POST /v1/accounts/{name}/check` asks HubSpot whether it accepts an account's credentials. For admins only."""

from dataclasses import asdict
from typing import Any

from pydantic import Field

from bridge.steps.check_account import check
from bridge.web.operations import Access, ApiCall, Reply, Resource, ResponseSpec, reply
from bridge.web.problems import Problem, not_found
from bridge.web.response_models import Output, examples
from bridge.web.thread_limits import CHECKS

resource = Resource("Accounts")


QUOTA_EXAMPLE: dict[str, Any] = {
    "burst": 190,
    "burst_remaining": 187,
    "daily": 650000,
    "daily_remaining": 641208,
}


class QuotaLeftSchema(Output):
    """An account's limits at HubSpot, and how many requests are left; null where HubSpot says nothing."""

    model_config = examples(QUOTA_EXAMPLE)

    burst: int | None = Field(
        description="HubSpot's burst limit: how many requests HubSpot allows in a short window, usually 10 seconds.",
        ge=0,
    )
    burst_remaining: int | None = Field(
        description="How many requests of the burst limit are left now.", ge=0
    )
    daily: int | None = Field(
        description="HubSpot's limit of requests a day; null for OAuth apps, because HubSpot does not report it to them.",
        ge=0,
    )
    daily_remaining: int | None = Field(
        description="How many requests of the day's limit are left today.", ge=0
    )


class AccountCheckSchema(Output):
    """Whether HubSpot accepts an account's credentials."""

    model_config = examples(
        {
            "ok": True,
            "summary": "HubSpot takes the credentials.",
            "status_code": 200,
            "quota": QUOTA_EXAMPLE,
            "clock_ahead_seconds": 0.4,
        }
    )

    ok: bool = Field(description="Whether HubSpot accepts the credentials.")
    summary: str = Field(description="What HubSpot answered, and what to do about it, in words.")
    status_code: int | None = Field(
        description="The status of HubSpot's answer; null when HubSpot was not asked, or did not answer.",
        ge=100,
        le=999,
    )
    quota: QuotaLeftSchema | None = Field(
        description="What HubSpot says about the account's quota; null when HubSpot says nothing about it."
    )
    clock_ahead_seconds: float | None = Field(
        description="By how many seconds, at least, the bridge's clock differs from HubSpot's. 5 means at least 5 s ahead of HubSpot's clock; -5 means at least 5 s behind it; 0 means that the clocks may agree. Null when HubSpot did not tell the time."
    )


@resource.operation(
    "POST /v1/accounts/{name}/check",
    access=Access.ADMIN,
    responses={
        200: ResponseSpec(
            description="The result of the check, whether or not HubSpot accepts the credentials.",
            model=AccountCheckSchema,
        )
    },
    problems=(429,),
)
def check_account(call: ApiCall, name: str) -> Reply | Problem:
    """Ask HubSpot whether it accepts an account's credentials.

    This sends one read-only request, even while the account is paused; the request counts towards the account's quota.
    A failure does not pause the account. After a success, the account's watches whose last poll failed are due now.
    If the account is paused, a success also makes a trial request due now; the pause ends when the trial succeeds.
    While another check is being carried out, the answer is a 429.
    """
    if not CHECKS.enter():
        return CHECKS.problem()
    try:
        found = check(call.dependencies.hubspot_calls, name)
    finally:
        CHECKS.leave()
    return reply(asdict(found)) if found else not_found("account")
