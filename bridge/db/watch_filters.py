"""Filters of watches, the redelivery of all watches that match, counts, and a few other queries."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, literal, or_, select, update

from bridge.core.watch import REDELIVERABLE, Event, Outcome, State, next_state
from bridge.db.breakers import BREAKERS
from bridge.db.claims import LANES
from bridge.db.dialect_sql import in_subquery
from bridge.db.due_lanes import due_lanes
from bridge.db.ids import earliest_watch_id, latest_watch_id
from bridge.db.tables import is_state, watches

NEWEST_SCANNED = 1000
OLDEST_DUE_SAMPLE = 100


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

    `before` is the id to pass as `before` for the next batch; None after the last batch.
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
    """Return how many watches all batches of `redeliver` together would change."""
    found = select(func.count()).select_from(watches).where(is_redeliverable(), *conditions(filters))
    return connection.execute(found).scalar_one()


def count_up_to(connection: Connection, most: int, *which: ColumnElement[bool]) -> int:
    """Return how many watches meet all conditions in `which`, but at most `most`."""
    found = select(literal(1)).select_from(watches).where(*which).limit(most).subquery()
    return connection.execute(select(func.count()).select_from(found)).scalar_one()


def redeliver(
    connection: Connection, filters: Filters, *, before: str | None, limit: int, now: datetime
) -> Redelivered:
    """Redeliver up to `limit` redeliverable watches that match, newest first: their callbacks are due now.

    Only watches with ids less than `before` are taken; None sets no bound.
    """
    matching = [
        is_redeliverable(),
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
    # The same fields as `core.watch.redeliver` sets.
    state = next_state(State.UNDELIVERED, Event.REDELIVERED)
    return {"state": state, "due_at": now, "claimed_by": None, "settled_at": None, "tries": 0, "manual": True}


def counts(connection: Connection, client: str | None) -> tuple[Counter[State], Counter[Outcome]]:
    """Count watches by state, and by outcome: those of `client`, or all if it is None."""
    states: Counter[State] = Counter()
    outcomes: Counter[Outcome] = Counter()
    found = select(watches.c.state, watches.c.outcome, func.count())
    if client is not None:
        found = found.where(watches.c.client == client)
    for state, outcome, count in connection.execute(found.group_by(watches.c.state, watches.c.outcome)):
        states[state] += count
        if outcome is not None:
            outcomes[outcome] += count
    return states, outcomes


def oldest_due_at(connection: Connection, state: State, client: str | None, now: datetime) -> datetime | None:
    """Return the oldest `due_at` of the due watches in a state: those of `client`, or all if it is None.

    Watches that wait for a paused account or host do not count. None when no other watch is due.
    """
    breakers, lane = BREAKERS[state], LANES[state]
    paused = select(breakers.c.name).where(breakers.c.paused_until.is_not(None))
    due = select(lane, watches.c.due_at).where(is_state(state), watches.c.due_at <= now)
    if client is not None:
        theirs = due.where(watches.c.client == client, lane.not_in(paused)).subquery()
        return connection.execute(select(func.min(theirs.c.due_at))).scalar()
    waiting = set(connection.scalars(paused))
    longest_due = connection.execute(due.order_by(watches.c.due_at).limit(OLDEST_DUE_SAMPLE)).all()
    if len(longest_due) < OLDEST_DUE_SAMPLE or not waiting.issuperset(name for name, _ in longest_due):
        return next((due_at for name, due_at in longest_due if name not in waiting), None)
    # All watches of the sample wait for paused accounts or hosts, and more may follow: each lane is looked at instead.
    lanes = due_lanes(connection, state, now)
    return min((due_at for name, due_at in lanes.items() if name not in waiting), default=None)


def newest_callback_urls(connection: Connection) -> Sequence[str]:
    """Return the callback URLs of the newest watches, at most NEWEST_SCANNED, newest first."""
    newest = select(watches.c.callback_url).order_by(watches.c.id.desc()).limit(NEWEST_SCANNED)
    return connection.scalars(newest).all()


def kinds_of_account(connection: Connection, account: str) -> frozenset[str]:
    """Return the kinds of a sample of an account's watches; kinds may be missing.

    The sample is up to NEWEST_SCANNED of the account's watches that are still polled, and its watches among
    the newest NEWEST_SCANNED watches of all accounts.
    """
    to_poll = select(watches.c.kind).where(watches.c.account == account, is_state(State.WATCHING))
    newest = select(watches.c.account, watches.c.kind).order_by(watches.c.id.desc()).limit(NEWEST_SCANNED)
    found = [row.kind for row in connection.execute(newest) if row.account == account]
    return frozenset((*found, *connection.scalars(to_poll.limit(NEWEST_SCANNED))))


def is_redeliverable() -> ColumnElement[bool]:
    """Return the condition for watches that may be redelivered: those that are `delivered` or `undelivered`."""
    return or_(*(is_state(state) for state in sorted(REDELIVERABLE)))
