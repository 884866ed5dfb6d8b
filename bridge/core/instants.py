"""Reads and writes instants in RFC 3339, and reads the header Retry-After."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d):(\d\d)((?:\.\d+)?(?:Z|[+-]\d\d:\d\d))", re.ASCII)
_SECONDS = re.compile(r"([0-9]+)(?:\.([0-9]+))?")


@lru_cache(maxsize=1024)  # many watches of a batch or a page have equal instants
def rfc3339(instant: datetime) -> str:
    """Return an instant as RFC 3339 text in UTC, with `Z` and microseconds. `instant` must have a time zone."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def rfc3339_or_none(instant: datetime | None) -> str | None:
    """Return an instant as `rfc3339` does, and None for None."""
    return rfc3339(instant) if instant else None


def read_rfc3339(text: object) -> datetime:
    """Parse an RFC 3339 instant and return it in UTC. Raises ValueError for anything else."""
    try:
        # `t` and `z` mean the same as `T` and `Z` (RFC 3339, 5.6).
        if isinstance(text, str) and (written := _RFC3339.fullmatch(text.upper())):
            minute, seconds, rest = written.groups()
            leap = timedelta(seconds=seconds == "60")
            instant = datetime.fromisoformat(f"{minute}:{'59' if leap else seconds}{rest}")
            return (instant + leap).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be an instant like 2026-11-05T13:00:00Z (RFC 3339)")


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """Return the wait in seconds that a Retry-After header asks for (RFC 9110, 10.2.3), never negative.

    None when there is no header, or its value is neither seconds nor an HTTP date.
    """
    text = (value or "").strip()
    # Of several numbers the last counts, in one line as in several (they mean the same: RFC 9110, 5.3). What follows
    # the comma of a date is no number.
    if seconds := _SECONDS.fullmatch(text.rpartition(",")[2].strip()):
        # Servers send fractions of a second, too, although the RFC has none: they are rounded up.
        has_fraction = bool((seconds[2] or "").strip("0"))
        return float(seconds[1]) + has_fraction
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - now).total_seconds())
