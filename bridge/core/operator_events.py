"""Events for the operator's webhook: their types, and the webhook's body."""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bridge.core.instants import rfc3339


class OperatorEventType(StrEnum):
    """The types of event for the operator.

    The first word of a type says what the event's subject is, but the subject of `callback.given_up` is a host.
    """

    ACCOUNT_PAUSED = "account.paused"  # HubSpot refuses an account's requests, or is out of order
    ACCOUNT_RESUMED = "account.resumed"  # HubSpot answers again, or the account was removed
    CALLBACK_GIVEN_UP = "callback.given_up"  # a callback to a host will not be tried again
    HOST_PAUSED = "host.paused"  # a receiver's host failed several times in a row
    HOST_RESUMED = "host.resumed"  # the receiver answers again, or no callback is left for the host
    WORKER_SILENT = "worker.silent"  # a worker's heartbeats ended without a proper stop


# Opposite events of one subject are sent in the order in which they happened.
OPPOSITES = {
    OperatorEventType.ACCOUNT_PAUSED: OperatorEventType.ACCOUNT_RESUMED,
    OperatorEventType.ACCOUNT_RESUMED: OperatorEventType.ACCOUNT_PAUSED,
    OperatorEventType.HOST_PAUSED: OperatorEventType.HOST_RESUMED,
    OperatorEventType.HOST_RESUMED: OperatorEventType.HOST_PAUSED,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorEvent:
    """What happened to one subject `count` times, first at `since` and last at `last_at`.

    `subject` is the name of an account or a host, or the id of a worker; `reason` is the newest reason, a sentence.
    For a silent worker, `since` and `last_at` are the instant of its last heartbeat.
    """

    type: OperatorEventType
    subject: str
    reason: str
    since: datetime
    last_at: datetime
    count: int = 1


def new_event(type_: OperatorEventType, subject: str, reason: str | None, at: datetime) -> OperatorEvent:
    """Return an event with a count of 1, which happened at the instant `at`; `reason` is None when it is not known."""
    sentence = f"{(reason or 'The reason is not known').rstrip('.')}."
    return OperatorEvent(type=type_, subject=subject, reason=sentence, since=at, last_at=at)


def payload(event: OperatorEvent) -> bytes:
    """Return the webhook's body, as JSON: the same bytes for every attempt to send one event."""
    data = {
        "subject": event.subject,
        "reason": event.reason,
        "since": rfc3339(event.since),
        "count": event.count,
    }
    return json.dumps({"type": event.type, "timestamp": rfc3339(event.last_at), "data": data}).encode()
