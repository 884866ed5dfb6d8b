"""The shares of a worker's slots: each lane gets some, and none gets all."""

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.fairness import DueLane, Lane, longest_first, max_callbacks, share
from bridge.core.watch import State
from tests.makers import later

COUNTS = st.integers(0, 40)
ACCOUNTS = [(State.WATCHING, name) for name in "abcd"]
HOSTS = [(State.DELIVERING, name) for name in "abcd"]
LANES = st.sampled_from(ACCOUNTS + HOSTS)


def lanes(counts: Mapping[str, int]) -> dict[Lane, int]:
    """Return the counts by lane: an upper-case name is an account's, a lower-case one a host's."""
    return {
        (State.WATCHING if name.isupper() else State.DELIVERING, name): count
        for name, count in counts.items()
    }


@pytest.mark.parametrize(
    ("free", "held", "most", "shares"),
    [
        pytest.param(32, {}, {"A": 32}, {"A": 28}, id="an account alone gets nearly all"),
        pytest.param(32, {}, {"a": 8}, {"a": 8}, id="never more than it may hold"),
        pytest.param(32, {"a": 6}, {"a": 8}, {"a": 2}, id="what it holds counts"),
        pytest.param(32, {"a": 9}, {"a": 8}, {}, id="it holds more than it may"),
        pytest.param(0, {}, {"a": 8}, {}, id="nothing is free"),
        pytest.param(8, {}, {}, {}, id="nobody wants any"),
        pytest.param(10, {}, {"A": 8, "B": 1, "C": 8}, {"A": 5, "B": 1, "C": 4}, id="in turn"),
        pytest.param(
            10, {}, {"a": 8, "b": 1, "c": 8}, {"a": 3, "b": 1, "c": 3}, id="hosts leave as many free"
        ),
        pytest.param(2, {}, {"a": 8, "b": 8, "c": 8}, {"a": 1, "b": 1}, id="in order, when few are free"),
        pytest.param(1, {"A": 7}, {"A": 32, "b": 8}, {"b": 1}, id="a newcomer gets the last slot"),
        pytest.param(1, {"A": 31}, {"A": 32}, {}, id="who holds nearly all leaves the last slot"),
        pytest.param(1, {}, {"a": 1}, {"a": 1}, id="a worker with one slot uses it"),
    ],
)
def test_free_slots_go_round(
    free: int, held: dict[str, int], most: dict[str, int], shares: dict[str, int]
) -> None:
    assert share(free + sum(held.values()), lanes(held), lanes(most)) == lanes(shares)


def test_callbacks_leave_slots_to_polls() -> None:
    hosts = lanes(dict.fromkeys("abcdefghij", 8))
    shares = share(32, lanes({"x": 23}), hosts | lanes({"A": 9}))
    assert shares == lanes(dict.fromkeys("abcde", 1) | {"A": 4})


@pytest.mark.parametrize(("slots", "callbacks"), [(1, 1), (7, 7), (8, 7), (32, 28), (33, 29)])
def test_callbacks_may_hold_seven_of_eight_slots(slots: int, callbacks: int) -> None:
    assert max_callbacks(slots) == callbacks


def free_for_callbacks(slots: int, held: Mapping[Lane, int]) -> int:
    return max(0, max_callbacks(slots) - sum(count for lane, count in held.items() if lane in HOSTS))


@given(free=COUNTS, held=st.dictionaries(LANES, COUNTS), most=st.dictionaries(LANES, COUNTS))
def test_never_more_slots_than_are_free_nor_than_a_lane_may_hold(
    free: int, held: dict[Lane, int], most: dict[Lane, int]
) -> None:
    slots = free + sum(held.values())
    shares = share(slots, held, most)
    assert sum(shares.values()) <= free
    assert sum(count for lane, count in shares.items() if lane in HOSTS) <= free_for_callbacks(slots, held)
    assert shares.keys() <= most.keys()
    for lane, count in shares.items():
        assert count >= 1
        assert held.get(lane, 0) + count <= most[lane]


