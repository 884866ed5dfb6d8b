"""A watch and its attempts as they are shown, for the API and the command line."""

from typing import Any

from bridge.core.delivery import Attempt, Verbatim, json_object
from bridge.core.instants import rfc3339, rfc3339_or_none
from bridge.core.watch import Watch


def watch_members(watch: Watch, hubspot_body: str | None = None) -> dict[str, Any]:
    """Return the members of a watch's JSON object, in order.

    `hubspot_body` is HubSpot's answer as JSON text, or None. The member `hubspot` holds this text as Verbatim, or
    None. The member `metadata` is always Verbatim. `json_object` inserts a Verbatim unchanged.
    """
    return {
        "id": watch.id,
        "task_id": watch.task_id,
        "kind": watch.kind,
        "account": watch.account,
        "client": watch.client,
        "callback_url": watch.callback_url,
        "metadata": Verbatim(watch.metadata),
        "state": watch.state,
        "outcome": watch.outcome,
        "created_at": rfc3339(watch.created_at),
        "deadline_at": rfc3339(watch.deadline_at),
        "due_at": rfc3339_or_none(watch.due_at),
        "ended_at": rfc3339_or_none(watch.ended_at),
        "settled_at": rfc3339_or_none(watch.settled_at),
        "polls": watch.polls,
        "last_polled_at": rfc3339_or_none(watch.last_polled_at),
        "status": watch.status,
        "last_error": watch.last_error,
        "attempts": watch.attempts,
        "last_attempt_at": rfc3339_or_none(watch.last_attempt_at),
        "last_status_code": watch.last_status_code,
        "hubspot": None if hubspot_body is None else Verbatim(hubspot_body),
    }


def watch_text(watch: Watch, hubspot_body: str | None) -> str:
    """Return a watch as JSON text; its metadata and `hubspot_body` (HubSpot's answer) are inserted unchanged."""
    return json_object(watch_members(watch, hubspot_body))


def attempt_members(attempt: Attempt, *, excerpt: bool) -> dict[str, Any]:
    """Return an attempt as a dict of JSON values.

    If `excerpt` is false, `response_excerpt` is None: clients that are no admins may not see it.
    """
    return {
        "number": attempt.number,
        "trigger": attempt.trigger,
        "started_at": rfc3339(attempt.started_at),
        "duration_ms": attempt.duration_ms,
        "status_code": attempt.status_code,
        "error": attempt.error,
        "response_excerpt": attempt.response_excerpt if excerpt else None,
    }
