"""Which lanes have something due, on real databases: none is overlooked, and watches due later cost nothing."""

import random
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Table, event, text, update

from bridge.core.watch import State, Watch
from bridge.db.due_lanes import MOST_LANES, VISIT_ALL_EVERY, DueLanes, due_lanes
from bridge.db.tables import watches
from tests.db.claiming import added, claim, due, each_kind, pause
from tests.makers import NOW, later

each_state = pytest.mark.parametrize("state", [State.WATCHING, State.DELIVERING])
# What a look costs depends on the statistics, and on rows that are deleted.
pytestmark = pytest.mark.own_database

STATES = (State.WATCHING, State.DELIVERING)


def look(engine: Engine, lanes: DueLanes, now: datetime = NOW) -> dict[str, datetime]:
    with engine.begin() as connection:
        return lanes.look(connection, now)


def every(engine: Engine, state: State, now: datetime = NOW) -> dict[str, datetime]:
    with engine.begin() as connection:
        return due_lanes(connection, state, now)


def set_due(engine: Engine, watch: Watch, at: datetime) -> None:
    with engine.begin() as connection:
        connection.execute(update(watches).where(watches.c.id == watch.id).values(due_at=at))


@each_state
def test_the_lanes_are_those_with_due_watches_and_since_when(engine: Engine, state: State) -> None:
    draw = random.Random(7)  # noqa: S311 -- test data
    lanes = ["a", "B", "b.example", "ab", "z" * 60, "é", "_", "app.example.com"]
    some = [
        due(number, draw.choice(STATES), lane=draw.choice(lanes), at=draw.uniform(-5, 30))
        for number in range(60)
    ]
    added(engine, *some, due(99, state, lane="exactly now"), due(98, state, lane="soon", at=0.001))
    expected: dict[str, datetime] = {}
    for watch in (*some, due(99, state, lane="exactly now")):
        if watch.state is state and watch.due_at is not None and watch.due_at <= NOW:
            expected[watch.account] = min(watch.due_at, expected.get(watch.account, NOW))
    assert every(engine, state) == expected
    assert look(engine, DueLanes(state)) == expected


