"""Claims due watches for a worker and saves its results; until the lease ends, no other worker claims the watch.

A claim moves `due_at` to the lease's end and sets `claimed_by`; a save drops a result if either has changed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    column,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import Float

from bridge.core.delivery import Attempt
from bridge.core.fairness import lane_of
from bridge.core.polling import YOUNG_SECONDS, half_young
from bridge.core.watch import State, Watch
from bridge.db import batches, breakers
from bridge.db.column_types import Instant
from bridge.db.dialect_sql import DialectSQL, in_parameter, in_subquery
from bridge.db.rows import ATTEMPT, CHANGING, COLUMNS, to_watch, values_of
from bridge.db.tables import account_breakers, answers, attempts, is_state, watches

# The column that names a watch's lane, by state: the account for a poll, the host for a callback.
LANES = {State.WATCHING: watches.c.account, State.DELIVERING: watches.c.callback_host}

# Statements are built once: to build one costs more than to run it.
_NOW = bindparam("now", type_=Instant)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimant:
    """The id of the worker that claims, and the length of its leases."""

    worker: str
    lease_seconds: float

    def lease_ends_at(self, now: datetime) -> datetime:
        """Return the end of the lease of a watch that is claimed `now`."""
        return now + timedelta(seconds=self.lease_seconds)

    def terms(self, now: datetime) -> dict[str, Any]:
        """Return the SQL parameters that all claims need: the worker, `now`, and the end of the lease."""
        return {"worker": self.worker, "now": now, "lease_ends_at": self.lease_ends_at(now)}


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """The result of a poll or an attempt, for `save`.

    `claimed` is the watch before the step, with the lease of its claim. `watch` is the watch after the step, to be
    saved. `hubspot_body` is HubSpot's answer to a poll, as JSON text; None leaves the stored answer as it is.
    `attempt` is None after a poll.
    """

    claimed: Watch
    watch: Watch
    hubspot_body: str | None = None
    attempt: Attempt | None = None


def claim(
    connection: Connection, state: State, shares: Mapping[str, int], claimant: Claimant, now: datetime
) -> list[Watch]:
    """Claim, for each account or host in `shares`, the watches in `state` that have been due longest.

    `shares` maps the name of each account (for polls) or host (for callbacks) to the largest number of watches to
    claim for it. The caller has made sure that the circuit breakers and quotas allow these numbers.
    """
    wanted = {lane: count for lane, count in shares.items() if count > 0}
    if not wanted:
        return []
    terms = claimant.terms(now)
    if connection.dialect.name == "postgresql":
        lanes = {"lanes": list(wanted), "counts": list(wanted.values())}
        return [to_watch(row) for row in connection.execute(_CLAIM_OF_LANES[state], lanes | terms)]
    # Only PostgreSQL has LATERAL; without a server, a statement for each lane costs little.
    claimed = (
        connection.execute(_CLAIM_OF_LANE[state], {"lane": lane, "count": count} | terms)
        for lane, count in wanted.items()
    )
    return [to_watch(row) for rows in claimed for row in rows]


def claim_urgent(
    connection: Connection, account: str, count: int, claimant: Claimant, now: datetime, *, odd_to_young: bool
) -> list[Watch]:
    """Claim the most urgent of an account's due polls, up to `count`, when the account's quota is short.

    The urgency of a poll (`polling.urgency`) grows with this ratio: the time since the last poll, divided by the
    usual gap between polls at the task's age. Up to half of `count` are polls of the most urgent young watches
    (`age_zero_at` less than YOUNG_SECONDS ago). The others are polls of the most urgent remaining watches, of any
    age. If `count` is odd, `odd_to_young` says whether the half for young watches is the larger one. The caller has
    locked the account's limits.
    """
    due = {"lane": account, "count": count, "now": now}
    young_since = now - timedelta(seconds=YOUNG_SECONDS)
    young = connection.scalars(_MOST_URGENT_YOUNG, due | {"young_since": young_since}).all()
    every = connection.scalars(_MOST_URGENT, due).all()
    chosen = half_young(young, every, count=count, odd_to_young=odd_to_young)
    rows = connection.execute(_CLAIM_CHOSEN, {"ids": chosen} | claimant.terms(now))
    return [to_watch(row) for row in rows]


def claim_least_refused(
    connection: Connection, account: str, claimant: Claimant, now: datetime
) -> list[Watch]:
    """Claim the account's due watch whose task HubSpot has refused the fewest times in a row.

    This watch's poll is the account's trial request: its task is the least likely cause of the refusals. The caller has
    locked the account's limits, and makes the account's breaker half open if a watch was claimed. Returns the watch in
    a list, or an empty list when no watch is due.
    """
    rows = connection.execute(_CLAIM_LEAST_REFUSED, {"lane": account, "count": 1} | claimant.terms(now))
    return [to_watch(row) for row in rows]


def _due(state: State) -> Select[Any]:
    return select(watches.c.id).where(
        is_state(state), LANES[state] == bindparam("lane"), watches.c.due_at <= _NOW
    )


def _claim_statement(*which: ColumnElement[bool]) -> ReturningUpdate[Any]:
    lease = {"due_at": bindparam("lease_ends_at", type_=Instant), "claimed_by": bindparam("worker")}
    return update(watches).where(*which).values(lease).returning(*COLUMNS)


_LIMIT = bindparam("count", type_=Integer)


def _first_due(state: State, *order: ColumnElement[Any]) -> Select[Any]:
    return _due(state).order_by(*order).limit(_LIMIT).with_for_update(skip_locked=True)


def _claim_of_lane(state: State) -> ReturningUpdate[Any]:
    return _claim_statement(in_subquery(watches.c.id, _first_due(state, watches.c.due_at)))


def _claim_of_lanes(state: State) -> ReturningUpdate[Any]:
    wanted = bindparam("lanes", type_=ARRAY(Text)), bindparam("counts", type_=ARRAY(Integer))
    lanes = func.unnest(*wanted).table_valued("lane", column("count", Integer)).render_derived(name="lanes")
    of_lane = is_state(state), LANES[state] == lanes.c.lane, watches.c.due_at <= _NOW
    longest_due = select(watches.c.id).where(*of_lane).order_by(watches.c.due_at).limit(lanes.c.count)
    due = longest_due.with_for_update(skip_locked=True).lateral()
    return _claim_statement(in_subquery(watches.c.id, select(due.c.id).select_from(lanes.join(due, true()))))


_CLAIM_OF_LANE = {state: _claim_of_lane(state) for state in LANES}
_CLAIM_OF_LANES = {state: _claim_of_lanes(state) for state in LANES}
# If even a task that was not refused before is refused now, the account is likely the cause.
_CLAIM_LEAST_REFUSED = _claim_statement(
    in_subquery(watches.c.id, _first_due(State.WATCHING, watches.c.refusals, watches.c.due_at))
)
_CLAIM_CHOSEN = _claim_statement(
    in_parameter(watches.c.id, "ids"), is_state(State.WATCHING), watches.c.due_at <= _NOW
)


def _urgency() -> ColumnElement[float]:
    """Return `polling.urgency` as SQL: waited^2 / max(age + 4, age^2 / 900).

    `waited` is the seconds since the last poll, or since the registration if there was no poll; `age` is the seconds
    since `age_zero_at`.
    """
    waited = _SecondsSince(func.coalesce(watches.c.last_polled_at, watches.c.created_at))
    age = _SecondsSince(watches.c.age_zero_at)
    expected = case((age * age / 900 > age + 4, age * age / 900), else_=age + 4)
    return waited * waited / expected


class _SecondsSince(DialectSQL[float]):
    """The seconds from a column's instant until the instant in the statement's parameter `now`.

    In the SQL, `{0}` is `now`, and `{1}` is the column.
    """

    type = Float()
    inherit_cache = True
    sql_by_dialect: ClassVar = {
        "postgresql": "EXTRACT(EPOCH FROM ({0} - {1}))",
        "sqlite": "((julianday({0}) - julianday({1})) * 86400.0)",
    }

    def __init__(self, since: ColumnElement[Any]) -> None:
        super().__init__(_NOW, since)


# Skips rows that a late worker has locked to save its results. To wait for them could be a deadlock: that worker waits
# for the account's row, which this transaction has locked.
_MOST_URGENT = (
    _due(State.WATCHING).order_by(_urgency().desc()).limit(_LIMIT).with_for_update(skip_locked=True)
)
_MOST_URGENT_YOUNG = _MOST_URGENT.where(watches.c.age_zero_at > bindparam("young_since", type_=Instant))


def save(connection: Connection, results: Sequence[StepResult], worker: str) -> list[StepResult]:
    """Save the results whose leases were not lost, and return these results."""
    ours = _still_ours(connection, [result.claimed for result in results], worker)
    kept = [result for result in results if result.claimed.id in ours]
    save_watches(connection, [result.watch for result in kept])
    bodies = [{"watch_id": r.watch.id, "body": r.hubspot_body} for r in kept if r.hubspot_body is not None]
    batches.run(connection, _KEEP_ANSWERS, bodies)
    made = [values_of(result.attempt, ATTEMPT) for result in kept if result.attempt is not None]
    batches.run(connection, _ADD_ATTEMPTS, made)
    return kept


def withdrawn(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return which of the watches with these `ids` are withdrawn."""
    return set(connection.scalars(_WITHDRAWN, {"ids": list(ids)})) if ids else set()


