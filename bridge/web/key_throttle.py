"""Wrong keys: whoever sends many is told to wait, at no cost to those who send right ones."""

import threading
from collections import OrderedDict, deque
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address

MAX_FAILURES = 30
WINDOW = timedelta(seconds=60)
# A table for more addresses than attack at a time; the one that was quiet for longest is forgotten.
MAX_ADDRESSES = 10_000
# What one customer of a network gets at least (RFC 6177): each has 2**64 addresses to send from.
IPV6_PREFIX_LENGTH = 64


class FailureCounter:
    """Counts the failures of each address in a sliding window. Thread-safe, bounded in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, deque[datetime]] = OrderedDict()

    def wait_seconds(self, address: str, now: datetime) -> int:
        """Note one more failure of an address, of IPv6 of its network: 0, or how long it must wait."""
        sender = _sender(address)
        with self._lock:
            seen = self._seen.setdefault(sender, deque())
            self._seen.move_to_end(sender)
            if len(self._seen) > MAX_ADDRESSES:
                self._seen.popitem(last=False)
            while seen and seen[0] <= now - WINDOW:
                seen.popleft()
            if len(seen) >= MAX_FAILURES:
                return int((seen[0] + WINDOW - now).total_seconds()) + 1
            seen.append(now)
            return 0


def _sender(address: str) -> str:
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if not isinstance(known, IPv6Address):
        return address
    if known.ipv4_mapped:
        return str(known.ipv4_mapped)
    return str(IPv6Network((int(known), IPV6_PREFIX_LENGTH), strict=False))
