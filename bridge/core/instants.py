"""Instants as the outside writes them."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache


@lru_cache(maxsize=1024)  # what is made in one batch, or shown on one page, has many equal instants
def rfc3339(instant: datetime) -> str:
    """Return an aware instant in RFC 3339, UTC, with `Z` and microseconds."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def retry_after_seconds(value: str | None, *, now: datetime) -> float | None:
    """Return the wait that a Retry-After header asks for (RFC 9110, 10.2.3), never negative.

    None when there is no header or it is neither whole seconds nor an HTTP date.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - now).total_seconds())
