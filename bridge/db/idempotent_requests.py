"""Stores the progress and the response of requests that have an `Idempotency-Key`."""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, select, tuple_, update

from bridge.db.dialect_sql import dialect_insert
from bridge.db.tables import keyed_requests

KEPT = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True, slots=True)
class IdempotentRequest:
    """A request, identified by client and key; `body_hash` is the SHA-256 of its body, in hex.

    If an execution of the request seems to have crashed, and the client repeats the request, a new execution takes
    the request over. `begun_by` is a random id of the newest execution, and `begun_at` is when that execution began.
    """

    client: str
    key: str
    body_hash: str
    begun_at: datetime
    begun_by: str
    asked_at: datetime | None = None  # just before HubSpot was asked; from then on a task may have started
    task_id: str | None = None  # of the task that HubSpot has started
    answer: str | None = None  # the bridge's response, as JSON


def begin(connection: Connection, wanted: IdempotentRequest) -> IdempotentRequest:
    """Store and return `wanted`; but if a request with this client and key is stored already, return that one.

    A stored request that is older than KEPT is replaced by `wanted`. The result has the `begun_by` of `wanted` if, and
    only if, `wanted` was stored.
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


def has_begun(connection: Connection, repeated: IdempotentRequest) -> bool:
    """Return whether a request with the same client, key and body is stored, and not older than KEPT."""
    same = _is(repeated) & (keyed_requests.c.body_hash == repeated.body_hash)
    found = select(keyed_requests.c.key).where(same, keyed_requests.c.created_at >= repeated.begun_at - KEPT)
    return connection.execute(found).first() is not None


def change(connection: Connection, held: IdempotentRequest, **values: str | datetime) -> bool:
    """Set fields of the stored request `held` to the given `values`; return True.

    If another execution has taken the request over, change nothing and return False.
    """
    changed = update(keyed_requests).where(_is_held(held)).values(**values)
    return connection.execute(changed).rowcount == 1


def forget(connection: Connection, held: IdempotentRequest) -> None:
    """Delete the stored request `held`, so that a repeat of the request is carried out.

    Nothing is deleted if another execution has taken the request over. `forget` must not be called if a task may have
    been started at HubSpot.
    """
    connection.execute(delete(keyed_requests).where(_is_held(held)))


def prune(connection: Connection, now: datetime, *, limit: int) -> int:
    """Delete up to `limit` requests older than KEPT; return how many."""
    names = (keyed_requests.c.client, keyed_requests.c.key)
    over = select(*names).where(keyed_requests.c.created_at < now - KEPT).limit(limit)
    return connection.execute(delete(keyed_requests).where(tuple_(*names).in_(over))).rowcount


def _is(request: IdempotentRequest) -> ColumnElement[bool]:
    return (keyed_requests.c.client == request.client) & (keyed_requests.c.key == request.key)


def _is_held(request: IdempotentRequest) -> ColumnElement[bool]:
    """Return the condition that a row holds this request, and no other execution has taken the row over."""
    return _is(request) & (keyed_requests.c.begun_by == request.begun_by)
