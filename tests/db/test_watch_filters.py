"""Redelivery in bulk, counts, and what is due."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, insert, text

from bridge.core.watch import Outcome, State, redeliver
from bridge.db import readiness, watch_filters, watches
from bridge.db.tables import account_breakers, host_breakers
from bridge.db.watch_filters import Filters
from tests.db.claiming import added, numbered
from tests.db.plans import plan_of
from tests.makers import NOW, later
from tests.threads import at_once

BREAKER = {"failures": 1, "pause_seconds": 30.0}


def redelivered(
    engine: Engine, filters: Filters, *, before: str | None, limit: int
) -> watch_filters.Redelivered:
    with engine.begin() as connection:
        return watch_filters.redeliver(connection, filters, before=before, limit=limit, now=later(60))


def test_a_redelivery_goes_on_where_the_batch_before_ended(engine: Engine) -> None:
    added(engine, *(numbered(number, State.DELIVERED) for number in range(5)))
    first = redelivered(engine, Filters(), before=None, limit=2)
    second = redelivered(engine, Filters(), before=first.before, limit=2)
    third = redelivered(engine, Filters(), before=second.before, limit=2)
    assert [first.count, second.count, third.count] == [2, 2, 1]
    assert [first.before, second.before, third.before] == [numbered(3).id, numbered(1).id, None]


def test_only_what_is_settled_is_redelivered_and_as_the_core_decides(engine: Engine) -> None:
    others = {"outcome": Outcome.FAILED, "attempts": 3, "tries": 3, "last_error": "The receiver answered 500"}
    settled = [numbered(1, State.DELIVERED, **others), numbered(2, State.UNDELIVERED, **others)]
    left_alone = [numbered(3), numbered(4, State.DELIVERING, **others), numbered(5, State.WITHDRAWN)]
    added(engine, *settled, *left_alone)
    with engine.begin() as connection:
        assert watch_filters.count_redeliverable(connection, Filters()) == 2
    assert redelivered(engine, Filters(), before=None, limit=10).count == 2
    with engine.begin() as connection:
        for watch in settled:
            assert watches.get(connection, watch.id) == redeliver(watch, now=later(60))
        for watch in left_alone:
            assert watches.get(connection, watch.id) == watch


def test_redeliveries_at_once_count_each_watch_once(engine: Engine) -> None:
    added(engine, *(numbered(number, State.UNDELIVERED) for number in range(300)))

    def redeliver_all(_: int) -> int:
        count, before = 0, None
        while True:
            done = redelivered(engine, Filters(), before=before, limit=50)
            count, before = count + done.count, done.before
            if before is None:
                return count

    assert sum(at_once(4, redeliver_all)) == 300


def test_watches_are_counted_by_state_and_outcome(engine: Engine) -> None:
    added(
        engine,
        numbered(0),
        numbered(1, State.DELIVERED, outcome=Outcome.COMPLETED),
        numbered(2, State.UNDELIVERED, outcome=Outcome.COMPLETED),
        numbered(3, State.DELIVERING, outcome=Outcome.FAILED, client="shop"),
    )
    with engine.begin() as connection:
        states, outcomes = watch_filters.counts(connection, None)
        own_states, own_outcomes = watch_filters.counts(connection, "shop")
    assert dict(states) == {
        State.WATCHING: 1,
        State.DELIVERED: 1,
        State.UNDELIVERED: 1,
        State.DELIVERING: 1,
    }
    assert dict(outcomes) == {Outcome.COMPLETED: 2, Outcome.FAILED: 1}
    assert (dict(own_states), dict(own_outcomes)) == ({State.DELIVERING: 1}, {Outcome.FAILED: 1})


def test_the_oldest_due_step_is_of_those_that_nobody_keeps_waiting(engine: Engine) -> None:
    added(
        engine,
        numbered(1, account="paused"),
        numbered(2, account="well"),
        numbered(3, account="well", client="shop"),
        numbered(4, State.DELIVERING, callback_host="paused"),
        numbered(5, State.DELIVERING, callback_host="well"),
    )

    def oldest(state: State, client: str | None = None, now: float = 60) -> float | None:
        with engine.begin() as connection:
            due_at = watch_filters.oldest_due_at(connection, state, client, later(now))
        return (due_at - NOW) / timedelta(seconds=1) if due_at else None

    assert (oldest(State.WATCHING), oldest(State.DELIVERING)) == (1, 4)
    with engine.begin() as connection:
        until = {"paused_until": later(90), **BREAKER}
        connection.execute(insert(account_breakers).values(name="paused", headroom=1.0, **until))
        connection.execute(insert(host_breakers).values(name="paused", **until))
    assert (oldest(State.WATCHING), oldest(State.DELIVERING)) == (2, 5)
    assert oldest(State.WATCHING, "shop") == 3
    assert oldest(State.WATCHING, "nobody") is None
    assert oldest(State.WATCHING, now=1.5) is None


def test_what_is_due_behind_a_long_queue_of_a_paused_party_is_found(engine: Engine) -> None:
    queue = [numbered(n, account="paused") for n in range(1, watch_filters.OLDEST_DUE_SAMPLE + 2)]
    added(engine, *queue)
    with engine.begin() as connection:
        until = {"paused_until": later(9000), **BREAKER}
        connection.execute(insert(account_breakers).values(name="paused", headroom=1.0, **until))
        assert watch_filters.oldest_due_at(connection, State.WATCHING, None, later(5000)) is None
    added(engine, numbered(4000, account="well"))
    with engine.begin() as connection:
        assert watch_filters.oldest_due_at(connection, State.WATCHING, None, later(5000)) == later(4000)
        assert watch_filters.oldest_due_at(connection, State.WATCHING, None, later(3999)) is None


def test_open_watches_are_those_that_are_watching_or_delivering(engine: Engine) -> None:
    states = list(State) * 2
    added(engine, *(numbered(number, state) for number, state in enumerate(states)), numbered(99, client="b"))
    with engine.begin() as connection:
        assert watches.count_open_watches(connection, "cms") == 4
        assert watches.count_open_watches(connection, "b") == 1
        assert watches.count_open_watches(connection, "nobody") == 0


def test_an_account_is_watched_while_one_of_its_watches_is_watching(engine: Engine) -> None:
    added(engine, numbered(1, account="a"), numbered(2, State.DELIVERING, account="b"))
    with engine.begin() as connection:
        assert [watches.is_watched(connection, name) for name in ("a", "b", "c")] == [True, False, False]


ASKED: dict[str, Callable[[Connection], object]] = {
    "is_watched": lambda c: watches.is_watched(c, "account-7"),
    "overdue_accounts": lambda c: readiness.overdue_accounts(c, later(300)),
    "overdue_hosts": lambda c: readiness.overdue_hosts(c, later(9_999)),
}


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_asked_often_goes_by_the_partial_indexes(engine: Engine, asked: str) -> None:
    settled = [numbered(number, State.DELIVERED) for number in range(3_000)]
    waiting = [
        numbered(n, list(State)[n % 2], account=f"account-{n % 40}", callback_host=f"host-{n % 40}")
        for n in range(3_000, 3_400)
    ]
    added(engine, *settled, *waiting)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        plan = plan_of(connection, ASKED[asked])
    assert "ix_watches_to_" in plan
    assert "ix_watches_of_client" not in plan
    assert "Seq Scan on watches" not in plan
    assert "SCAN watches\n" not in f"{plan}\n"
