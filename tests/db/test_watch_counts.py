"""Counts of watches, and since when the oldest is due."""

from datetime import timedelta

from sqlalchemy import Engine, insert

from bridge.core.watch import Outcome, State
from bridge.db import watch_counts
from bridge.db.tables import account_breakers, host_breakers
from tests.db.claiming import added, numbered
from tests.makers import NOW, later

BREAKER = {"failures": 1, "pause_seconds": 30.0}


def test_watches_are_counted_by_state_and_outcome(engine: Engine) -> None:
    added(
        engine,
        numbered(0),
        numbered(1, State.DELIVERED, outcome=Outcome.COMPLETED),
        numbered(2, State.UNDELIVERED, outcome=Outcome.COMPLETED),
        numbered(3, State.DELIVERING, outcome=Outcome.FAILED, client="shop"),
    )
    with engine.begin() as connection:
        states, outcomes = watch_counts.counts(connection, None)
        own_states, own_outcomes = watch_counts.counts(connection, "shop")
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
            due_at = watch_counts.oldest_due_at(connection, state, client, later(now))
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
    queue = [numbered(n, account="paused") for n in range(1, watch_counts.OLDEST_DUE_SAMPLE + 2)]
    added(engine, *queue)
    with engine.begin() as connection:
        until = {"paused_until": later(9000), **BREAKER}
        connection.execute(insert(account_breakers).values(name="paused", headroom=1.0, **until))
        assert watch_counts.oldest_due_at(connection, State.WATCHING, None, later(5000)) is None
    added(engine, numbered(4000, account="well"))
    with engine.begin() as connection:
        assert watch_counts.oldest_due_at(connection, State.WATCHING, None, later(5000)) == later(4000)
        assert watch_counts.oldest_due_at(connection, State.WATCHING, None, later(3999)) is None
