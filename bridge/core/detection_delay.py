"""How late the bridge noticed that tasks had ended, counted in a histogram."""

from collections.abc import Mapping
from datetime import datetime
from math import inf

# From what a lucky poll gives to what an outage costs; a task's own age sets most delays (1 to 60 s).
BOUNDS_SECONDS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, inf)


# No bridge is away for longer than it may watch: what says so is no instant of this task's.
LONGEST_SECONDS = 30 * 86_400.0


def delay_seconds(completed_at: datetime | None, *, now: datetime) -> float | None:
    """Return for how long a task had been over; None where HubSpot does not say, or nonsense."""
    if completed_at is None:
        return None
    # The two clocks may differ a little.
    seconds = max((now - completed_at).total_seconds(), 0.0)
    return seconds if seconds <= LONGEST_SECONDS else None


def bound_of(delay_seconds: float) -> float:
    """Return the upper bound of the bucket that a delay falls into."""
    return next(bound for bound in BOUNDS_SECONDS if delay_seconds <= bound)


def quantile(detections: Mapping[float, int], share: float) -> float | None:
    """Return the delay that `share` (0 to 1) of the detections did not exceed, in seconds.

    Interpolated inside its bucket; the last bucket counts as its lower bound. None without any.
    """
    left = share * sum(detections.values())
    below = 0.0
    for bound in BOUNDS_SECONDS:
        count = detections.get(bound, 0)
        if count and left <= count:
            return below if bound == inf else below + (bound - below) * left / count
        left -= count
        below = bound
    return None
