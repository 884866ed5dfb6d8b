"""Shares a worker's free slots fairly among lanes; a lane is an account's polls, or a host's callbacks."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeVar

from bridge.core.watch import State, Watch

# A lane that holds fewer than this many slots for each free slot may take another (dynamic thresholds, Choudhury and
# Hahne 1998): alone it gets nearly all, and yet, if there are 8 or more, leaves some for lanes that come later.
SLOTS_PER_FREE_SLOT = 7

# (watching, the account's name) for polls, (delivering, the host's name) for callbacks.
Lane = tuple[State, str]
Key = TypeVar("Key", bound=Hashable)


def lane_of(watch: Watch) -> Lane:
    """Return the lane to which a watch's next poll or attempt belongs."""
    return watch.state, watch.account if watch.state is State.WATCHING else watch.callback_host


class Health(Enum):
    """What a worker knows of a receiver's host. The value is the share of slots that all such hosts together may hold.

    A request to a host that hangs holds a slot for its whole time-out. So hosts that have proved nothing leave slots to
    those that have, and all hosts leave some to polls.
    """

    HEALTHY = 0.75  # it has answered this worker lately
    UNKNOWN = 0.5  # it has not, so it gets one request at a time
    UNHEALTHY = 0.25  # its last request failed, or it is paused or in slow start


def slots_by_health(slots: int) -> dict[Health, int]:
    """Return how many of a worker's slots callbacks to all hosts of the same health may hold together, at least 1."""
    return {health: max(1, int(slots * health.value)) for health in Health}


@dataclass(frozen=True, kw_only=True, slots=True)
class DueLane:
    """A lane with due watches; at most `more` of them may be claimed now.

    `since` is when the first of them fell due or, if that is later, when the host's pause ended. `health` is the
    host's; None for an account's polls.
    """

    since: datetime
    more: int
    health: Health | None = None


def longest_first(due: Mapping[Key, DueLane], left: Mapping[Health, int]) -> dict[Key, int]:
    """Return how many more watches of each lane may be claimed, the lane that has waited longest first.

    `left` says how many all hosts of the same health may get together. Lanes that get no watch are left out.
    """
    left, more = dict(left), {}
    for lane in sorted(due, key=lambda lane: due[lane].since):
        count, health = due[lane].more, due[lane].health
        if health is not None:
            count = max(0, min(count, left[health]))
            left[health] -= count
        more[lane] = count
    return {lane: count for lane, count in more.items() if count > 0}


def share(free: int, held: Mapping[Key, int], most: Mapping[Key, int]) -> dict[Key, int]:
    """Return how many of the `free` slots each lane of `most` gets, when the lanes take a slot each in turn.

    `most` says how many slots each lane may hold, in the order of the turns; `held` how many it holds now.
    No lane gets more than `ceiling` allows, so slots may stay free. Lanes that get no slot are left out.
    """
    given = dict.fromkeys(most, 0)
    waiting = list(most)
    while free > 0 and waiting:
        waiting = [lane for lane in waiting if held.get(lane, 0) + given[lane] < ceiling(most[lane], free)]
        for lane in waiting[:free]:
            given[lane] += 1
        free -= min(free, len(waiting))
    return {lane: slots for lane, slots in given.items() if slots}


def ceiling(most: int, free: int) -> int:
    """Return a limit, at most `most`: a lane that holds fewer slots than the limit may take one of the `free` slots."""
    return min(most, SLOTS_PER_FREE_SLOT * free)
