"""The `webhooks` of the OpenAPI document: one for each type of event that the bridge sends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from bridge.core.kinds import KINDS
from bridge.core.operator_events import OperatorEventType
from bridge.core.watch import Outcome
from bridge.web.request_models import Kind
from bridge.web.response_models import Absent, Output, examples

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
OPERATOR_EXAMPLE: dict[str, Any] = {
    "subject": "app.example.com",
    "reason": "The receiver answered 410.",
    "since": "2026-11-05T13:00:01.500000Z",
    "count": 10000,
}

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

# One more header, which a callback has when the registration of its watch had it.
TRACEPARENT = {
    "traceparent": (
        "Only when the registration had one (W3C Trace Context): the same trace.",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
}

RESPONSES = {
    "2XX": "You have it. Answer as soon as it is stored, and do the work afterwards.",
    "410": "Nobody is there any more: it is not sent again.",
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
    Outcome.TIMED_OUT: "was not seen to end before the watch's deadline",
}


class TaskEventDataSchema(Output):
    """How a task ended, or why the bridge stopped polling it."""

    model_config = examples(TASK_EXAMPLE, FAILED_EXAMPLE)

    id: str = Field(description="The watch's id.")
    task_id: str = Field(description="HubSpot's id of the task.")
    kind: Kind | str = Field(description="Which HubSpot endpoint answers for the task.")
    account: str = Field(description="The HubSpot account.")
    outcome: Outcome | str = Field(description="How the task ended.")
    metadata: dict[str, Any] = Field(description="The metadata as you registered it.")
    created_at: datetime = Field(description="When the watch was registered.")
    ended_at: datetime = Field(description="When the bridge saw the task end, or stopped polling it.")
    error: str | None = Field(
        description="What went wrong, in a sentence; null when `outcome` is `completed`."
    )
    truncated: bool | Absent = Field(
        default=None,
        description="True when `hubspot` is null because HubSpot's answer has more than 256 KiB.",
    )
    hubspot: Any = Field(
        description="The last answer in which HubSpot reported the task's status, verbatim; null when there is no such answer, or when `truncated` is true."
    )


class TaskEventSchema(Output):
    """The body of a callback: a task has ended, or the bridge has stopped polling it."""

    model_config = examples(
        {"type": "import.completed", "timestamp": TASK_EXAMPLE["ended_at"], "data": TASK_EXAMPLE}
    )

    type: str = Field(
        description="A prefix, a dot and the outcome, such as `import.completed`. The prefix is `import` for the kinds `file-import` and `crm-import`; for any other kind it is the kind's name."
    )
    timestamp: datetime = Field(description="When the event happened.")
    data: TaskEventDataSchema = Field(description="How the task ended.")


class TestEventDataSchema(Output):
    """The client that requested the test."""

    model_config = examples(TEST_EXAMPLE)

    client: str = Field(description="The client that asked for the test callback.")


class TestEventSchema(Output):
    """A test event, sent by `POST /v1/test-callback`; it is about no task."""

    model_config = examples(
        {"type": "bridge.test", "timestamp": TASK_EXAMPLE["ended_at"], "data": TEST_EXAMPLE}
    )

    type: str = Field(description="Always `bridge.test`.")
    timestamp: datetime = Field(description="When the test callback was sent.")
    data: TestEventDataSchema = Field(description="Who asked for the test callback.")


class OperatorEventDataSchema(Output):
    """Which account, host or worker the event is about, and why it happened."""

    model_config = examples(OPERATOR_EXAMPLE)

    subject: str = Field(description="The account, the receiver's host, or the id of the worker.")
    reason: str = Field(
        description="Why the newest occurrence happened, in a sentence; it may quote HubSpot."
    )
    since: datetime = Field(
        description="When the first of the `count` occurrences happened; for a silent worker, when it last gave a sign of life."
    )
    count: int = Field(description="How many occurrences this event reports.", ge=1)


class OperatorEventSchema(Output):
    """Something that the operator of the bridge should know."""

    model_config = examples(
        {
            "type": OperatorEventType.CALLBACK_GIVEN_UP,
            "timestamp": TASK_EXAMPLE["ended_at"],
            "data": OPERATOR_EXAMPLE,
        }
    )

    type: str = Field(description="What has happened.")
    timestamp: datetime = Field(
        description="When it happened, or last happened, if `data.count` is more than 1; for a silent worker, when the worker last gave a sign of life."
    )
    data: OperatorEventDataSchema = Field(description="What the event is about, and why it happened.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """A type of event that the bridge sends; `headers` holds each header's description and example."""

    event: str
    summary: str
    model: type[BaseModel]
    example: dict[str, Any]
    tag: str = "Events"
    headers: Mapping[str, tuple[str, str]] = field(default_factory=lambda: HEADERS)


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
            headers=HEADERS | TRACEPARENT,
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


# For each type of operator event: its summary, and examples of its subject and its reason.
_FOR_OPERATORS = {
    OperatorEventType.ACCOUNT_PAUSED: (
        "HubSpot refuses an account, or is out of order.",
        "default",
        "HubSpot answered 401.",
    ),
    OperatorEventType.ACCOUNT_RESUMED: (
        "HubSpot answers an account again.",
        "default",
        "HubSpot answers again.",
    ),
    OperatorEventType.CALLBACK_GIVEN_UP: (
        "Callbacks to a host will not be tried again.",
        OPERATOR_EXAMPLE["subject"],
        OPERATOR_EXAMPLE["reason"],
    ),
    OperatorEventType.HOST_PAUSED: (
        "A receiver's host failed several times in a row: its callbacks wait.",
        "app.example.com",
        "The receiver answered 503.",
    ),
    OperatorEventType.HOST_RESUMED: (
        "A receiver's host answers again.",
        "app.example.com",
        "The receiver answers again.",
    ),
    OperatorEventType.WORKER_SILENT: (
        "A worker gave no sign of life for a minute, and did not say that it stops.",
        "bridge-1-812-9f31c2aa",
        "It gave no sign of life for a minute, and did not say that it stops: it was killed, or hangs.",
    ),
}


def _of_operators() -> list[Webhook]:
    about, _ = HEADERS["webhook-id"]
    return [
        Webhook(
            event=event,
            summary=summary,
            model=OperatorEventSchema,
            example={
                "type": event.value,
                "timestamp": TASK_EXAMPLE["ended_at"],
                "data": OPERATOR_EXAMPLE | {"subject": subject, "reason": reason},
            },
            tag="Operator events",
            headers=HEADERS | {"webhook-id": (about, "evt_01hf3k9c2e7v8x4m6q0r5t1w3y8")},
        )
        for event, (summary, subject, reason) in _FOR_OPERATORS.items()
    ]


WEBHOOKS = [
    *_of_tasks(),
    Webhook(
        event="bridge.test",
        summary="Somebody tries the callback out, by `POST /v1/test-callback`.",
        model=TestEventSchema,
        example={"type": "bridge.test", "timestamp": TASK_EXAMPLE["ended_at"], "data": TEST_EXAMPLE},
    ),
    *_of_operators(),
]
