"""Who gets a worker's free seats: every lane some, none so many that the others stand."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from bridge.core.watch import State, Watch

# A lane may hold this many times the seats that stay free (dynamic thresholds, Choudhury and
# Hahne 1998): alone it gets nearly all, and yet a newcomer always finds a seat.
FREE_SHARE = 7

# What steps are counted by: an account's polls, a host's callbacks.
Lane = tuple[State, str]
Key = TypeVar("Key", bound=Hashable)


def lane_of(watch: Watch) -> Lane:
    """Return what a watch's next step is counted by."""
    return watch.state, watch.account if watch.state is State.WATCHING else watch.callback_host


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A lane with due steps: since when, and how many more a worker may claim.

    `doubtful` when the other side still has to prove that it is well.
    """

    since: datetime
    more: int
    recovering: bool = False


def longest_first(due: Mapping[Key, Due], *, recovering: int) -> dict[Key, int]:
    """Return how many more steps of each lane may be claimed, those that have waited longest first.

    All doubtful lanes together get no more than `doubtful`: each of a hundred dead hosts has only
    one probe on the way, and yet they would hold every seat. Lanes that get none are left out.
    """
    more = {}
    for lane in sorted(due, key=lambda lane: due[lane].since):
        more[lane] = due[lane].more
        if due[lane].recovering:
            more[lane] = min(more[lane], recovering)
            recovering -= more[lane]
    return {lane: count for lane, count in more.items() if count > 0}


def share(free: int, held: Mapping[Key, int], most: Mapping[Key, int]) -> dict[Key, int]:
    """Share `free` seats among the lanes of `most`, one at a time, in turn.

    `most` says how many seats each may hold, in the order of who goes first; `held`, how many
    each holds now. Lanes that get none are left out.
    """
    given = dict.fromkeys(most, 0)
    waiting = list(most)
    while free > 0 and waiting:
        waiting = [lane for lane in waiting if held.get(lane, 0) + given[lane] < ceiling(most[lane], free)]
        for lane in waiting[:free]:
            given[lane] += 1
        free -= min(free, len(waiting))
    return {lane: seats for lane, seats in given.items() if seats}


def ceiling(most: int, free: int) -> int:
    """Return how many of its `most` seats a lane may hold while so many are free."""
    return min(most, FREE_SHARE * free)
