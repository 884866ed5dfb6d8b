"""Stores requests with an `Idempotency-Key`, with their progress, and the response that repeats also get."""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, select, tuple_, update

from bridge.db.dialect_sql import dialect_insert
from bridge.db.tables import keyed_requests

KEPT = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotentRequest:
    """A request, identified by client and key. `begun_by` is the id of the attempt that carries it out."""

    client: str
    key: str
    body_hash: str
    begun_at: datetime
    begun_by: str
    asked_at: datetime | None = None  # just before HubSpot was asked; from then on a task may have started
    task_id: str | None = None  # of the task that HubSpot has started
    answer: str | None = None  # the bridge's response, as JSON


def begin(connection: Connection, wanted: IdempotentRequest) -> IdempotentRequest:
    """Store a request, unless one with its client and key is stored already; return the stored one.

    A stored request that is older than KEPT is deleted first.
    """
    now = wanted.begun_at
    connection.execute(delete(keyed_requests).where(_is(wanted), keyed_requests.c.created_at < now - KEPT))
    row = {
        "client": wanted.client,
        "key": wanted.key,
        "body_hash": wanted.body_hash,
        "created_at": now,
        "begun_at": now,
        "begun_by": wanted.begun_by,
    }
    add = dialect_insert(connection, keyed_requests).values(row)
    # With an update that changes nothing, RETURNING gives an existing row too, and nobody can delete it first.
    unchanged = {"key": keyed_requests.c.key}
    columns = [keyed_requests.c[field.name] for field in fields(IdempotentRequest)]
    kept = add.on_conflict_do_update(index_elements=["client", "key"], set_=unchanged).returning(*columns)
    return IdempotentRequest(**connection.execute(kept).mappings().one())


def take_over(connection: Connection, kept: IdempotentRequest, *, begun_by: str, now: datetime) -> bool:
    """Let the attempt `begun_by` carry a request out; return False when another attempt was first."""
    return _change(connection, kept, begun_by=begun_by, begun_at=now)


def note_asking(connection: Connection, held: IdempotentRequest, now: datetime) -> bool:
    """Record that HubSpot is about to be asked; return False when another attempt has taken over."""
    return _change(connection, held, asked_at=now)


def note_task(connection: Connection, held: IdempotentRequest, task_id: str) -> None:
    """Record the id of the task that HubSpot has started, unless another attempt has taken over."""
    _change(connection, held, task_id=task_id)


def note_answer(connection: Connection, held: IdempotentRequest, answer: str) -> None:
    """Store the response for repeats of the request, unless another attempt has taken over."""
    _change(connection, held, answer=answer)


def forget(connection: Connection, held: IdempotentRequest) -> None:
    """Delete a request that was not carried out, so that a repeat is carried out as a new request.

    Deletes nothing when another attempt has taken the request over.
    """
    connection.execute(delete(keyed_requests).where(_is(held), _is_held(held)))


def prune(connection: Connection, now: datetime, *, limit: int) -> int:
    """Delete up to `limit` requests older than KEPT; return how many."""
    names = (keyed_requests.c.client, keyed_requests.c.key)
    over = select(*names).where(keyed_requests.c.created_at < now - KEPT).limit(limit)
    return connection.execute(delete(keyed_requests).where(tuple_(*names).in_(over))).rowcount


def _change(connection: Connection, held: IdempotentRequest, **values: object) -> bool:
    changed = update(keyed_requests).where(_is(held), _is_held(held)).values(**values)
    return connection.execute(changed).rowcount == 1


def _is(request: IdempotentRequest) -> ColumnElement[bool]:
    return (keyed_requests.c.client == request.client) & (keyed_requests.c.key == request.key)


def _is_held(request: IdempotentRequest) -> ColumnElement[bool]:
    """Return the condition that no other attempt has taken the request over."""
    return keyed_requests.c.begun_by == request.begun_by
