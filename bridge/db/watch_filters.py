"""Filters of watches, and the redelivery of all watches that match."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from bridge.core.watch import REDELIVERABLE, REDELIVERY, Event, Outcome, State, next_state
from bridge.db.dialect_sql import in_subquery
from bridge.db.ids import earliest_watch_id, latest_watch_id
from bridge.db.tables import is_state, watches

# The condition for watches that may be redelivered: those that are `delivered` or `undelivered`.
IS_REDELIVERABLE = or_(*(is_state(state) for state in sorted(REDELIVERABLE)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Conditions on watches, all of which must be met.

    None means no condition. When a field holds several values, a watch must have one of them. The bounds `…_after`
    and `…_before` are exclusive.
    """

    state: Sequence[State] | None = None
    outcome: Sequence[Outcome] | None = None
    kind: Sequence[str] | None = None
    account: str | None = None
    client: str | None = None
    task_id: str | None = None
    callback_host: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    ended_after: datetime | None = None
    ended_before: datetime | None = None
    settled_after: datetime | None = None
    settled_before: datetime | None = None
    last_attempt_after: datetime | None = None
    last_attempt_before: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Redelivered:
    """The result of one batch of a redelivery; `count` is how many watches were redelivered.

    `before` is passed to `redeliver` for the next batch; None means that this batch was the last.
    """

    count: int
    before: str | None


def conditions(filters: Filters) -> list[ColumnElement[bool]]:
    """Return the filters as SQL conditions, all of which must hold."""
    given = {
        field.name: value for field in fields(filters) if (value := getattr(filters, field.name)) is not None
    }
    found = [_condition(name, value) for name, value in given.items()]
    # Ids sort by time, so bounds on them keep a list sorted by id from reading watches that are too new or too old.
    if filters.created_after is not None:
        found.append(watches.c.id >= earliest_watch_id(filters.created_after))
    if filters.created_before is not None:
        found.append(watches.c.id < latest_watch_id(filters.created_before))
    return found


def _condition(name: str, value: Any) -> Any:
    stem, _, bound = name.rpartition("_")
    match bound:
        case "after":
            return watches.c[f"{stem}_at"] > value
        case "before":
            return watches.c[f"{stem}_at"] < value
        case _ if name == "state":
            return or_(*map(is_state, value))
        case _ if isinstance(value, str):
            return watches.c[name] == value
        case _:
            return watches.c[name].in_(value)


def count_redeliverable(connection: Connection, filters: Filters) -> int:
    """Return how many of the watches that match may be redelivered."""
    found = select(func.count()).select_from(watches).where(IS_REDELIVERABLE, *conditions(filters))
    return connection.execute(found).scalar_one()


def redeliver(
    connection: Connection, filters: Filters, *, before: str | None, limit: int, now: datetime
) -> Redelivered:
    """Redeliver the newest watches that match `filters`, at most `limit` of them: their callbacks become due now.

    Only delivered and undelivered watches are taken. If `before` is given, only watches with ids less than `before` are
    taken.
    """
    matching = [
        IS_REDELIVERABLE,
        *conditions(filters),
        *([] if before is None else [watches.c.id < before]),
    ]
    newest_first = select(watches.c.id).where(*matching).order_by(watches.c.id.desc())
    last = connection.scalar(newest_first.offset(limit - 1).limit(1))
    down_to = [] if last is None else [watches.c.id >= last]
    # Rows are locked in the same order everywhere, so that two transactions cannot deadlock.
    batch = select(watches.c.id).where(*matching, *down_to).order_by(watches.c.id).with_for_update()
    done = connection.execute(
        update(watches).where(in_subquery(watches.c.id, batch)).values(_redelivered(now))
    )
    return Redelivered(count=done.rowcount, before=last)


def _redelivered(now: datetime) -> dict[str, Any]:
    state = next_state(State.UNDELIVERED, Event.REDELIVERED)
    return {"state": state, "due_at": now, "claimed_by": None, **REDELIVERY}
