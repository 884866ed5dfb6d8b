"""Ids of watches: opaque, unguessable, and in the order in which they were made."""

import secrets
import threading
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: in order, and no i, l, o, u
_INSTANT_CHARACTERS = 11  # microseconds until the year 3111
_RANDOM_BITS = 80

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
    return f"wat_{_digits(instant, _INSTANT_CHARACTERS)}{_digits(secrets.randbits(_RANDOM_BITS), 16)}"


def _digits(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))
