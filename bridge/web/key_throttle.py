"""Limits how many wrong API keys an address may send."""

import threading
from collections import OrderedDict, deque
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address

MAX_FAILURES = 30
WINDOW = timedelta(seconds=60)
# At most so many addresses are remembered. The address that has sent no wrong key for longest is dropped first.
MAX_ADDRESSES = 10_000
# The smallest network that a provider gives to a customer (RFC 6177): its 2**64 addresses count as one.
IPV6_PREFIX_LENGTH = 64


class FailureCounter:
    """Counts the wrong keys that this process gets from each address, in a sliding window. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, deque[datetime]] = OrderedDict()

    def record_failure(self, address: str, now: datetime) -> int:
        """Count a wrong key from `address` and return 0; at the limit, only return the seconds to wait."""
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
