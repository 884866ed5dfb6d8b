"""Requests with an Idempotency-Key: the progress of each, and the response to it."""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, select, tuple_, update

from bridge.db.dialect_sql import dialect_insert
from bridge.db.tables import keyed_requests

KEPT = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyedRequest:
    """One request, by its client and key. `begun_by` names the attempt that carries it out."""

    client: str
    key: str
    body_hash: str
    begun_at: datetime
    begun_by: str
    asked_at: datetime | None = None  # from then on HubSpot may know of it
    task_id: str | None = None  # HubSpot's answer
    answer: str | None = None  # ours, as JSON


def begin(connection: Connection, wanted: KeyedRequest) -> KeyedRequest:
    """Store a request, unless one with its key is stored already; return the stored one."""
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
    # A change that changes nothing holds the row that is there: nobody forgets it before it has been read.
    unchanged = {"key": keyed_requests.c.key}
    columns = [keyed_requests.c[field.name] for field in fields(KeyedRequest)]
    kept = add.on_conflict_do_update(index_elements=["client", "key"], set_=unchanged).returning(*columns)
    return KeyedRequest(**connection.execute(kept).mappings().one())


def take_over(connection: Connection, kept: KeyedRequest, *, begun_by: str, now: datetime) -> bool:
    """Let another attempt carry a request out; False when another has taken it over first."""
    return _change(connection, kept, begun_by=begun_by, begun_at=now)


def note_asking(connection: Connection, held: KeyedRequest, now: datetime) -> bool:
    """Note that the request to HubSpot is about to be sent; False when another attempt has taken this one over."""
    return _change(connection, held, asked_at=now)


def note_task(connection: Connection, held: KeyedRequest, task_id: str) -> None:
    """Note the task that HubSpot has started."""
    _change(connection, held, task_id=task_id)


def note_answer(connection: Connection, held: KeyedRequest, answer: str) -> None:
    """Store the response, which a repeat of the request gets too."""
    _change(connection, held, answer=answer)


def forget(connection: Connection, held: KeyedRequest) -> None:
    """Delete a request that was not carried out, so that a repeat of it is carried out."""
    connection.execute(delete(keyed_requests).where(_is(held), _is_held(held)))


def prune(connection: Connection, now: datetime, *, limit: int) -> int:
    """Delete up to `limit` requests whose 24 h are over."""
    names = (keyed_requests.c.client, keyed_requests.c.key)
    over = select(*names).where(keyed_requests.c.created_at < now - KEPT).limit(limit)
    return connection.execute(delete(keyed_requests).where(tuple_(*names).in_(over))).rowcount


def _change(connection: Connection, held: KeyedRequest, **values: object) -> bool:
    changed = update(keyed_requests).where(_is(held), _is_held(held)).values(**values)
    return connection.execute(changed).rowcount == 1


def _is(request: KeyedRequest) -> ColumnElement[bool]:
    return (keyed_requests.c.client == request.client) & (keyed_requests.c.key == request.key)


def _is_held(request: KeyedRequest) -> ColumnElement[bool]:
    """Return the condition that the request is still held by the attempt that began it."""
    return keyed_requests.c.begun_by == request.begun_by
