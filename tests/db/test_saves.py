"""Saves, on real databases: a late save changes nothing, and a timely one is never lost."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from bridge.core.watch import State, Watch, recheck, withdraw
from bridge.db import claims, watches
from bridge.db.claims import StepResult
from tests.db.claiming import OTHER, added, claim, delivered, due, ids, polled, saved, stored
from tests.makers import NOW, later


@pytest.mark.parametrize("finished", [polled, delivered], ids=["poll", "delivery"])
def test_a_save_that_comes_too_late_loses_and_changes_nothing(
    engine: Engine, finished: Callable[[Watch], StepResult]
) -> None:
    state = State.WATCHING if finished is polled else State.DELIVERING
    added(engine, due(1, state))
    [late] = claim(engine, {"a": 1}, state=state)
    [owner] = claim(engine, {"a": 1}, by=OTHER, state=state, now=later(60))
    assert saved(engine, finished(late)) == []
    assert stored(engine, late) == owner
    with engine.begin() as connection:
        assert watches.attempts_of(connection, late.id) == []
        assert watches.answers_of(connection, [late.id]) == {}
    assert saved(engine, finished(owner), by=OTHER) == [finished(owner)]
    assert stored(engine, late) == finished(owner).watch


@pytest.mark.parametrize("change", [withdraw, recheck])
def test_what_a_client_has_changed_meanwhile_stays_changed(
    engine: Engine, change: Callable[..., Watch]
) -> None:
    added(engine, due(1))
    [claimed] = claim(engine, {"a": 1})
    with engine.begin() as connection:
        [locked] = watches.lock(connection, [claimed.id])
        changed = change(locked, now=later(1))
        claims.save_watches(connection, [changed])
    assert saved(engine, polled(claimed)) == []
    assert stored(engine, claimed) == changed


def test_the_same_worker_cannot_save_one_claim_twice(engine: Engine) -> None:
    added(engine, due(1, State.DELIVERING))
    [claimed] = claim(engine, {"a": 1}, state=State.DELIVERING)
    assert saved(engine, delivered(claimed))
    assert saved(engine, delivered(claimed)) == []


def test_a_worker_that_claimed_again_cannot_save_what_came_of_its_first_claim(engine: Engine) -> None:
    added(engine, due(1))
    [first] = claim(engine, {"a": 1})
    [second] = claim(engine, {"a": 1}, now=later(60))
    assert saved(engine, polled(first)) == []
    assert stored(engine, first) == second
    assert saved(engine, polled(second)) == [polled(second)]


def test_a_lease_of_another_worker_s_that_ends_at_the_same_instant_is_not_one_s_own(engine: Engine) -> None:
    added(engine, due(1))
    [given_back] = claim(engine, {"a": 1})
    with engine.begin() as connection:
        claims.give_back(connection, [given_back], "worker-1", NOW)
    [owner] = claim(engine, {"a": 1}, by=OTHER)
    assert owner.due_at == given_back.due_at
    assert saved(engine, polled(given_back)) == []
    assert stored(engine, owner) == owner


def test_fifty_results_are_saved_in_one_transaction(engine: Engine) -> None:
    added(engine, *(due(number) for number in range(25)))
    added(engine, *(due(number, State.DELIVERING) for number in range(25, 50)))
    results = [polled(watch) for watch in claim(engine, {"a": 25})]
    results += [delivered(watch) for watch in claim(engine, {"a": 25}, state=State.DELIVERING)]
    assert saved(engine, *results) == results
    for result in results:
        assert stored(engine, result.watch) == result.watch
    with engine.begin() as connection:
        every = [result.watch.id for result in results]
        assert watches.answers_of(connection, every) == {
            result.watch.id: result.hubspot_body for result in results[:25]
        }
        assert [watches.attempts_of(connection, id_) for id_ in every] == [
            [result.attempt] if result.attempt else [] for result in results
        ]


def test_of_results_saved_together_the_late_ones_alone_are_left_out(engine: Engine) -> None:
    added(engine, due(1), due(2))
    first, second = sorted(claim(engine, {"a": 2}), key=lambda watch: watch.id)
    with engine.begin() as connection:
        claims.save_watches(connection, [withdraw(second, now=NOW)])
    assert saved(engine, polled(first), polled(second)) == [polled(first)]
    assert stored(engine, second).state is State.WITHDRAWN


def test_the_newest_answer_of_hubspot_s_replaces_the_one_before(engine: Engine) -> None:
    [watch] = added(engine, due(1))
    for body in ('{"status": "PENDING"}', '{ "status":"PENDING", "f": 1.10, "b": "\\u0000" }'):
        [claimed] = claim(engine, {"a": 1}, now=later(100))
        saved(engine, StepResult(claimed=claimed, watch=replace(claimed, due_at=NOW), hubspot_body=body))
        with engine.begin() as connection:
            assert watches.answers_of(connection, [watch.id]) == {watch.id: body}


def test_a_worker_that_stops_gives_back_what_is_still_its_own(engine: Engine) -> None:
    added(engine, due(1), due(2))
    first, second = sorted(claim(engine, {"a": 2}), key=lambda watch: watch.id)
    with engine.begin() as connection:
        claims.save_watches(connection, [withdraw(second, now=NOW)])
        assert claims.give_back(connection, [first, second], "worker-1", later(5)) == 1
    assert stored(engine, first) == replace(first, due_at=later(5), claimed_by=None)
    assert stored(engine, second).state is State.WITHDRAWN
    assert ids(claim(engine, {"a": 2}, by=OTHER, now=later(5))) == [first.id]
