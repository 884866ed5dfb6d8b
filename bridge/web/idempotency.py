"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a repeated request gets the stored answer.

If no answer is stored yet, `begin` decides what happens to the repeated request.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from hashlib import sha256
from math import ceil
from typing import Any
from uuid import uuid4

import structlog
from flask import request
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from bridge.db import idempotent_requests as store
from bridge.db.engine import reading
from bridge.db.idempotent_requests import IdempotentRequest
from bridge.web.operations import ApiCall, Reply
from bridge.web.problems import FieldError, Problem

log = structlog.get_logger()

HEADER = "Idempotency-Key"
# A string in quotes (RFC 9651, 3.3.3), or the same without the quotes, as most programs send it.
KEY_PATTERN = r'"([ !#-\[\]-~]{1,255})"|([!#-~]{1,255})'
# The header as the OpenAPI document describes it.
PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Your own name for this request: the same again is answered the same for 24 h, and done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 257, "pattern": f"^(?:{KEY_PATTERN})$"},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}
# An execution that takes longer is presumed to have crashed, and a repeat of the request may continue it. An execution
# waits at most 2 s for quota, and 20 s for HubSpot.
MAX_DURATION = timedelta(seconds=60)


def _keyed_request(client: str, now: datetime) -> IdempotentRequest | Problem | None:
    """Make an IdempotentRequest of the current Flask request.

    Returns None when it has no Idempotency-Key, and a Problem when its key is malformed.
    """
    given = request.headers.get(HEADER)
    if given is None:
        return None
    found = re.fullmatch(KEY_PATTERN, given)
    if not found:
        detail = f"{HEADER} must have 1 to 255 printable ASCII characters, without spaces or in quotes."
        return Problem(status=400, detail=detail, cause="malformed-idempotency-key")
    return IdempotentRequest(
        client=client,
        key=found[1] or found[2],
        body_hash=sha256(request.get_data()).hexdigest(),
        begun_at=now,
        begun_by=uuid4().hex,
    )


def is_repeat(call: ApiCall) -> bool:
    """Return whether the current Flask request repeats a stored one: same client, same Idempotency-Key, same body.

    It does not matter whether the stored request has been answered. False without a valid Idempotency-Key.
    """
    repeated = _keyed_request(call.caller.name, call.now)
    if not isinstance(repeated, IdempotentRequest):
        return False
    with reading(call.dependencies.engine) as connection:
        return store.has_begun(connection, repeated)


class Execution:
    """Stores the progress of one execution of a request, so that a repeat starts no second task.

    Only a request with an Idempotency-Key is stored; `held` is the stored request. For a request without a key,
    `held` is None, and the methods store nothing. `task_id` is the id of the task that an earlier execution of the
    request has started; None if there is no such task.
    """

    def __init__(self, engine: Engine, clock: Callable[[], datetime], held: IdempotentRequest | None) -> None:
        self._engine = engine
        self._clock = clock
        self._held = held
        self.task_id = held.task_id if held else None

    def claim_hubspot_call(self) -> bool:
        """Store that HubSpot is about to be called; return whether the caller may call HubSpot.

        False means that another execution has taken the request over, and that nothing was stored. For a request
        without an Idempotency-Key, nothing is stored, and the result is True.
        """
        return self._change(asked_at=self._clock())

    def note_task(self, task_id: str) -> None:
        """Store the id of the task that HubSpot has started. Call this before its watch is registered."""
        self._change(task_id=task_id)

    def forget(self) -> None:
        """Delete the stored request, so that a repeat is carried out.

        A request that another execution has taken over is not deleted. `forget` must not be called if a task may have
        been started at HubSpot, by this execution or an earlier one.
        """
        if self._held:
            with self._engine.begin() as connection:
                store.forget(connection, self._held)

    def keep(self, answer: Reply | Problem) -> None:
        """Store the answer, so that repeats of the request get it; a database error is only logged."""
        try:
            self._change(answer=_serialized(answer))
        except SQLAlchemyError as error:
            log.warning("answer_not_kept", error=type(error).__name__)

    def _change(self, **values: str | datetime) -> bool:
        """Set fields of the stored request; return False, and set nothing, if another execution has taken it over.

        A request without an Idempotency-Key is not stored: nothing is set, and the result is True.
        """
        if not self._held:
            return True
        with self._engine.begin() as connection:
            return store.change(connection, self._held, **values)


def begin(call: ApiCall) -> Execution | Reply | Problem:
    """Return an Execution to carry out the Flask request, or the answer to send instead.

    A request without an Idempotency-Key is always carried out, and not stored. A malformed key is answered with a
    400. If no request of the same client with the same key is stored, the Flask request is stored and carried out. If
    such a request is stored already, the first case that applies decides:

    - the stored request has another body: a 422;
    - an execution has stored its answer: that answer;
    - the latest execution began less than MAX_DURATION ago: a 409;
    - HubSpot may have been called, and no task id is stored: a 504;
    - in any other case: an Execution that takes the stored request over.
    """
    engine, clock = call.dependencies.engine, call.dependencies.clock
    wanted = _keyed_request(call.caller.name, clock())
    if isinstance(wanted, Problem):
        return wanted
    if wanted is None:
        return Execution(engine, clock, None)
    with engine.begin() as connection:
        kept = store.begin(connection, wanted)
        found = _outcome(connection, wanted, kept)
    return Execution(engine, clock, found) if isinstance(found, IdempotentRequest) else found


def _outcome(
    connection: Connection, wanted: IdempotentRequest, kept: IdempotentRequest
) -> IdempotentRequest | Reply | Problem:
    if kept.body_hash != wanted.body_hash:
        detail = f"Another request was sent with this {HEADER}; a key belongs to one body."
        return Problem(status=422, detail=detail, cause="idempotency-key-reused")
    if kept.begun_by == wanted.begun_by:
        return kept
    if kept.answer is not None:
        return _deserialized(kept.answer)
    now = wanted.begun_at
    is_over = kept.begun_at <= now - MAX_DURATION
    if is_over and kept.asked_at and not kept.task_id:
        return UNKNOWN_OUTCOME
    if is_over and store.change(connection, kept, begun_by=wanted.begun_by, begun_at=now):
        return IdempotentRequest(**asdict(kept) | {"begun_by": wanted.begun_by, "begun_at": now})
    wait = (kept.begun_at + MAX_DURATION - now).total_seconds()
    return Problem(
        status=409,
        detail=f"The request with this {HEADER} is being carried out, or was interrupted less than a minute ago.",
        cause="request-at-work",
        headers={"Retry-After": str(max(ceil(wait), 1))},
    )


UNKNOWN_OUTCOME = Problem(
    status=504,
    detail="The bridge stopped, or its database was away, while HubSpot was being asked. An earlier 503 may have named the "
    "task: register it. Otherwise the import may have been started or not; the bridge does not repeat it. Look for the "
    "file at HubSpot before you do, with another key.",
)


def _serialized(answer: Reply | Problem) -> str:
    if isinstance(answer, Problem):
        return json.dumps({"problem": asdict(answer)})
    return json.dumps({"reply": asdict(answer)})


def _deserialized(text: str) -> Reply | Problem:
    kept: dict[str, Any] = json.loads(text)
    if "reply" in kept:
        return Reply(**kept["reply"])
    problem = kept["problem"]
    return Problem(**problem | {"faults": [FieldError(**fault) for fault in problem["faults"]]})
