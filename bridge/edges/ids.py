"""Ids of watches: opaque, unguessable, and in the order in which they were made."""

import base64
import secrets
import threading
from datetime import datetime

# Crockford's alphabet: in order, and no i, l, o, u.
_CROCKFORD = bytes.maketrans(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", b"0123456789abcdefghjkmnpqrstvwxyz")
_RANDOM_BITS = 80
_CHARACTERS = 27  # of 5 bits: 55 of them for the microseconds until the year 3111

_lock = threading.Lock()
_newest = 0


def new_watch_id(now: datetime) -> str:
    """Return a `wat_…` id that sorts after every earlier one of this process.

    Lists page through ids, newest first: equal or backward clocks must not mix them up.
    """
    global _newest  # noqa: PLW0603 -- one process has one order
    with _lock:
        _newest = max(_newest + 1, int(now.timestamp() * 1_000_000))
        instant = _newest
    number = instant << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    digits = base64.b32hexencode(number.to_bytes(20)).translate(_CROCKFORD).decode()
    return f"wat_{digits[-_CHARACTERS:]}"