_WITHDRAWN = select(watches.c.id).where(in_parameter(watches.c.id, "ids"), is_state(State.WITHDRAWN))


def save_watches(connection: Connection, changed: Collection[Watch]) -> None:
    """Save changed watches. The caller has locked their rows."""
    batches.run(connection, _PUT, [values_of(watch, ("id", *CHANGING)) for watch in changed])


_PUT = batches.updating(watches, "id", CHANGING)
_ADD_ATTEMPTS = batches.inserting(attempts, ATTEMPT, lambda insert: insert)
_KEEP_ANSWERS = batches.inserting(
    answers,
    ("watch_id", "body"),
    lambda insert: insert.on_conflict_do_update(
        index_elements=["watch_id"], set_={"body": insert.excluded.body}
    ),
)


def _still_ours(connection: Connection, claimed: Sequence[Watch], worker: str) -> set[str]:
    leases = {watch.id: watch.due_at for watch in claimed}
    rows = connection.execute(_HELD, {"ids": list(leases), "worker": worker})
    return {row.id for row in rows if row.due_at == leases[row.id]}


# Rows are locked in the same order everywhere, so that two transactions cannot deadlock.
_HELD = (
    select(watches.c.id, watches.c.due_at)
    .where(in_parameter(watches.c.id, "ids"), watches.c.claimed_by == bindparam("worker"))
    .order_by(watches.c.id)
    .with_for_update()
)


