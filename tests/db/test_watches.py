"""Watches as clients know them: registered once, withdrawn."""

import random
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select

from bridge.core.delivery import Attempt, Trigger
from bridge.core.watch import State, withdraw
from bridge.db import claims, watches
from bridge.db.tables import watches as table
from bridge.steps.register import (
    ConflictingRegistration,
    Registered,
    Registration,
    register,
    registration_key,
)
from tests.db.claiming import added, claim, due, numbered, saved
from tests.makers import NOW, a_registration, later
from tests.threads import at_once

wanted = partial(a_registration, metadata='{"order":17}')


def registered(engine: Engine, *all_wanted: Registration) -> list[Registered]:
    results = register(engine, all_wanted, now=NOW)
    assert all(isinstance(result, Registered) for result in results)
    return [result for result in results if isinstance(result, Registered)]


def in_table(engine: Engine) -> int:
    with engine.begin() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_registration_becomes_a_watch_that_is_due_in_two_seconds(engine: Engine) -> None:
    [result] = registered(engine, wanted(timeout_seconds=3_600))
    watch = result.watch
    assert result.new
    assert (watch.state, watch.created_at, watch.age_zero_at) == (State.WATCHING, NOW, NOW)
    assert (watch.due_at, watch.deadline_at) == (later(2), later(3_600))
    with engine.begin() as connection:
        assert watches.get(connection, watch.id) == watch
        assert watches.get(connection, "wat_nobody") is None


def test_twenty_identical_registrations_at_once_make_one_watch(engine: Engine) -> None:
    results = at_once(20, lambda _: registered(engine, wanted())[0])
    assert sum(result.new for result in results) == 1
    assert len({result.watch.id for result in results}) == 1
    assert in_table(engine) == 1


def test_batches_that_overlap_in_any_order_all_end_and_agree(engine: Engine) -> None:
    tasks = [wanted(f"task-{number}") for number in range(60)]

    def batch(number: int) -> list[Registered]:
        mine = random.Random(number).sample(tasks, len(tasks))  # noqa: S311 -- test data
        return registered(engine, *mine)

    results = [result for came in at_once(6, batch) for result in came]
    assert sum(result.new for result in results) == 60
    assert len({(result.watch.id, result.watch.task_id) for result in results}) == 60


def test_a_large_batch_makes_only_short_statements_on_sqlite(sqlite_engine: Engine) -> None:
    ran: list[str] = []
    event.listen(sqlite_engine, "before_cursor_execute", lambda *of: ran.append(of[2]))
    results = registered(sqlite_engine, *(wanted(f"task-{number}") for number in range(1_000)))
    assert all(result.new for result in results)
    assert in_table(sqlite_engine) == 1_000
    assert max(map(len, ran)) < 10_000


def test_results_are_in_the_order_of_what_was_wanted(engine: Engine) -> None:
    registered(engine, wanted("b"), wanted("d"))
    results = registered(engine, *(wanted(task_id) for task_id in "edcba"))
    assert [(result.watch.task_id, result.new) for result in results] == [
        ("e", True),
        ("d", False),
        ("c", True),
        ("b", False),
        ("a", True),
    ]


def test_of_equal_registrations_in_one_batch_the_first_counts(engine: Engine) -> None:
    first, second, third = register(engine, [wanted(), wanted(), wanted(metadata="{}")], now=NOW)
    assert isinstance(first, Registered)
    assert first.new
    assert second == Registered(watch=first.watch, new=False)
    assert third == ConflictingRegistration(watch=first.watch, fields=("metadata",))


