"""A watch's life: the table of transitions, and the one function that follows it."""

from itertools import product

import pytest

from bridge.core.watch import (
    OPEN,
    REDELIVERABLE,
    TRANSITIONS,
    Event,
    IllegalTransition,
    State,
    Watch,
    advance,
    recheck,
    redeliver,
    withdraw,
)
from tests.makers import NOW, a_watch, later

LEGAL = [(state, event, after) for (state, event), after in TRANSITIONS.items()]
ILLEGAL = [pair for pair in product(State, Event) if pair not in TRANSITIONS]


def a_watch_that_is(state: State) -> Watch:
    """A watch in `state`, claimed by somebody where there is something to claim."""
    return a_watch(
        state=state,
        due_at=NOW if state in OPEN else None,
        claimed_by="worker-1" if state in OPEN else None,
        settled_at=None if state in OPEN else NOW,
        attempts=3,
        tries=2,
    )


def test_the_transitions_are_those_that_the_contract_allows() -> None:
    assert {(str(a), str(e), str(b)) for a, e, b in LEGAL} == {
        ("watching", "checked", "watching"),
        ("watching", "rechecked", "watching"),
        ("watching", "ended", "delivering"),
        ("watching", "withdrawn", "withdrawn"),
        ("delivering", "accepted", "delivered"),
        ("delivering", "attempt_failed", "delivering"),
        ("delivering", "gave_up", "undelivered"),
        ("delivering", "withdrawn", "withdrawn"),
        ("delivered", "redelivered", "delivering"),
        ("undelivered", "redelivered", "delivering"),
    }


@pytest.mark.parametrize(("before", "event", "after"), LEGAL)
def test_an_event_leads_where_the_table_says(before: State, event: Event, after: State) -> None:
    watch = advance(a_watch_that_is(before), event, due_at=later(5), last_error="Why.")
    assert (watch.state, watch.last_error) == (after, "Why.")


@pytest.mark.parametrize(("before", "event", "after"), LEGAL)
def test_something_is_due_exactly_while_something_is_left_to_do(
    before: State, event: Event, after: State
) -> None:
    watch = advance(a_watch_that_is(before), event, due_at=later(5))
    assert watch.due_at == (later(5) if after in OPEN else None)


@pytest.mark.parametrize(("before", "event", "after"), LEGAL)
def test_whoever_held_a_watch_lets_go(before: State, event: Event, after: State) -> None:
    watch = advance(a_watch_that_is(before), event, due_at=later(5))
    assert (watch.claimed_by, watch.state) == (None, after)


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_any_other_event_is_refused_in_words(state: State, event: Event) -> None:
    with pytest.raises(IllegalTransition, match=f"a watch that is {state} cannot be {event}"):
        advance(a_watch_that_is(state), event)


def test_what_is_settled_is_left_only_by_redelivering_and_what_is_withdrawn_never() -> None:
    assert {event for state, event, _ in LEGAL if state in REDELIVERABLE} == {Event.REDELIVERED}
    assert not [event for state, event, _ in LEGAL if state is State.WITHDRAWN]
    assert set(State) - OPEN - REDELIVERABLE == {State.WITHDRAWN}


@pytest.mark.parametrize("state", sorted(OPEN))
def test_a_withdrawn_watch_has_nothing_left_to_do(state: State) -> None:
    watch = withdraw(a_watch_that_is(state), now=later(9))
    assert (watch.state, watch.settled_at, watch.due_at) == (State.WITHDRAWN, later(9), None)


@pytest.mark.parametrize("state", sorted(REDELIVERABLE))
def test_a_redelivery_is_due_at_once_by_hand_and_counts_its_tries_anew(state: State) -> None:
    watch = redeliver(a_watch_that_is(state), now=later(9))
    assert (watch.state, watch.due_at, watch.settled_at) == (State.DELIVERING, later(9), None)
    assert (watch.attempts, watch.tries, watch.manual) == (3, 0, True)


def test_a_recheck_is_due_at_once_and_takes_the_watch_from_who_is_at_it() -> None:
    watch = recheck(a_watch_that_is(State.WATCHING), now=later(9))
    assert (watch.state, watch.due_at, watch.claimed_by) == (State.WATCHING, later(9), None)
