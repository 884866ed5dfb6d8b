"""The outbox of events for the operator: each is added in the transaction in which it happened, and sent later.

An event that nobody has tried to send yet collects: what happens of the same type to the same subject is counted in
it. The first attempt ends that, so that each attempt sends the same; what happens later makes an event of its own.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from secrets import token_hex

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    text,
    update,
)

from bridge.core.operator_events import OPPOSITES, OperatorEvent
from bridge.db.column_types import Instant
from bridge.db.dialect_sql import for_each_dialect
from bridge.db.tables import operator_events

# At most one event of a type and subject within this time, from the end of one to the start of the next.
APART = timedelta(seconds=60)
# Settled events are kept for a day for a person who reads the table.
KEPT = timedelta(days=1)

_EVENT = tuple(field.name for field in fields(OperatorEvent))
_OPPOSITE_VALUES = {type_.value: opposite.value for type_, opposite in OPPOSITES.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """An event that may be sent: the process that first changes its `due_at` sends it."""

    id: str
    due_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """An event that is being sent until `due_at`, the end of the lease; `attempts` counts this one, too."""

    id: str
    event: OperatorEvent
    attempts: int
    due_at: datetime


def add(connection: Connection, events: Sequence[OperatorEvent]) -> None:
    """Keep events, `merged`, for sending.

    Their rows are locked until the transaction ends: call it last, so that nobody waits for them for long.
    """
    if not events:
        return
    rows = [
        asdict(event) | {"id": f"evt_{token_hex(16)}", "attempts": 0, "due_at": event.last_at}
        for event in events
    ]
    connection.execute(_ADD[connection.dialect.name], rows)


_ADD = for_each_dialect(
    lambda insert: (new := insert(operator_events)).on_conflict_do_update(
        index_elements=["type", "subject"],
        index_where=text("attempts = 0"),
        set_={
            "count": operator_events.c.count + new.excluded.count,
            "reason": new.excluded.reason,
            "last_at": new.excluded.last_at,
        },
    )
)


def next_due(connection: Connection, now: datetime) -> Due | None:
    """Return the event that may be sent now and has been due for the longest.

    An event that has not been tried waits until the one before it of its type and subject has been settled for a
    minute. It also waits while its opposite happened earlier and is not settled, so that the two arrive in order.
    """
    row = connection.execute(_NEXT, {"now": now, "settled_after": now - APART}).first()
    return Due(id=row.id, due_at=row.due_at) if row else None


def _is_held_up() -> ColumnElement[bool]:
    mine, others = operator_events.c, operator_events.alias("others").c
    is_open = others.due_at.is_not(None)
    predecessor = and_(
        others.type == mine.type,
        others.attempts > 0,
        or_(is_open, others.settled_at > bindparam("settled_after", type_=Instant)),
    )
    opposite = and_(
        others.type == case(_OPPOSITE_VALUES, value=mine.type), is_open, others.last_at < mine.last_at
    )
    return and_(
        mine.attempts == 0,
        select(others.id).where(others.subject == mine.subject, or_(predecessor, opposite)).exists(),
    )


_NEXT = (
    select(operator_events.c.id, operator_events.c.due_at)
    .where(operator_events.c.due_at <= bindparam("now", type_=Instant), ~_is_held_up())
    .order_by(operator_events.c.due_at, operator_events.c.id)
    .limit(1)
)


def claim(connection: Connection, due: Due, *, lease_ends_at: datetime) -> Claimed | None:
    """Claim an event, which collects no more; None when another process was first."""
    claimed = (
        update(operator_events)
        .where(operator_events.c.id == due.id, operator_events.c.due_at == due.due_at)
        .values(due_at=lease_ends_at, attempts=operator_events.c.attempts + 1)
        .returning(operator_events)
    )
    row = connection.execute(claimed).mappings().first()
    if row is None:
        return None
    event = OperatorEvent(**{name: row[name] for name in _EVENT})
    return Claimed(id=row["id"], event=event, attempts=row["attempts"], due_at=row["due_at"])


def save(connection: Connection, sent: Claimed, *, due_at: datetime | None, now: datetime) -> None:
    """Keep when an event is tried again, or, with None, that nothing is left to do.

    When its lease has run out, another process is at it, and nothing changes.
    """
    still_mine = operator_events.c.id == sent.id, operator_events.c.due_at == sent.due_at
    settled_at = None if due_at else now
    connection.execute(
        update(operator_events).where(*still_mine).values(due_at=due_at, settled_at=settled_at)
    )


def waiting(connection: Connection) -> tuple[int, datetime | None]:
    """Return how many events are not settled, and since when the oldest has been waiting."""
    found = select(func.count(), func.min(operator_events.c.since)).where(
        operator_events.c.due_at.is_not(None)
    )
    count, since = connection.execute(found).one()
    return count, since


def prune(connection: Connection, now: datetime) -> None:
    """Delete the events that were settled a day ago."""
    connection.execute(delete(operator_events).where(operator_events.c.settled_at < now - KEPT))
