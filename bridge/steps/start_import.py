"""Starts imports at HubSpot, each at most once, and registers watches for their tasks."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import structlog
from sqlalchemy.exc import SQLAlchemyError

from bridge.core.account_limits import signal_of_single_call
from bridge.core.classification import (
    MAY_HAVE_BEGUN,
    NO_TOKEN_PAUSE_SECONDS,
    Classification,
    Postponed,
    Throttled,
    classify_start,
    clean,
    parse_json,
    text_of,
)
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.steps.hubspot_calls import Granted, HubSpotCalls, RetryLater
from bridge.steps.register import ConflictingRegistration, Registered, RegistrationResult

log = structlog.get_logger()

# How long a start waits for the quota, which polls use in bursts, before the client gets a 503.
QUOTA_WAIT_SECONDS = 2.0
SHORTEST_WAIT_SECONDS = 0.01

LONGEST_TASK_ID = 255
EXCERPT_CHARACTERS = 2000  # so many are kept of an answer that is not JSON, such as a proxy's page


@dataclass(frozen=True, kw_only=True, slots=True)
class NotStarted:
    """This request has not started an import at HubSpot; the client may send the request again.

    `reason` is a sentence for the client. `retry_at` is when to send the request again; None when the bridge does not
    know when.
    """

    reason: str
    retry_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NoTaskId:
    """HubSpot's answer holds no task id that the bridge can watch.

    `hubspot` is JSON text: the answer's body if it is JSON; else a JSON string that holds the beginning of the body;
    `null` for an empty body.
    """

    status_code: int
    hubspot: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UnknownOutcome:
    """The request may have reached HubSpot, but no answer came: the import may have been started, or not."""

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unwatched:
    """HubSpot has started the import, but the bridge could not store a watch for its task."""

    task_id: str
    reason: str


# A function that takes a task's id, and registers a watch for the task.
RegisterTask: TypeAlias = Callable[[str], RegistrationResult]

StartResult: TypeAlias = (
    Registered | ConflictingRegistration | NotStarted | NoTaskId | UnknownOutcome | Unwatched
)


def start(
    hubspot_calls: HubSpotCalls,
    *,
    client: str,
    account: str,
    document: str,
    register: RegisterTask,
    claim_hubspot_call: Callable[[], bool],
) -> StartResult:
    """Start an import at HubSpot, at most once, and register a watch for its task.

    Waits up to QUOTA_WAIT_SECONDS for the quota or the end of a pause. `document` is the body for HubSpot, as JSON
    text. `claim_hubspot_call` is called just before the request; if it returns False, nothing is sent, and the result
    is NotStarted. `register` is called with the id of the started task. Raises the database errors that occur before
    the request. After the request no database error is raised: if the watch cannot be stored, the result is
    Unwatched.
    """
    granted = _acquire(hubspot_calls, account)
    if isinstance(granted, RetryLater):
        return NotStarted(reason=granted.reason, retry_at=granted.retry_at)
    signal = None
    try:
        if not claim_hubspot_call():
            return NotStarted(reason="The same request was sent again, and is carried out there.")
        asked_at = hubspot_calls.clock()
        answer = hubspot_calls.hubspot.start_import(granted.account, document)
        answered_at = hubspot_calls.clock()
        classified = classify_start(answer, now=answered_at)
        started = _outcome(register, client, answer, classified, answered_at)
        signal = signal_of_single_call(classified)
        hubspot_calls.record_call(granted.account, answer, signal, asked_at=asked_at)
    finally:
        # Nothing was sent, or the answer says nothing of the account: if this was its trial, another is due at once.
        if signal is None:
            hubspot_calls.release_trial(granted)
    return started


def _acquire(hubspot_calls: HubSpotCalls, name: str) -> Granted | RetryLater:
    """Take one request from an account's quota; wait up to QUOTA_WAIT_SECONDS until one is granted.

    `name` is the account's name. Returns RetryLater at once when the next wait would make the sum of all waits longer
    than QUOTA_WAIT_SECONDS.
    """
    waited_seconds = 0.0
    while isinstance(acquired := hubspot_calls.acquire(name), RetryLater):
        wait_seconds = max((acquired.retry_at - hubspot_calls.clock()).total_seconds(), SHORTEST_WAIT_SECONDS)
        waited_seconds += wait_seconds
        if waited_seconds > QUOTA_WAIT_SECONDS:
            break
        time.sleep(wait_seconds)
    return acquired


def _outcome(
    register: RegisterTask,
    client: str,
    answer: HttpResponse | NoResponse | NoToken,
    classified: Classification,
    answered_at: datetime,
) -> StartResult:
    match answer:
        case NoToken(reason=reason) if isinstance(classified, Postponed | Throttled):
            return NotStarted(reason=reason, retry_at=answered_at + timedelta(seconds=NO_TOKEN_PAUSE_SECONDS))
        case NoToken(reason=reason):
            return NotStarted(reason=reason)
        case NoResponse(reason=reason, sent=False):
            return NotStarted(reason=f"HubSpot could not be asked: {reason}.")
        case NoResponse(reason=reason):
            return UnknownOutcome(
                reason=f"HubSpot did not answer: {reason}. The import may have been started or not; "
                "the bridge does not repeat it. Look for the file at HubSpot before you do."
            )
        case HttpResponse():
            task_id = _task_id(answer)
            return _no_task_id(answer) if task_id is None else register_task(register, client, task_id)


def _task_id(answer: HttpResponse) -> str | None:
    document = parse_json(answer)
    task_id = (
        document.get("id") if isinstance(document, Mapping) and 200 <= answer.status_code < 300 else None
    )
    if not isinstance(task_id, str) or not 1 <= len(task_id) <= LONGEST_TASK_ID:
        return None
    return task_id if task_id.isprintable() and " " not in task_id else None


def _no_task_id(answer: HttpResponse) -> NoTaskId:
    if parse_json(answer) is not None:
        hubspot = text_of(answer)
    else:
        excerpt = clean(answer.body.decode("utf-8-sig", errors="replace").strip(), EXCERPT_CHARACTERS)
        hubspot = json.dumps(None if excerpt in ("", "null") else excerpt)
    if 400 <= answer.status_code < 500 and answer.status_code not in MAY_HAVE_BEGUN:
        reason = f"HubSpot answered {answer.status_code}; the import was not started."
    else:
        reason = (
            f"HubSpot answered {answer.status_code}, and no task id that could be watched; the import may "
            "have been started or not."
        )
    return NoTaskId(status_code=answer.status_code, hubspot=hubspot, reason=reason)


def register_task(register: RegisterTask, client: str, task_id: str) -> StartResult:
    """Register a watch for the task of a started import; return the result, or Unwatched if the database fails."""
    try:
        return register(task_id)
    except SQLAlchemyError as error:
        log.warning("import_unwatched", client=client, task_id=task_id, error=type(error).__name__)
    return Unwatched(
        task_id=task_id,
        reason=f"HubSpot has started the import as task {task_id}, and the bridge's database did not "
        "take the watch. Register the task by this id; the import itself goes on.",
    )
