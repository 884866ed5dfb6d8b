"""Lists: which watches a filter means, a page of them, their redelivery, and how many there are."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from bridge.core.watch import SETTLED, Event, Outcome, State, Watch, next_state
from bridge.edges.store.claims import LANES
from bridge.edges.store.gates import GATES
from bridge.edges.store.rows import COLUMNS, to_watch
from bridge.edges.tables import is_state, watches

_ID = re.compile(r"[A-Za-z0-9_]{8,64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """What watches must have in common; None is anything. The two instants themselves are left out."""

    state: State | None = None
    outcome: Outcome | None = None
    kind: str | None = None
    account: str | None = None
    client: str | None = None
    task_id: str | None = None
    callback_host: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Redelivered:
    """A batch of a redelivery: how many, and `before` which id to go on; None when all is done."""

    count: int
    before: str | None


def page(connection: Connection, filters: Filters, *, before: str | None, limit: int) -> list[Watch]:
    """Return up to `limit` watches, newest first, of those made before the watch with that id."""
    found = select(*COLUMNS).where(*_conditions(filters), *_before(before))
    rows = connection.execute(found.order_by(watches.c.id.desc()).limit(limit))
    return [to_watch(row) for row in rows]


def cursor(watch: Watch) -> str:
    """Return what a client sends to get the page after this watch."""
    return _encoded(watch.id)


def id_of(cursor: str) -> str | None:
    """Return the id that a cursor holds; None when it is none of ours."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        return None
    # The decoder skips what it does not know, so a cursor must also be what it would be written as.
    return text if _ID.fullmatch(text) and _encoded(text) == cursor else None


def _encoded(watch_id: str) -> str:
    return urlsafe_b64encode(watch_id.encode()).decode().rstrip("=")


def count_redeliverable(connection: Connection, filters: Filters) -> int:
    """Return how many watches `redeliver` would change."""
    found = select(func.count()).select_from(watches).where(_settled(), *_conditions(filters))
    return connection.execute(found).scalar_one()


def redeliver(
    connection: Connection, filters: Filters, *, before: str | None, limit: int, now: datetime
) -> Redelivered:
    """Start the delivery of up to `limit` settled watches anew, newest first.

    One statement for all of them does what `watch.redeliver` decides for one.
    """
    meant = [_settled(), *_conditions(filters), *_before(before)]
    newest_first = select(watches.c.id).where(*meant).order_by(watches.c.id.desc())
    last = connection.scalar(newest_first.offset(limit - 1).limit(1))
    down_to = [] if last is None else [watches.c.id >= last]
    # In one order everywhere, so that no two redeliveries wait for each other in a circle.
    batch = select(watches.c.id).where(*meant, *down_to).order_by(watches.c.id).with_for_update()
    done = connection.execute(update(watches).where(watches.c.id.in_(batch)).values(_redelivered(now)))
    return Redelivered(count=done.rowcount, before=last)


def _redelivered(now: datetime) -> dict[str, Any]:
    state = next_state(State.UNDELIVERED, Event.REDELIVERED)
    return {"state": state, "due_at": now, "claimed_by": None, "settled_at": None, "tries": 0, "manual": True}


def counts(connection: Connection, client: str | None) -> tuple[Counter[State], Counter[Outcome]]:
    """Return how many watches are in each state, and have each outcome: a client's, or all."""
    states: Counter[State] = Counter()
    outcomes: Counter[Outcome] = Counter()
    for (state, outcome), count in tally(connection, client).items():
        states[state] += count
        if outcome is not None:
            outcomes[outcome] += count
    return states, outcomes


def tally(connection: Connection, client: str | None) -> dict[tuple[State, Outcome | None], int]:
    """Return how many watches there are of each state and outcome together: a client's, or all."""
    found = select(watches.c.state, watches.c.outcome, func.count())
    if client is not None:
        found = found.where(watches.c.client == client)
    rows = connection.execute(found.group_by(watches.c.state, watches.c.outcome))
    return {(state, outcome): count for state, outcome, count in rows}


def oldest_due_at(connection: Connection, state: State, client: str | None, now: datetime) -> datetime | None:
    """Return since when the next step of some watch is due, not counting what waits for a paused party."""
    gates = GATES[state]
    paused = select(gates.c.name).where(gates.c.paused_until.is_not(None))
    due = select(func.min(watches.c.due_at)).where(
        is_state(state), watches.c.due_at <= now, LANES[state].not_in(paused)
    )
    if client is not None:
        due = due.where(watches.c.client == client)
    return connection.execute(due).scalar()


def _before(watch_id: str | None) -> list[ColumnElement[bool]]:
    return [] if watch_id is None else [watches.c.id < watch_id]


def _settled() -> ColumnElement[bool]:
    return or_(*(is_state(state) for state in sorted(SETTLED)))


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    equal = ("outcome", "kind", "account", "client", "task_id", "callback_host")
    conditions: list[ColumnElement[bool]] = [
        watches.c[name] == wanted for name in equal if (wanted := getattr(filters, name)) is not None
    ]
    if filters.state is not None:
        conditions.append(is_state(filters.state))
    if filters.created_after is not None:
        conditions.append(watches.c.created_at > filters.created_after)
    if filters.created_before is not None:
        conditions.append(watches.c.created_at < filters.created_before)
    return conditions
