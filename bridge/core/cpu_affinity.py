"""The choice of the CPU core on which a process keeps its threads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A process leaves its core when others use this much of it, and another core is freer by the margin.
CROWDED = 0.25
MARGIN = 0.2


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of each core all processes used, and how much of its own core this process did: 0 to 1."""

    cores: Mapping[int, float]
    process: float


def better_core(core: int | None, allowed: Sequence[int], shares: Shares) -> int | None:
    """Return the allowed core to move to, the first of equally free ones; None to stay."""
    used = {one: shares.cores[one] for one in allowed if one in shares.cores}
    if not used:
        return None
    freest = min(used, key=used.__getitem__)
    if core not in used:
        return freest
    others = used[core] - shares.process
    return freest if others > CROWDED and used[freest] + MARGIN < others else None
