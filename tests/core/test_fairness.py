"""The shares of a worker's slots: each lane gets some, and none gets all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.fairness import DueLane, Health, longest_first, share, slots_by_health
from tests.makers import later

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
        pytest.param(1, {"a": 7}, {"a": 32, "b": 8}, {"b": 1}, id="a newcomer gets the last slot"),
        pytest.param(1, {"a": 31}, {"a": 32}, {}, id="who holds nearly all leaves the last slot"),
        pytest.param(1, {}, {"a": 1}, {"a": 1}, id="a worker with one slot uses it"),
    ],
)
def test_free_slots_go_round(
    free: int, held: dict[str, int], most: dict[str, int], shares: dict[str, int]
) -> None:
    assert share(free, held, most) == shares


@given(free=COUNTS, held=st.dictionaries(LANES, COUNTS), most=st.dictionaries(LANES, COUNTS))
def test_never_more_slots_than_are_free_nor_than_a_lane_may_hold(
    free: int, held: dict[str, int], most: dict[str, int]
) -> None:
    shares = share(free, held, most)
    assert sum(shares.values()) <= free
    assert shares.keys() <= most.keys()
    for lane, slots in shares.items():
        assert slots >= 1
        assert held.get(lane, 0) + slots <= most[lane]


@given(free=COUNTS, held=st.dictionaries(LANES, COUNTS), most=st.dictionaries(LANES, st.integers(1, 40)))
def test_every_newcomer_gets_a_slot_if_there_are_enough(
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
    satisfied = [lane for lane, slots in shares.items() if slots == most[lane]]
    greedy = [shares.get(lane, 0) for lane in range(len(most)) if lane not in satisfied]
    assert max(greedy, default=0) - min(greedy, default=0) <= 1


@given(count=st.integers(1, 64), most=st.dictionaries(LANES, st.integers(1, 64), min_size=1))
def test_a_lane_that_comes_later_finds_a_slot_beside_one_that_took_all_it_could(
    count: int, most: dict[str, int]
) -> None:
    first, *_ = most
    held = share(count, {}, {first: most[first]})
    free = count - sum(held.values())
    assert count < 8 or free >= 1
    assert share(free, held, {first: most[first], "late": 1}).get("late", 0) == min(free, 1)


def due(seconds: float, more: int, health: Health | None = Health.HEALTHY) -> DueLane:
    return DueLane(since=later(seconds), more=more, health=health)


@pytest.mark.parametrize(
    ("lanes", "more"),
    [
        pytest.param({}, {}, id="nothing is due"),
        pytest.param(
            {"a": due(2, 8), "b": due(1, 3)}, {"b": 3, "a": 8}, id="who has waited longest is first"
        ),
        pytest.param({"a": due(1, 0), "b": due(2, 1)}, {"b": 1}, id="a lane that may have none is left out"),
        pytest.param(
            {f"dead {n}": due(n, 1, Health.UNHEALTHY) for n in range(9)} | {"well": due(9, 8)},
            {"dead 0": 1, "dead 1": 1, "dead 2": 1, "well": 8},
            id="the unhealthy share what is theirs",
        ),
        pytest.param(
            {f"new {n}": due(n, 1, Health.UNKNOWN) for n in range(9)}
            | {f"well {n}": due(n, 8) for n in range(3)}
            | {"account": due(9, 40, None)},
            {"new 0": 1, "well 0": 8, "new 1": 1, "well 1": 4, "new 2": 1, "new 3": 1, "account": 40},
            id="so do the unknown and the healthy, and accounts take the rest",
        ),
        pytest.param(
            {
                "back": due(1, 2, Health.UNHEALTHY),
                "dead": due(2, 1, Health.UNHEALTHY),
                "late": due(3, 1, Health.UNHEALTHY),
            },
            {"back": 2, "dead": 1},
            id="one that is coming back takes more of it",
        ),
    ],
)
def test_lanes_go_by_how_long_they_have_waited(lanes: dict[str, DueLane], more: dict[str, int]) -> None:
    left = {Health.HEALTHY: 12, Health.UNKNOWN: 4, Health.UNHEALTHY: 3}
    found = longest_first(lanes, left)
    assert list(found.items()) == list(more.items())


@pytest.mark.parametrize("left", [0, -2])
def test_when_probes_have_all_that_is_theirs_no_more_begin(left: int) -> None:
    lanes = {"dead": due(1, 1, Health.UNHEALTHY), "well": due(2, 4), "gone": due(3, 1, Health.UNHEALTHY)}
    assert longest_first(lanes, {Health.UNHEALTHY: left, Health.HEALTHY: 9}) == {"well": 4}


@pytest.mark.parametrize(
    ("slots", "healthy", "unknown", "unhealthy"), [(32, 24, 16, 8), (8, 6, 4, 2), (4, 3, 2, 1), (1, 1, 1, 1)]
)
def test_hosts_of_one_health_hold_a_part_of_the_slots(
    slots: int, healthy: int, unknown: int, unhealthy: int
) -> None:
    assert slots_by_health(slots) == {
        Health.HEALTHY: healthy,
        Health.UNKNOWN: unknown,
        Health.UNHEALTHY: unhealthy,
    }
