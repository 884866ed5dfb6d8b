"""What the bridge shows, as the OpenAPI document tells it: nothing is validated on the way out."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bridge.core.watch import Outcome, State


def response_name(name: str) -> str:
    """Return a model's name as clients see it: our own has a prefix, to keep it apart from the core's."""
    return name.removeprefix("Shown")


class Shown(BaseModel):
    """An answer, or a part of one. It holds no other fields than these."""

    model_config = ConfigDict(
        extra="forbid", model_title_generator=lambda model: response_name(model.__name__)
    )


class ShownFault(Shown):
    """What is wrong with one field."""

    pointer: str = Field(description="A JSON pointer into the body, or a slash and a parameter's name.")
    detail: str


class ShownProblem(Shown):
    """Why a request was not carried out (RFC 9457)."""

    type: str = Field(description="A page that tells what this status means.")
    title: str
    status: int
    detail: str
    request_id: str | None = Field(
        default=None, description="The answer's `X-Request-Id`; not in the problems of a batch."
    )
    errors: list[ShownFault] = Field(default=[], description="With 422 and some 409: every field at fault.")
    hubspot_status_code: int | None = Field(default=None, description="With 502: HubSpot's.")
    hubspot: Any = Field(default=None, description="With 502: HubSpot's body; text when it is not JSON.")
    task_id: str | None = Field(
        default=None, description="With 503, when HubSpot has started a task that could not be registered."
    )


EXAMPLE: dict[str, Any] = {
    "id": "wat_01hf3k9c2e7v8x4m6q0r5t1w3y8",
    "task_id": "AAAAEZ6whGI",
    "kind": "file-import",
    "account": "default",
    "client": "cms",
    "callback_url": "https://app.example.com/hooks/hubspot",
    "metadata": {"order": 17},
    "state": "watching",
    "outcome": None,
    "created_at": "2026-11-05T13:00:00.000000Z",
    "deadline_at": "2026-11-06T13:00:00.000000Z",
    "due_at": "2026-11-05T13:00:09.400000Z",
    "ended_at": None,
    "settled_at": None,
    "polls": 3,
    "last_polled_at": "2026-11-05T13:00:06.200000Z",
    "status": "PROCESSING",
    "last_error": None,
    "attempts": 0,
    "last_attempt_at": None,
    "last_status_code": None,
    "hubspot": {"status": "PROCESSING"},
}


class ShownWatch(Shown):
    """One task followed for one callback URL, on behalf of one client."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: str = Field(pattern=r"^[A-Za-z0-9_]{8,64}$")
    task_id: str = Field(description="HubSpot's id of the task.")
    kind: str = Field(description="Which HubSpot endpoint answers for the task.")
    account: str = Field(description="The HubSpot account.")
    client: str = Field(description="Who registered it.")
    callback_url: str
    metadata: dict[str, Any] = Field(description="As the client gave it, numbers to the digit.")
    state: State = Field(description="What the bridge is doing about it.")
    outcome: Outcome | None = Field(description="How the task ended.")
    created_at: datetime
    deadline_at: datetime = Field(description="When it ends as `timed_out`.")
    due_at: datetime | None = Field(description="Its next poll or attempt; null when nothing is left to do.")
    ended_at: datetime | None = Field(description="When the bridge saw the task end.")
    settled_at: datetime | None = Field(description="When nothing was left to do.")
    polls: int = Field(description="How often HubSpot was asked.")
    last_polled_at: datetime | None
    status: str | None = Field(description="HubSpot's last word.")
    last_error: str | None = Field(description="The newest trouble with HubSpot or the receiver.")
    attempts: int = Field(description="How often the callback was sent.")
    last_attempt_at: datetime | None
    last_status_code: int | None = Field(description="What the receiver answered last.")
    hubspot: Any = Field(description="HubSpot's last answer that carried a status, verbatim.")
