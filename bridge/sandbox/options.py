"""The sandbox's options."""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

MOST_SECONDS = 366 * 86_400  # more than a test needs; threads and dates have limits, too
Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]
Requests = Annotated[int, Field(ge=1, le=1_000_000_000)]


class PendingBody(StrEnum):
    """Which status body a PENDING task has; an option, because HubSpot does not document it.

    DATES_NULL also affects a PROCESSING task. The option has no effect on CRM imports.
    """

    DATES_MISSING = "dates-missing"  # neither startedAt nor completedAt is in the body
    DATES_NULL = "dates-null"  # both are null; while PROCESSING, only completedAt is null
    NULL = "null"  # the whole body is `null`


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class SandboxOptions:
    """The sandbox's settings; a wrong value raises `pydantic.ValidationError`.

    Each token in `tokens` and in `refresh_tokens` belongs to an account of its own. The access tokens in `tokens`
    never expire. A refresh gives an access token that is valid for `access_token_seconds`. With
    `rotate_refresh_token`, each refresh also replaces the refresh token. An account may send at most `burst_requests`
    requests in any span of `burst_seconds`, and at most `daily_requests` on a day in UTC. By default, a task is
    PENDING for `pending_seconds`, and then PROCESSING for `processing_seconds`. `clock` returns epoch seconds.
    """

    tokens: tuple[str, ...] = ("sandbox-token",)
    client_id: str = "sandbox-client"
    client_secret: str = "sandbox-secret"  # noqa: S105  # a secret of the sandbox only
    refresh_tokens: tuple[str, ...] = ("sandbox-refresh",)
    # HubSpot's access tokens live for half an hour.
    access_token_seconds: Annotated[int, Field(ge=1, le=MOST_SECONDS)] = 1800
    rotate_refresh_token: bool = False
    pending_seconds: Seconds = 1.0
    processing_seconds: Seconds = 2.0
    pending_body: PendingBody = PendingBody.DATES_MISSING
    # Burst limit of a service key or private app of a free or starter account.
    burst_requests: Requests = 100
    # At least a millisecond, the unit in which a header tells it.
    burst_seconds: Annotated[Seconds, Field(ge=0.001)] = 10.0
    # Daily limit of an enterprise account, four times that of a starter account. A client may spread what is left of the
    # day's quota over the time until midnight (UTC). With a starter account's limit, such a client would be slow in the
    # morning, because the time until midnight is long.
    daily_requests: Requests = 1_000_000
    clock: Callable[[], float] = time.time
