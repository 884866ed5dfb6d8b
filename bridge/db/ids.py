"""Ids of watches: opaque, unguessable, and sortable by the time at which they were made."""

import base64
import secrets
import threading
from datetime import datetime, timedelta

# Crockford's alphabet: in order, and no i, l, o, u.
_CROCKFORD = bytes.maketrans(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", b"0123456789abcdefghjkmnpqrstvwxyz")
_RANDOM_BITS = 80
_CHARACTERS = 27  # of 5 bits each; the 55 bits beside the random ones hold microseconds until the year 3111
_LARGEST = (1 << 5 * _CHARACTERS) - 1

# How far an id's instant may be ahead of its watch's, when many are made at once or the clock is set back.
MOST_AHEAD = timedelta(seconds=60)

_lock = threading.Lock()
_newest = 0


def new_watch_id(now: datetime) -> str:
    """Return a new id, `wat_…`, for a watch that is made at `now`.

    Ids sort by the instants that they hold. The new id holds `now`, or the microsecond after the instant of this
    process's previous id, whichever is later. So the new id sorts after the previous id. There is one exception: an
    instant more than MOST_AHEAD after `now` is not used. Then the new id holds `now`, and sorts before the previous
    id.
    """
    global _newest  # noqa: PLW0603 -- one process has one order
    at = _microseconds(now)
    with _lock:
        is_ahead = _newest >= _microseconds(now + MOST_AHEAD)
        _newest = instant = at if is_ahead else max(_newest + 1, at)
    return _written(instant << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS))


def earliest_watch_id(instant: datetime) -> str:
    """Return a text that sorts before the ids of all watches made at this instant or later."""
    return _written(_microseconds(instant) << _RANDOM_BITS)


def latest_watch_id(instant: datetime) -> str:
    """Return a text that sorts after the ids of all watches made before this instant.

    The text may also sort after ids of watches made at the instant, or up to MOST_AHEAD later.
    """
    return _written(_microseconds(instant) + MOST_AHEAD // timedelta(microseconds=1) << _RANDOM_BITS)


def _microseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1_000_000)


def _written(number: int) -> str:
    # Filters name any instant from the year 1 to 9999; ids have room for those from 1970 to 3111.
    bounded = min(max(0, number), _LARGEST)
    digits = base64.b32hexencode(bounded.to_bytes(20)).translate(_CROCKFORD).decode()
    return f"wat_{digits[-_CHARACTERS:]}"
