"""Response models: they describe responses in the OpenAPI document. The responses sent are not validated."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from bridge.core.watch import Outcome, State
from bridge.web.request_models import MAX_FAULTS, Kind


class Output(BaseModel):
    """Base of the models for the JSON that the bridge sends: responses, events, and parts of both."""

    model_config = ConfigDict(extra="forbid")


def examples(*each: Any) -> ConfigDict:
    """Return a `model_config` that adds these examples to the schema of a request or response model."""
    return ConfigDict(json_schema_extra={"examples": list(each)})


# `X | Absent` is the type of a member that may be absent, but is never null.
Absent = SkipJsonSchema[None]


class InvalidFieldSchema(Output):
    """What is wrong with one field."""

    model_config = examples({"pointer": "/callback_url", "detail": "is required"})

    pointer: str = Field(description="A JSON pointer into the body, or a slash and a parameter's name.")
    detail: str = Field(description="What is wrong there.")


class ProblemSchema(Output):
    """What went wrong with a request (RFC 9457)."""

    model_config = examples(
        {
            "type": "/problems/invalid-input",
            "title": "Invalid input",
            "status": 422,
            "detail": "The input is not valid: /callback_url is required.",
            "request_id": "5f0c8e1b9a7d4c3e8f2a6b1d0c9e7f3a",
            "errors": [{"pointer": "/callback_url", "detail": "is required"}],
            "retry_after_seconds": 60,
            "limit": 100000,
            "watch_id": "wat_01hf3k9c2e7v8x4m6q0r5t1w3y8",
            "state": "delivered",
            "task_id": "AAAAEZ6whGI",
            "hubspot_status_code": 400,
            "hubspot": {"status": "error", "message": "Invalid input JSON"},
        }
    )

    type: str = Field(
        description="The type of the problem, by which programs tell problems apart. It is a path on this bridge, and the page at that path explains the problem.",
        json_schema_extra={"format": "uri-reference"},
    )
    title: str = Field(description="The cause in a few words.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What went wrong this time, in a sentence.")
    request_id: str | Absent = Field(default=None, description="The answer's `X-Request-Id`.")
    errors: list[InvalidFieldSchema] | Absent = Field(
        default=None,
        description=f"With 422 and some 409: every field at fault. Beyond {MAX_FAULTS}, a last entry with an empty "
        "`pointer` says how many more there are.",
    )
    retry_after_seconds: Annotated[int, Field(ge=0)] | Absent = Field(
        default=None,
        description="After how many seconds to try again, as in the `Retry-After` header; absent when the answer has no such header.",
    )
    limit: Annotated[int, Field(ge=1)] | Absent = Field(
        default=None,
        description="With 429: the limit that was reached, such as how many open watches a client may have.",
    )
    watch_id: str | Absent = Field(
        default=None,
        description="With `watch-differs`: the id of the watch that is registered already. With `wrong-state`: the id of the watch whose state does not permit the request.",
    )
    state: State | str | Absent = Field(default=None, description="With `wrong-state`: the watch's state.")
    task_id: str | Absent = Field(
        default=None, description="With `import-not-watched`: the task that HubSpot has started."
    )
    hubspot_status_code: Annotated[int, Field(ge=100, le=999)] | Absent = Field(
        default=None, description="With `refused-by-hubspot`: HubSpot's status."
    )
    hubspot: Any | Absent = Field(
        default=None, description="With `refused-by-hubspot`: HubSpot's body; text when it is not JSON."
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
UNDELIVERED_EXAMPLE = EXAMPLE | {
    "state": "undelivered",
    "outcome": "completed",
    "due_at": None,
    "ended_at": "2026-11-05T13:00:09.400000Z",
    "settled_at": "2026-11-08T18:41:12.000000Z",
    "polls": 4,
    "last_polled_at": "2026-11-05T13:00:09.400000Z",
    "status": "COMPLETE",
    "last_error": "The receiver answered 503",
    "attempts": 11,
    "last_attempt_at": "2026-11-08T18:41:11.800000Z",
    "last_status_code": 503,
    "hubspot": {"status": "COMPLETE", "result": {"id": "17", "name": "report"}},
}


class WatchSchema(Output):
    """One task followed for one callback URL, on behalf of one client."""

    model_config = examples(EXAMPLE, UNDELIVERED_EXAMPLE)

    id: str = Field(pattern=r"^[A-Za-z0-9_]{8,64}$", description="The watch's id; ids sort by time.")
    task_id: str = Field(description="HubSpot's id of the task.")
    kind: Kind | str = Field(description="Which HubSpot endpoint answers for the task.")
    account: str = Field(description="The HubSpot account.")
    client: str = Field(description="The client that registered the watch.")
    callback_url: str = Field(description="Where the callback goes.")
    metadata: dict[str, Any] = Field(
        description="The metadata as the client gave it; numbers keep all their digits."
    )
    state: State | str = Field(
        description="`watching` until the task ends, then `delivering`; at last `delivered`, `undelivered` or `withdrawn`."
    )
    outcome: Outcome | str | None = Field(
        description="How the task ended; null while the watch is `watching`, and in a watch that was withdrawn while `watching`."
    )
    created_at: datetime = Field(description="When the watch was registered.")
    deadline_at: datetime = Field(
        description="When the watch ends as `timed_out` if the task was not seen to end before."
    )
    due_at: datetime | None = Field(
        description="When the next poll or attempt is due; null when nothing is left to do."
    )
    ended_at: datetime | None = Field(description="When the watch got its `outcome`; null while it has none.")
    settled_at: datetime | None = Field(
        description="When the watch became `delivered`, `undelivered` or `withdrawn`; null while it is `watching` or `delivering`."
    )
    polls: int = Field(description="How many times HubSpot was asked for the status.", ge=0)
    last_polled_at: datetime | None = Field(description="When HubSpot was asked last.")
    status: str | None = Field(
        description="The newest status that HubSpot reported, in HubSpot's own word; null before the first."
    )
    last_error: str | None = Field(description="The newest trouble with HubSpot or the receiver.")
    attempts: int = Field(
        description="How many attempts were made to deliver the callback, those of redeliveries included.",
        ge=0,
    )
    last_attempt_at: datetime | None = Field(
        description="When the newest attempt began; null before the first."
    )
    last_status_code: int | None = Field(
        description="The HTTP status of the receiver's answer to the newest attempt; null without an attempt, or when no answer came.",
        ge=100,
        le=999,
    )
    hubspot: Any = Field(description="HubSpot's last answer that carried a status, verbatim.")
