"""Seats are shared so that nobody goes without and nobody gets all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.seats import share

LANES = st.sampled_from("abcdefgh")
COUNTS = st.integers(0, 40)


@pytest.mark.parametrize(
    ("free", "held", "most", "shares"),
    [
        pytest.param(32, {}, {"a": 32}, {"a": 28}, id="one alone gets nearly all"),
        pytest.param(32, {}, {"a": 8}, {"a": 8}, id="never more than it may hold"),
        pytest.param(32, {"a": 6}, {"a": 8}, {"a": 2}, id="what it holds counts"),
        pytest.param(32, {"a": 9}, {"a": 8}, {}, id="it holds more than it may"),
        pytest.param(0, {}, {"a": 8}, {}, id="nothing is free"),
        pytest.param(8, {}, {}, {}, id="nobody wants any"),
        pytest.param(10, {}, {"a": 8, "b": 1, "c": 8}, {"a": 5, "b": 1, "c": 4}, id="in turn"),
        pytest.param(2, {}, {"a": 8, "b": 8, "c": 8}, {"a": 1, "b": 1}, id="in order, when few are free"),
        pytest.param(1, {"a": 7}, {"a": 32, "b": 8}, {"b": 1}, id="a newcomer gets the last seat"),
        pytest.param(1, {"a": 31}, {"a": 32}, {}, id="who holds nearly all leaves the last seat"),
        pytest.param(1, {}, {"a": 1}, {"a": 1}, id="a worker with one seat uses it"),
    ],
)
def test_free_seats_go_round(
    free: int, held: dict[str, int], most: dict[str, int], shares: dict[str, int]
) -> None:
    assert share(free, held, most) == shares


@given(free=COUNTS, held=st.dictionaries(LANES, COUNTS), most=st.dictionaries(LANES, COUNTS))
def test_never_more_seats_than_are_free_nor_than_a_lane_may_hold(
    free: int, held: dict[str, int], most: dict[str, int]
) -> None:
    shares = share(free, held, most)
    assert sum(shares.values()) <= free
    assert shares.keys() <= most.keys()
    for lane, seats in shares.items():
        assert seats >= 1
        assert held.get(lane, 0) + seats <= most[lane]


@given(free=COUNTS, held=st.dictionaries(LANES, COUNTS), most=st.dictionaries(LANES, st.integers(1, 40)))
def test_every_newcomer_gets_a_seat_if_there_are_enough(
    free: int, held: dict[str, int], most: dict[str, int]
) -> None:
    shares = share(free, held, most)
    newcomers = [lane for lane in most if not held.get(lane, 0)]
    if free >= len(most):
        assert shares.keys() >= set(newcomers)
    elif free and newcomers:
        assert shares


@given(free=st.integers(1, 40), most=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_who_wants_as_much_gets_as_much_give_or_take_one(free: int, most: list[int]) -> None:
    shares = share(free, {}, dict(enumerate(most)))
    satisfied = [lane for lane, seats in shares.items() if seats == most[lane]]
    greedy = [shares.get(lane, 0) for lane in range(len(most)) if lane not in satisfied]
    assert max(greedy, default=0) - min(greedy, default=0) <= 1


@given(count=st.integers(1, 64), most=st.dictionaries(LANES, st.integers(1, 64), min_size=1))
def test_a_lane_that_comes_later_finds_a_seat_beside_one_that_took_all_it_could(
    count: int, most: dict[str, int]
) -> None:
    first, *_ = most
    held = share(count, {}, {first: most[first]})
    free = count - sum(held.values())
    assert count < 8 or free >= 1
    assert share(free, held, {first: most[first], "late": 1}).get("late", 0) == min(free, 1)
