"""Shares a worker's free slots fairly among lanes; a lane is an account's polls, or a host's callbacks."""

from collections import Counter, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from bridge.core.watch import State, Watch

# An account that holds fewer than this many slots for each free slot may take another (dynamic thresholds, Choudhury
# and Hahne 1998): alone it gets nearly all, and yet, if there are 8 or more, leaves some for lanes that come later.
SLOTS_PER_FREE_SLOT = 7
# Of so many slots, callbacks leave one to polls, however many receivers hang.
SLOTS_PER_POLL_SLOT = 8

# (watching, the account's name) for polls, (delivering, the host's name) for callbacks.
Lane = tuple[State, str]
Key = TypeVar("Key", bound=Hashable)


def lane_of(watch: Watch) -> Lane:
    """Return the lane to which a watch's next poll or attempt belongs."""
    return watch.state, watch.account if watch.state is State.WATCHING else watch.callback_host


def is_callbacks(lane: Lane) -> bool:
    """Return whether a lane is a host's callbacks, not an account's polls."""
    return lane[0] is State.DELIVERING


@dataclass(frozen=True, kw_only=True, slots=True)
class DueLane:
    """A lane (an account's polls or a host's callbacks) with due watches.

    `more` is how many of these watches a worker may claim now. `since` is when the lane's wait began: when the first of
    the due watches fell due. For a host whose trial request is due, `since` is the end of the host's pause, if that
    came later. `recovering` is true for a host whose trial is due or that is in slow start (see
    `bridge.core.circuit_breaker`). For an account, it is always false.
    """

    since: datetime
    more: int
    recovering: bool = False


def longest_first(due: Mapping[Key, DueLane], *, recovering_slots: int) -> dict[Key, int]:
    """Return how many watches of each lane may be claimed now; the lane that waited longest comes first.

    Each lane gets its `DueLane.more`. But the lanes with `DueLane.recovering` get at most `recovering_slots` watches
    together; of these lanes, those that waited longer are served first. Lanes that get no watch are left out of the
    result.
    """
    more = {}
    for lane in sorted(due, key=lambda lane: due[lane].since):
        more[lane] = due[lane].more
        # Each of a hundred dead hosts has only one trial request in flight, but together they would take every slot.
        if due[lane].recovering:
            more[lane] = min(more[lane], recovering_slots)
            recovering_slots -= more[lane]
    return {lane: count for lane, count in more.items() if count > 0}


def max_callbacks(slots: int) -> int:
    """Return how many of a worker's slots may be used for callbacks, to all hosts together."""
    return slots - slots // SLOTS_PER_POLL_SLOT


def share(slots: int, held: Mapping[Lane, int], most: Mapping[Lane, int]) -> dict[Lane, int]:
    """Divide a worker's free slots among the lanes of `most`; return how many free slots each lane gets.

    The worker has `slots` slots. `held` maps each lane to the number of slots that the lane holds now; all other slots
    are free. `most` maps each lane to the most slots that it may ever hold, including the slots that it holds already.
    The lanes take turns, in the order of `most`: at each turn a lane takes one free slot. Before each turn, `ceiling`
    computes how many slots the lane may hold at that moment: when few slots are free, this may be fewer than in `most`.
    A lane that has reached this number gets no more turns, so a few slots may stay free. The result leaves out lanes
    that get no slot.
    """
    free = slots - sum(held.values())
    free_for_callbacks = max_callbacks(slots) - sum(n for lane, n in held.items() if is_callbacks(lane))
    given: Counter[Lane] = Counter()
    waiting = deque(most)
    while waiting and free > 0:
        lane = waiting.popleft()
        if held.get(lane, 0) + given[lane] < ceiling(lane, most[lane], free, free_for_callbacks):
            given[lane] += 1
            free -= 1
            free_for_callbacks -= is_callbacks(lane)
            waiting.append(lane)
    return dict(given)


def ceiling(lane: Lane, most: int, free: int, free_for_callbacks: int) -> int:
    """Return how many slots a lane may hold in total now; a lane that holds fewer may take a free slot.

    The result is the smallest of these numbers:

    - `most`, the lane's own limit;
    - SLOTS_PER_FREE_SLOT times `free`, the number of free slots;
    - for a host's callbacks, `free_for_callbacks`, the number of slots that callbacks may still take.
    """
    if is_callbacks(lane):
        most = min(most, free_for_callbacks)
    return min(most, SLOTS_PER_FREE_SLOT * free)
