"""Chooses the CPU core on which a process keeps its threads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A process leaves its core when other processes use more than CROWDED of it, and another core is freer by MARGIN.
CROWDED = 0.25
MARGIN = 0.2


@dataclass(frozen=True, slots=True)
class Shares:
    """The use of CPU time, as shares of one core, 0 to 1.

    `cores` maps each core to its use by all processes together; `process` is the use by this process.
    """

    cores: Mapping[int, float]
    process: float


def better_core(core: int | None, allowed: Sequence[int], shares: Shares) -> int | None:
    """Return the least used of the `allowed` cores, to move to; None to stay on `core`.

    A move is worth it when `core` is not allowed or its use is not known, or when other processes use more than
    CROWDED of it and the least used core is freer by MARGIN. Of equally free cores the first is returned. None,
    too, when `shares` holds none of the allowed cores.
    """
    used = {one: shares.cores[one] for one in allowed if one in shares.cores}
    if not used:
        return None
    freest = min(used, key=used.__getitem__)
    if core not in used:
        return freest
    others = used[core] - shares.process
    return freest if others > CROWDED and used[freest] + MARGIN < others else None
