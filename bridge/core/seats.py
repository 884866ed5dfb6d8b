"""Who gets a worker's free seats: every lane some, none so many that the others stand."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

# A lane may hold this many times the seats that stay free (dynamic thresholds, Choudhury and
# Hahne 1998): alone it gets nearly all, and yet a newcomer always finds a seat.
FREE_SHARE = 7

Lane = TypeVar("Lane", bound=Hashable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A lane with due steps: since when, and how many of them a worker may hold.

    `doubtful` when the other side still has to prove that it is well.
    """

    since: datetime
    most: int
    doubtful: bool = False


def longest_first(due: Mapping[Lane, Due], *, doubtful: int) -> dict[Lane, int]:
    """Return how many steps each lane may hold, those that have waited longest first.

    All doubtful lanes together get no more than `doubtful`: each of a hundred dead hosts has only
    one probe on the way, and yet they would hold every seat.
    """
    most = {}
    for lane in sorted(due, key=lambda lane: due[lane].since):
        most[lane] = due[lane].most
        if due[lane].doubtful:
            most[lane] = min(most[lane], doubtful)
            doubtful -= most[lane]
    return {lane: count for lane, count in most.items() if count > 0}


def share(free: int, held: Mapping[Lane, int], most: Mapping[Lane, int]) -> dict[Lane, int]:
    """Share `free` seats among the lanes of `most`, one at a time, in turn.

    `most` says how many seats each may hold, in the order of who goes first; `held`, how many
    each holds now. Lanes that get none are left out.
    """
    given = dict.fromkeys(most, 0)
    waiting = list(most)
    while free > 0 and waiting:
        waiting = [lane for lane in waiting if _may_take(held.get(lane, 0) + given[lane], most[lane], free)]
        for lane in waiting[:free]:
            given[lane] += 1
        free -= min(free, len(waiting))
    return {lane: seats for lane, seats in given.items() if seats}


def _may_take(holds: int, most: int, free: int) -> bool:
    return holds < min(most, FREE_SHARE * free)