@pytest.mark.parametrize(
    ("again", "fields"),
    [
        pytest.param(wanted(metadata='{"order":18}'), ("metadata",), id="metadata"),
        pytest.param(wanted(timeout_seconds=60), ("timeout_seconds",), id="timeout"),
        pytest.param(wanted(metadata="{}", timeout_seconds=60), ("metadata", "timeout_seconds"), id="both"),
    ],
)
def test_the_same_registration_with_other_terms_is_told_apart(
    engine: Engine, again: Registration, fields: tuple[str, ...]
) -> None:
    [first] = registered(engine, wanted())
    assert register(engine, [again], now=later(5)) == [
        ConflictingRegistration(watch=first.watch, fields=fields)
    ]
    assert register(engine, [wanted()], now=later(5)) == [Registered(watch=first.watch, new=False)]


@pytest.mark.parametrize(
    "other",
    [
        {"client": "shop"},
        {"account": "second"},
        {"kind": "crm-import"},
        {"task_id": "aaaaez6WHgi"},
        {"callback_url": "https://app.example.com/hooks/"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_differs_in_any_part_of_the_key_is_another_watch(engine: Engine, other: dict[str, Any]) -> None:
    [first] = registered(engine, wanted())
    [second] = registered(engine, replace(wanted(), **other))
    assert second.new
    assert second.watch.id != first.watch.id


def test_the_parts_of_a_key_do_not_run_into_each_other() -> None:
    one = wanted("c", account="ab")
    other = wanted("bc", account="a")
    assert registration_key(one) != registration_key(other)


def test_what_is_withdrawn_may_be_registered_again(engine: Engine) -> None:
    [first] = registered(engine, wanted())
    with engine.begin() as connection:
        [locked] = watches.lock(connection, [first.watch.id])
        watches.save(connection, withdraw(locked, now=later(1)))
    [second] = registered(engine, wanted())
    assert second.new
    assert second.watch.id != first.watch.id
    with engine.begin() as connection:
        kept = watches.get(connection, first.watch.id)
        assert kept == withdraw(first.watch, now=later(1))
    [third] = registered(engine, wanted())
    assert third == Registered(watch=second.watch, new=False)


def test_what_is_withdrawn_and_registered_at_once_ends_well(engine: Engine) -> None:
    def acquire(number: int) -> None:
        for _ in range(5):
            [result] = registered(engine, wanted())
            if number % 2:
                with engine.begin() as connection:
                    for locked in watches.lock(connection, [result.watch.id]):
                        if locked.state is State.WATCHING:
                            watches.save(connection, withdraw(locked, now=NOW))

    at_once(6, acquire)
    with engine.begin() as connection:
        held = select(func.count()).where(table.c.registration_key.is_not(None))
        watching = select(func.count()).where(table.c.state == State.WATCHING)
        assert connection.execute(held).scalar_one() == connection.execute(watching).scalar_one() <= 1


def test_attempts_come_oldest_first(engine: Engine) -> None:
    [watch] = added(engine, due(1))
    made = [
        Attempt(
            watch_id=watch.id,
            number=number,
            trigger=Trigger.MANUAL if number == 2 else Trigger.SCHEDULE,
            started_at=later(number),
            duration_ms=number * 10,
            status_code=None if number == 3 else 503,
            error="No.",
            response_excerpt=None,
        )
        for number in (1, 2, 3)
    ]
    for attempt in reversed(made):
        [claimed] = claim(engine, {"a": 1}, now=later(100))
        saved(engine, claims.StepResult(claimed=claimed, watch=replace(claimed, due_at=NOW), attempt=attempt))
    with engine.begin() as connection:
        assert watches.attempts_of(connection, watch.id) == made


@pytest.mark.parametrize(
    ("again", "same"),
    [('{"b": 2, "a": 1}', True), ('{"a": 1, "b": 2.0}', False), ('{"a": true, "b": 2}', False)],
)
def test_metadata_is_the_same_in_any_order_of_its_names(engine: Engine, again: str, *, same: bool) -> None:
    first = wanted(metadata='{"a": 1, "b": 2}')
    register(engine, [first], now=NOW)
    [result] = register(engine, [replace(first, metadata=again)], now=NOW)
    assert isinstance(result, Registered if same else ConflictingRegistration)


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
