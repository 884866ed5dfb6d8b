"""Watches in a real database, claimed and saved as the steps do it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Table, insert

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.delivery import RetryPolicy, after_attempt
from bridge.core.kinds import KINDS
from bridge.core.polling import after_answer
from bridge.core.quota import Usage
from bridge.core.watch import State, Watch
from bridge.db import claims, watches
from bridge.db.claims import Claimant, StepResult
from bridge.db.ids import earliest_watch_id
from bridge.db.rows import CHANGING, REGISTERED, values_of
from bridge.db.tables import account_breakers, host_breakers
from bridge.db.tables import watches as table
from tests.makers import NOW, a_watch, an_answer, an_ended_watch, later

ONE = Claimant(worker="worker-1", lease_seconds=60)
OTHER = Claimant(worker="worker-2", lease_seconds=60)
ONE_TRY = RetryPolicy(schedule_seconds=(), jitter_share=0)


def added(engine: Engine, *new: Watch) -> Sequence[Watch]:
    with engine.begin() as connection:
        connection.execute(
            insert(table), [values_of(watch, REGISTERED) | values_of(watch, CHANGING) for watch in new]
        )
    return new


def due(number: int, state: State = State.WATCHING, *, lane: str = "a", at: float = 0) -> Watch:
    """Return a watch in a lane, due at this second."""
    watch = an_ended_watch() if state is State.DELIVERING else a_watch(timeout_seconds=86_400)
    return replace(watch, id=f"wat_{number:08}", account=lane, callback_host=lane, due_at=later(at))


def claim(
    engine: Engine,
    shares: dict[str, int],
    *,
    by: Claimant = ONE,
    state: State = State.WATCHING,
    now: datetime = NOW,
) -> list[Watch]:
    with engine.begin() as connection:
        return claims.claim(connection, state, shares, by, now)


def saved(engine: Engine, *results: StepResult, by: Claimant = ONE) -> list[StepResult]:
    with engine.begin() as connection:
        return claims.save(connection, results, by.worker)


def stored(engine: Engine, watch: Watch) -> Watch:
    with engine.begin() as connection:
        found = watches.get(connection, watch.id)
    assert found is not None
    return found


each_kind = pytest.mark.parametrize(
    ("state", "breaker_table"),
    [(State.WATCHING, account_breakers), (State.DELIVERING, host_breakers)],
    ids=["polls", "calls"],
)


def pause(connection: Connection, breaker_table: Table, lanes: Mapping[str, datetime | None]) -> None:
    """Give each lane a circuit breaker that is paused until then, or not at all."""
    fields: dict[str, Any] = asdict(CircuitBreaker()) | (
        asdict(Usage()) if breaker_table is account_breakers else {}
    )
    rows = [fields | {"name": lane, "paused_until": until} for lane, until in lanes.items()]
    connection.execute(insert(breaker_table), rows)


def polled(claimed: Watch) -> StepResult:
    answer = an_answer(200, {"status": "PENDING"})
    after = after_answer(KINDS[claimed.kind], claimed, answer, now=NOW, jitter=0)
    return StepResult(claimed=claimed, watch=after.watch, hubspot_body=after.hubspot_body)


def delivered(claimed: Watch) -> StepResult:
    done = after_attempt(claimed, an_answer(200), started_at=NOW, now=NOW, policy=ONE_TRY, jitter=0)
    return StepResult(claimed=claimed, watch=done.watch, attempt=done.attempt)


def ids(found: Sequence[Watch]) -> list[str]:
    return [watch.id for watch in found]


def numbered(number: int, state: State = State.WATCHING, **others: Any) -> Watch:
    """Return a watch created at this second, with an id of that instant."""
    settled = state not in (State.WATCHING, State.DELIVERING)
    fields: dict[str, Any] = {
        "id": earliest_watch_id(later(number)),
        "task_id": f"task-{number}",
        "state": state,
        "created_at": later(number),
        "due_at": None if settled else later(number),
        "settled_at": NOW if settled else None,
    }
    return a_watch(**fields | others)