def give_back(connection: Connection, claimed: Sequence[Watch], worker: str, now: datetime) -> int:
    """Give back claimed watches: they become due now. Returns how many were given back.

    Watches whose lease the worker no longer holds are left as they are. A claim may have been for the trial request of
    an account or host. Then the next trial of this account or host is due now, too.
    """
    ours = _still_ours(connection, claimed, worker)
    if ours:
        connection.execute(_GIVE_BACK, {"ids": list(ours), "now": now})
    # Hosts are locked before accounts, as everywhere, so that two transactions cannot deadlock.
    for state in (State.DELIVERING, State.WATCHING):
        leases = {(lane_of(w)[1], w.due_at) for w in claimed if w.state is state and w.due_at}
        breakers.release_trials(connection, state, leases, now)
    return len(ours)


_GIVE_BACK = update(watches).where(in_parameter(watches.c.id, "ids")).values(due_at=_NOW, claimed_by=None)


def lock_overdue(
    connection: Connection, now: datetime, *, steady_since: datetime, grace_seconds: float, limit: int
) -> list[Watch]:
    """Lock and return up to `limit` due watches past their deadline, to be ended without a last poll.

    The caller's worker has been able to poll without a break from `steady_since` until now. Only watches in the state
    WATCHING are returned, of two kinds:

    - The watch's account is paused now, and the watch's deadline passed between `steady_since` and now.
    - The watch's deadline and `due_at` are both at least `grace_seconds` ago. Watches of this kind are returned only
      when `steady_since` is at least `grace_seconds` ago, too.
    """
    paused = select(account_breakers.c.name).where(account_breakers.c.paused_until > now)
    # Not a deadline that passed before: the account may seem paused only because nobody could send its trial.
    ends = [and_(watches.c.account.in_(paused), watches.c.deadline_at >= steady_since)]
    late = now - timedelta(seconds=grace_seconds)
    if steady_since <= late:
        ends.append(and_(watches.c.deadline_at <= late, watches.c.due_at <= late))
    found = (
        select(*COLUMNS)
        .where(is_state(State.WATCHING), watches.c.deadline_at <= now, watches.c.due_at <= now)
        .where(or_(*ends))
        .order_by(watches.c.deadline_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [to_watch(row) for row in connection.execute(found)]