@each_state
def test_from_look_to_look_no_lane_is_overlooked(engine: Engine, state: State) -> None:
    draw = random.Random(11)  # noqa: S311 -- test data
    lanes, now = DueLanes(state), NOW
    for number in range(0, 400, 4):
        at = (now - NOW).total_seconds()
        new = [
            due(
                number + n,
                draw.choice(STATES),
                lane=f"lane-{draw.randrange(30)}",
                at=at + draw.uniform(-1.9, 6),
            )
            for n in range(4)
        ]
        added(engine, *new)
        found = look(engine, lanes, now)
        assert found == every(engine, state, now)
        claim(engine, dict.fromkeys(draw.sample(sorted(found), len(found) // 2), 3), state=state, now=now)
        now += timedelta(seconds=draw.choice([0, 0.25, 0.25, 1, 7]))


@each_kind
def test_a_lane_that_is_paused_takes_no_place_among_the_due(
    engine: Engine, state: State, breaker_table: Table
) -> None:
    paused = {"paused": later(5), "trial is due": NOW, "just back": None}
    added(engine, *(due(n, state, lane=lane, at=n - 9) for n, lane in enumerate([*paused, "well"])))
    with engine.begin() as connection:
        pause(connection, breaker_table, paused)
    lanes = DueLanes(state)
    assert list(look(engine, lanes)) == ["trial is due", "just back", "well"]
    # Nothing has fallen due since, and still it is not forgotten.
    assert list(look(engine, lanes, later(4.9))) == ["trial is due", "just back", "well"]
    assert next(iter(look(engine, lanes, later(5)))) == "paused"


@each_state
def test_what_is_dated_back_is_found_at_once_when_nothing_else_is_due(engine: Engine, state: State) -> None:
    (watch,) = added(engine, due(1, state, at=3600))
    lanes = DueLanes(state)
    assert look(engine, lanes) == {}
    set_due(engine, watch, later(-60))
    assert look(engine, lanes, later(0.25)) == {"a": later(-60)}


@each_state
def test_what_is_dated_back_is_found_soon_though_others_have_waited_longer(
    engine: Engine, state: State
) -> None:
    _, watch = added(engine, due(1, state, lane="old", at=-90), due(2, state, lane="new", at=3600))
    lanes = DueLanes(state)
    assert set(look(engine, lanes)) == {"old"}
    set_due(engine, watch, later(-60))
    assert set(look(engine, lanes, NOW + VISIT_ALL_EVERY)) == {"old", "new"}


@each_state
def test_a_clock_that_is_set_back_hides_nothing(engine: Engine, state: State) -> None:
    lanes = DueLanes(state)
    assert look(engine, lanes, later(7200)) == {}
    added(engine, due(1, state, lane="a", at=-60), due(2, state, lane="b", at=-30))
    assert set(look(engine, lanes)) == {"a", "b"}


def test_of_very_many_lanes_the_longest_due_are_looked_at(engine: Engine) -> None:
    extra = MOST_LANES + 3
    added(engine, *(due(number, lane=f"lane-{number}", at=-number / 1000) for number in range(extra)))
    assert set(look(engine, DueLanes(State.WATCHING))) == {f"lane-{number}" for number in range(3, extra)}


def test_an_empty_table_has_no_lanes(engine: Engine) -> None:
    assert every(engine, State.WATCHING) == look(engine, DueLanes(State.WATCHING)) == {}


def instructions(connection: Connection, act: Callable[[], object]) -> int:
    """Return how many hundred instructions of SQLite's virtual machine `act` takes."""
    counted = []
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(lambda: counted.append(1), 100)
    act()
    driver.set_progress_handler(None, 0)
    return len(counted)


def pages(connection: Connection, act: Callable[[], object]) -> int:
    """Return how many pages PostgreSQL reads for the statements of `act`."""
    ran = []

    @event.listens_for(connection, "before_cursor_execute")
    def note(_c: Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        ran.append((statement, parameters))

    act()
    event.remove(connection, "before_cursor_execute", note)
    explained = (
        connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", values).scalar_one()
        for sql, values in ran
    )
    return sum(found[0]["Plan"]["Shared Hit Blocks"] for found in explained)


@each_kind
@pytest.mark.parametrize("others", ["back off", "are due and paused"])
def test_a_look_costs_the_same_whatever_waits(
    engine: Engine, state: State, breaker_table: Table, others: str
) -> None:
    added(engine, due(1, state, lane="due", at=-1), due(2, state, lane="paused", at=-60))
    lanes, measure = DueLanes(state), instructions if engine.dialect.name == "sqlite" else pages
    with engine.begin() as connection:
        pause(connection, breaker_table, {"paused": later(3600)})
    if others == "back off":
        added(engine, *(due(n, state, lane=f"lane-{n}", at=n) for n in range(10, 3_000)))
    else:
        added(engine, *(due(n, state, lane="paused", at=-n) for n in range(10, 3_000)))
    if engine.dialect.name == "postgresql":
        with closing(engine.raw_connection()) as raw:
            driver: Any = raw.driver_connection
            driver.rollback()  # not in a transaction
            driver.execute("VACUUM ANALYZE watches")
            driver.rollback()
    assert set(look(engine, lanes)) == {"due"}
    with engine.begin() as connection:
        assert measure(connection, lambda: lanes.look(connection, later(0.25))) < 40


@each_state
def test_a_visit_to_all_lanes_costs_nothing_while_nothing_is_due(engine: Engine, state: State) -> None:
    added(engine, *(due(n, state, lane=f"lane-{n}", at=n) for n in range(10, 3_000)))
    measure = instructions if engine.dialect.name == "sqlite" else pages
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
        assert measure(connection, lambda: due_lanes(connection, state, NOW)) < 40
