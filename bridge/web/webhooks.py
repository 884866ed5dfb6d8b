"""The `webhooks` of the OpenAPI document: one for each type of event that the bridge sends."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bridge.core.kinds import KINDS
from bridge.core.watch import Outcome
from bridge.web.requests import Kind
from bridge.web.responses import Absent, Output

TASK_EXAMPLE: dict[str, Any] = {
    "id": "wat_01hf3k9c2e7v8x4m6q0r5t1w3y8",
    "task_id": "AAAAEZ6whGI",
    "kind": "file-import",
    "account": "default",
    "outcome": "completed",
    "metadata": {"order": 17},
    "created_at": "2026-11-05T13:00:00.000000Z",
    "ended_at": "2026-11-05T13:00:09.400000Z",
    "error": None,
    "hubspot": {"status": "COMPLETE", "result": {"id": "17", "name": "report"}},
}
FAILED_EXAMPLE = TASK_EXAMPLE | {
    "outcome": "failed",
    "error": "HubSpot ended the task without a result",
    "truncated": True,
    "hubspot": None,
}
TEST_EXAMPLE: dict[str, Any] = {"client": "cms"}

HEADERS = {
    "webhook-id": (
        "The event's id, the same on every attempt. What has an id that you have seen before is a repetition.",
        "wat_01hf3k9c2e7v8x4m6q0r5t1w3y8",
    ),
    "webhook-timestamp": (
        "When this attempt was made, in seconds since 1970. Refuse what is more than five minutes off.",
        "1794056410",
    ),
    "webhook-signature": (
        "`v1,` and the base64 of an HMAC-SHA256, by your signing secret, over `webhook-id`, `webhook-timestamp` and \
the body as it came, joined by dots. While a rotation overlaps there are several, with spaces between them: one must fit.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
}

RESPONSES = {
    "2XX": "You have it. Answer as soon as it is stored, and do the work afterwards.",
    "410": "Nobody is there any more: nothing more is sent for this watch.",
    "429": "Try again later; not before `Retry-After`, in seconds or as a date, where there is one.",
    "503": "As 429.",
    "default": "Anything else, a redirect too, or no answer in time: it is sent again, by the schedule.",
}

# The outcomes, each as the end of a sentence about a task.
ENDS = {
    Outcome.COMPLETED: "ended well",
    Outcome.COMPLETED_WITH_ERRORS: "ended with a result and errors",
    Outcome.FAILED: "ended without a result",
    Outcome.CANCELED: "was canceled",
    Outcome.REJECTED: "is not known to HubSpot",
    Outcome.TIMED_OUT: "did not end before the watch's deadline",
}


class TaskEventDataSchema(Output):
    """How a task ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [TASK_EXAMPLE, FAILED_EXAMPLE]})

    id: str = Field(description="The watch.")
    task_id: str = Field(description="HubSpot's id of the task.")
    kind: Kind | str = Field(description="Which HubSpot endpoint answers for the task.")
    account: str = Field(description="The HubSpot account.")
    outcome: Outcome | str = Field(description="How the task ended.")
    metadata: dict[str, Any] = Field(description="As you registered it.")
    created_at: datetime = Field(description="When the watch was registered.")
    ended_at: datetime = Field(description="When the bridge saw the task end.")
    error: str | None = Field(description="What went wrong, in a sentence; null when it is `completed`.")
    truncated: bool | Absent = Field(
        default=None, description="True when `hubspot` is null because it has more than 256 KiB."
    )
    hubspot: Any = Field(description="HubSpot's last answer that carried a status, verbatim.")


class TaskEventSchema(Output):
    """A task has ended: the body of a callback."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"type": "import.completed", "timestamp": TASK_EXAMPLE["ended_at"], "data": TASK_EXAMPLE}
            ]
        }
    )

    type: str = Field(description="What has happened: `import`, or the kind of task, and the outcome.")
    timestamp: datetime = Field(description="When it happened.")
    data: TaskEventDataSchema = Field(description="The task.")


class TestEventDataSchema(Output):
    """The client that requested the test."""

    model_config = ConfigDict(json_schema_extra={"examples": [TEST_EXAMPLE]})

    client: str = Field(description="The client.")


class TestEventSchema(Output):
    """A test event, sent by `POST /v1/test-callback`; it is about no task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"type": "bridge.test", "timestamp": TASK_EXAMPLE["ended_at"], "data": TEST_EXAMPLE}]
        }
    )

    type: str = Field(description="`bridge.test`.")
    timestamp: datetime = Field(description="When it was sent.")
    data: TestEventDataSchema = Field(description="Who asked for it.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """A type of event that the bridge sends, as described under `webhooks` in the OpenAPI document."""

    event: str
    summary: str
    model: type[BaseModel]
    example: dict[str, Any]


def _of_tasks() -> list[Webhook]:
    kinds: dict[str, list[str]] = {}
    for kind in KINDS.values():
        kinds.setdefault(kind.event_prefix, []).append(kind.name)
    return [
        Webhook(
            event=f"{prefix}.{outcome}",
            summary=f"A task of the kind {' or '.join(names)} {ENDS[outcome]}.",
            model=TaskEventSchema,
            example=_example(f"{prefix}.{outcome}", names[0], outcome),
        )
        for prefix, names in kinds.items()
        for outcome in Outcome
    ]


def _example(event_type: str, kind: str, outcome: Outcome) -> dict[str, Any]:
    error = None if outcome is Outcome.COMPLETED else f"The task {ENDS[outcome]}."
    data = TASK_EXAMPLE | {"kind": kind, "outcome": outcome.value, "error": error}
    if outcome is not Outcome.COMPLETED:
        data["hubspot"] = None
    return {"type": event_type, "timestamp": data["ended_at"], "data": data}


WEBHOOKS = [
    *_of_tasks(),
    Webhook(
        event="bridge.test",
        summary="Somebody tries the callback out, by `POST /v1/test-callback`.",
        model=TestEventSchema,
        example={"type": "bridge.test", "timestamp": TASK_EXAMPLE["ended_at"], "data": TEST_EXAMPLE},
    ),
]