@given(free=COUNTS, held=st.dictionaries(LANES, COUNTS), most=st.dictionaries(LANES, st.integers(1, 40)))
def test_every_newcomer_gets_a_slot_if_there_are_enough(
    free: int, held: dict[Lane, int], most: dict[Lane, int]
) -> None:
    slots = free + sum(held.values())
    shares, room = share(slots, held, most), min(free, free_for_callbacks(slots, held))
    newcomers = [lane for lane in most if not held.get(lane, 0)]
    if room >= len(most):
        assert shares.keys() >= set(newcomers)
    elif room and newcomers:
        assert shares


@pytest.mark.parametrize("kind", [ACCOUNTS, HOSTS])
@given(free=st.integers(1, 40), most=st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_who_wants_as_much_gets_as_much_give_or_take_one(
    kind: list[Lane], free: int, most: list[int]
) -> None:
    wanted = dict(zip(kind, most, strict=False))
    shares = share(free, {}, wanted)
    satisfied = [lane for lane, slots in shares.items() if slots == wanted[lane]]
    greedy = [shares.get(lane, 0) for lane in wanted if lane not in satisfied]
    assert max(greedy, default=0) - min(greedy, default=0) <= 1


@given(count=st.integers(1, 64), most=st.dictionaries(LANES, st.integers(1, 64), min_size=1))
def test_a_lane_that_comes_later_finds_a_slot_beside_one_that_took_all_it_could(
    count: int, most: dict[Lane, int]
) -> None:
    first, *_ = most
    held = share(count, {}, {first: most[first]})
    free = count - sum(held.values())
    assert count < 8 or free >= 1
    late = State.DELIVERING, "late"
    assert share(count, held, {first: most[first], late: 1}).get(late, 0) == min(free, 1)


@given(slots=st.integers(8, 64), hosts=st.integers(1, 12), each=st.integers(1, 64))
def test_hosts_that_take_all_they_can_leave_a_slot_to_one_that_comes_later(
    slots: int, hosts: int, each: int
) -> None:
    greedy = {(State.DELIVERING, f"host {number}"): max(1, slots // 4) for number in range(hosts)}
    held: Counter[Lane] = Counter()
    for _ in range(each):
        held.update(share(slots, held, greedy))
    free = max_callbacks(slots) - sum(held.values())
    assert free >= (1 if hosts < max_callbacks(slots) else 0)


def due(seconds: float, more: int, *, recovering: bool = False) -> DueLane:
    return DueLane(since=later(seconds), more=more, recovering=recovering)


@pytest.mark.parametrize(
    ("due_lanes", "more"),
    [
        pytest.param({}, {}, id="nothing is due"),
        pytest.param(
            {"a": due(2, 8), "b": due(1, 3)}, {"b": 3, "a": 8}, id="who has waited longest is first"
        ),
        pytest.param({"a": due(1, 0), "b": due(2, 1)}, {"b": 1}, id="a lane that may have none is left out"),
        pytest.param(
            {f"dead {n}": due(n, 1, recovering=True) for n in range(9)} | {"well": due(9, 8)},
            {"dead 0": 1, "dead 1": 1, "dead 2": 1, "well": 8},
            id="the recovering share what is theirs",
        ),
        pytest.param(
            {
                "back": due(1, 2, recovering=True),
                "dead": due(2, 1, recovering=True),
                "late": due(3, 1, recovering=True),
            },
            {"back": 2, "dead": 1},
            id="one that is coming back takes more of it",
        ),
    ],
)
def test_lanes_go_by_how_long_they_have_waited(due_lanes: dict[str, DueLane], more: dict[str, int]) -> None:
    found = longest_first(due_lanes, recovering_slots=3)
    assert list(found.items()) == list(more.items())


def test_when_trials_have_all_that_is_theirs_no_more_begin() -> None:
    assert longest_first({"dead": due(1, 1, recovering=True), "well": due(2, 4)}, recovering_slots=0) == {
        "well": 4
    }
