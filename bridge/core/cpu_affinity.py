"""Which core a process keeps to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Where others want this much of a core, and another one is freer by the margin, it is left.
CROWDED = 0.25
MARGIN = 0.2


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of each core was used, by whoever it was, and how much of one by this process: 0 to 1."""

    cores: Mapping[int, float]
    process: float


def better_core(core: int | None, allowed: Sequence[int], shares: Shares) -> int | None:
    """Return the core to move to, of those allowed; None to stay. Of equal ones the first."""
    used = {one: shares.cores[one] for one in allowed if one in shares.cores}
    if not used:
        return None
    freest = min(used, key=used.__getitem__)
    if core not in used:
        return freest
    others = used[core] - shares.process
    return freest if others > CROWDED and used[freest] + MARGIN < others else None
