"""A transactional outbox: an event for the operator is added in the transaction of the change that it reports.

Until the first attempt to send it, further events of the same type and subject are merged into its row.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from operator import attrgetter
from secrets import token_hex
from typing import Any

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

from bridge.core.operator_events import OPPOSITES, OperatorEvent, OperatorEventType
from bridge.db.column_types import Instant
from bridge.db.dialect_sql import dialect_insert
from bridge.db.tables import operator_events

# After an event is settled, the next event of its type and subject waits at least this long for its first attempt.
APART = timedelta(seconds=60)
# An event about a callback that was given up waits this long for others to be merged into it.
QUIET = timedelta(seconds=5)
# Settled events are kept for a day for a person who reads the table.
KEPT = timedelta(days=1)

_EVENT = tuple(field.name for field in fields(OperatorEvent))
_OPPOSITE_VALUES = {type_.value: opposite.value for type_, opposite in OPPOSITES.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedEvent:
    """A claimed event. `due_at` is the end of the lease; `attempts` includes the one about to begin."""

    id: str
    event: OperatorEvent
    attempts: int
    due_at: datetime


def add(connection: Connection, events: Iterable[OperatorEvent]) -> None:
    """Store events to be sent.

    An event is merged into the stored one of the same type and subject, if no attempt has been made to send that yet.
    Call this last in a transaction, because other transactions with the same event wait until the commit.
    """
    # Rows are locked in the same order everywhere, so that two transactions cannot deadlock.
    if rows := [_row(event) for event in sorted(events, key=attrgetter("type", "subject"))]:
        connection.execute(_merging(dialect_insert(connection, operator_events)), rows)


def _row(event: OperatorEvent) -> dict[str, object]:
    quiet = QUIET if event.type is OperatorEventType.CALLBACK_GIVEN_UP else timedelta(0)
    return asdict(event) | {
        "id": f"evt_{token_hex(16)}",
        "attempts": 0,
        "due_at": event.last_at + quiet,
        "waits_if_since": event.last_at - APART,
    }


def _merging(added: Any) -> Any:
    new, old = added.excluded, operator_events.c
    # Processes may store their events in another order than they happened.
    is_newest, is_oldest = new.last_at >= old.last_at, new.since < old.since
    # A newer event moves `due_at`, but only within APART of the first. Without a quiet time, it stays due at once.
    may_wait = and_(is_newest, old.since > bindparam("waits_if_since", type_=Instant))
    return added.on_conflict_do_update(
        index_elements=["type", "subject"],
        index_where=text("attempts = 0"),
        set_={
            "count": old.count + new.count,
            "reason": case((is_newest, new.reason), else_=old.reason),
            "since": case((is_oldest, new.since), else_=old.since),
            "last_at": case((is_newest, new.last_at), else_=old.last_at),
            "due_at": case((may_wait, new.due_at), else_=old.due_at),
        },
    )


def next_due(connection: Connection, now: datetime) -> str | None:
    """Return the id of the event that has been due longest; None when no event may be sent now.

    Events that must wait for another event with the same `subject` (an account, a host or a worker) are left out.
    """
    return connection.scalar(_NEXT, {"now": now, "settled_after": now - APART})


def _is_held_up() -> ColumnElement[bool]:
    mine, others = operator_events.c, operator_events.alias("others").c
    is_open = others.due_at.is_not(None)
    predecessor = and_(
        others.type == mine.type,
        others.attempts > 0,
        or_(is_open, others.settled_at > bindparam("settled_after", type_=Instant)),
    )
    # Opposite events, such as a pause and its end, arrive in order.
    opposite = and_(
        others.type == case(_OPPOSITE_VALUES, value=mine.type), is_open, others.last_at < mine.last_at
    )
    return and_(
        mine.attempts == 0,
        select(others.id).where(others.subject == mine.subject, or_(predecessor, opposite)).exists(),
    )


_NEXT = (
    select(operator_events.c.id)
    .where(operator_events.c.due_at <= bindparam("now", type_=Instant), ~_is_held_up())
    .order_by(operator_events.c.due_at, operator_events.c.id)
    .limit(1)
)


def claim(
    connection: Connection, event_id: str, now: datetime, *, lease_ends_at: datetime
) -> ClaimedEvent | None:
    """Claim a due event for an attempt; return None when it is no longer due.

    No other event is merged into an event that has been claimed.
    """
    claimed = (
        update(operator_events)
        .where(operator_events.c.id == event_id, operator_events.c.due_at <= now)
        .values(due_at=lease_ends_at, attempts=operator_events.c.attempts + 1)
        .returning(operator_events)
    )
    row = connection.execute(claimed).mappings().first()
    if row is None:
        return None
    event = OperatorEvent(**{name: row[name] for name in _EVENT})
    return ClaimedEvent(id=row["id"], event=event, attempts=row["attempts"], due_at=row["due_at"])


def save(connection: Connection, sent: ClaimedEvent, *, due_at: datetime | None, now: datetime) -> None:
    """Save the result of an attempt to send the event `sent`.

    `due_at` is the instant of the next attempt. None means that nothing is left to do: the event is settled at `now`.
    Changes nothing when the lease of `sent` has ended and the event has been claimed again.
    """
    still_mine = operator_events.c.id == sent.id, operator_events.c.due_at == sent.due_at
    settled_at = None if due_at else now
    connection.execute(
        update(operator_events).where(*still_mine).values(due_at=due_at, settled_at=settled_at)
    )


def waiting(connection: Connection) -> tuple[int, datetime | None]:
    """Return how many events wait to be sent, and when the oldest of these happened (None for 0 events)."""
    found = select(func.count(), func.min(operator_events.c.since)).where(
        operator_events.c.due_at.is_not(None)
    )
    count, since = connection.execute(found).one()
    return count, since


def prune(connection: Connection, now: datetime) -> None:
    """Delete the events that were settled longer ago than KEPT."""
    connection.execute(delete(operator_events).where(operator_events.c.settled_at < now - KEPT))
