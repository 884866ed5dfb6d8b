"""The watch and its state machine: every state, every event, and the function that applies an event."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """The states of a watch."""

    WATCHING = "watching"  # HubSpot is polled until there is an outcome
    DELIVERING = "delivering"  # there is an outcome; the callback is being delivered
    DELIVERED = "delivered"  # the receiver answered 2xx
    UNDELIVERED = "undelivered"  # the receiver answered 410, or the schedule's final attempt failed
    WITHDRAWN = "withdrawn"  # withdrawn by the client or an operator; not claimed any more


class Outcome(StrEnum):
    """How a task ended, or why the bridge stopped polling it."""

    COMPLETED = "completed"  # HubSpot finished; if the kind has a result, it is there, without errors
    COMPLETED_WITH_ERRORS = "completed_with_errors"  # there is a result, and errors beside it
    FAILED = "failed"  # a CRM import's status is FAILED, or a finished task lacks its result
    CANCELED = "canceled"  # HubSpot ended the task as CANCELED or REVERTED
    REJECTED = "rejected"  # HubSpot refused several polls in a row; usually it does not know the task
    TIMED_OUT = "timed_out"  # the watch's deadline passed before there was another outcome


class Event(StrEnum):
    """What can happen to a watch; TRANSITIONS gives the next state for each allowed pair of state and event."""

    CHECKED = "checked"  # HubSpot was polled, and the watch goes on
    RECHECKED = "rechecked"  # a client or an operator wants the next poll now
    ENDED = "ended"  # the watch got its outcome
    WITHDRAWN = "withdrawn"  # a client or an operator wants no more polls or callbacks
    ACCEPTED = "accepted"  # the receiver answered an attempt with 2xx
    ATTEMPT_FAILED = "attempt_failed"  # an attempt failed, and another will follow
    GAVE_UP = "gave_up"  # an attempt failed, and none will follow
    REDELIVERED = "redelivered"  # a client or an operator wants the callback again


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.WATCHING, Event.CHECKED): State.WATCHING,
    (State.WATCHING, Event.RECHECKED): State.WATCHING,
    (State.WATCHING, Event.ENDED): State.DELIVERING,
    (State.WATCHING, Event.WITHDRAWN): State.WITHDRAWN,
    (State.DELIVERING, Event.ACCEPTED): State.DELIVERED,
    (State.DELIVERING, Event.ATTEMPT_FAILED): State.DELIVERING,
    (State.DELIVERING, Event.GAVE_UP): State.UNDELIVERED,
    (State.DELIVERING, Event.WITHDRAWN): State.WITHDRAWN,
    (State.DELIVERED, Event.REDELIVERED): State.DELIVERING,
    (State.UNDELIVERED, Event.REDELIVERED): State.DELIVERING,
}

OPEN = frozenset({State.WATCHING, State.DELIVERING})
REDELIVERABLE = frozenset({State.DELIVERED, State.UNDELIVERED})
# The fields that a redelivery sets, besides those that `advance` sets and `due_at`.
REDELIVERY = {"settled_at": None, "tries": 0, "manual": True}


class IllegalTransition(Exception):
    """The event cannot happen to a watch in this state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """One task followed for one callback URL, on behalf of one client."""

    id: str
    client: str
    account: str
    kind: str
    task_id: str
    callback_url: str
    callback_host: str  # the host of the URL, in lower case, without the port
    metadata: str  # the client's JSON object, as text
    created_at: datetime
    deadline_at: datetime
    traceparent: str | None = None  # of the registration (W3C Trace Context)

    state: State = State.WATCHING
    outcome: Outcome | None = None
    due_at: datetime | None  # when the next poll or attempt is due; while claimed, the end of the lease
    claimed_by: str | None = None  # the worker that holds the claim
    ended_at: datetime | None = None  # when the watch got its outcome
    settled_at: datetime | None = None  # when it became delivered, undelivered or withdrawn

    polls: int = 0
    last_polled_at: datetime | None = None
    # The task's age counts from here: from the registration, later from the first poll that saw PROCESSING.
    age_zero_at: datetime
    status: str | None = None  # the newest that HubSpot reported
    refusals: int = 0  # answers in a row by which HubSpot refused the task
    refused_since: datetime | None = None  # when the first of the `refusals` came
    failures: int = 0  # polls in a row without a usable answer
    account_errors: int = 0  # answers in a row that blamed the account
    error: str | None = None  # why the outcome is not `completed`
    last_error: str | None = None  # the newest trouble with HubSpot or the receiver

    attempts: int = 0  # attempts of all deliveries together
    tries: int = 0  # attempts since the newest delivery began
    manual: bool = False  # the next attempt is the first of a redelivery
    last_attempt_at: datetime | None = None  # when the newest attempt began
    last_status_code: int | None = None  # HTTP status of the newest attempt; None without a response


def advance(watch: Watch, event: Event, **changes: Any) -> Watch:
    """Return the watch after `event`, with `changes` to its other fields and no longer claimed.

    If the new state is `watching` or `delivering`, `changes` must hold `due_at`. In any other new state
    `due_at` becomes None. Raises IllegalTransition when the watch's state does not allow the event.
    """
    state = next_state(watch.state, event)
    if state not in OPEN:
        changes["due_at"] = None
    return replace(watch, state=state, claimed_by=None, **changes)


def next_state(state: State, event: Event) -> State:
    """Return the state after `event`. Raises IllegalTransition when `state` does not allow it."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"a watch that is {state} cannot be {event}") from None


def withdraw(watch: Watch, *, now: datetime) -> Watch:
    """Return the watch in the state `withdrawn`, settled at `now`.

    Raises IllegalTransition unless the watch was `watching` or `delivering`.
    """
    return advance(watch, Event.WITHDRAWN, settled_at=now)


def redeliver(watch: Watch, *, now: datetime) -> Watch:
    """Return the watch as `delivering` again: its callback is due now, and the retry schedule starts anew.

    Raises IllegalTransition unless the watch is `delivered` or `undelivered`.
    """
    return advance(watch, Event.REDELIVERED, due_at=now, **REDELIVERY)


def recheck(watch: Watch, *, now: datetime) -> Watch:
    """Return the watch with its next poll due now. Raises IllegalTransition unless it is `watching`."""
    return advance(watch, Event.RECHECKED, due_at=now)
