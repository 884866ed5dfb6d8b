"""Wrong keys: whoever sends many is told to wait, at no cost to those who send right ones."""

import threading
from collections import OrderedDict, deque
from datetime import datetime, timedelta

MOST = 30
WINDOW = timedelta(seconds=60)
# A table for more addresses than attack at a time; the one that was quiet for longest is forgotten.
ADDRESSES = 10_000


class Failures:
    """Counts the failures of each address in a sliding window. Thread-safe, bounded in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, deque[datetime]] = OrderedDict()

    def wait_seconds(self, address: str, now: datetime) -> int:
        """Note one more failure of an address: 0, or how long it must wait because it had too many."""
        with self._lock:
            seen = self._seen.setdefault(address, deque())
            self._seen.move_to_end(address)
            if len(self._seen) > ADDRESSES:
                self._seen.popitem(last=False)
            while seen and seen[0] <= now - WINDOW:
                seen.popleft()
            if len(seen) >= MOST:
                return int((seen[0] + WINDOW - now).total_seconds()) + 1
            seen.append(now)
            return 0
