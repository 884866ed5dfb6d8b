"""Makes transports for tests."""

from typing import Any

from bridge.http.transport import Transport

# The deadline only keeps a broken test from hanging, where no test wants it short.
GENEROUS_SECONDS = 5
LIMIT = 65_536
HEADERS = {"User-Agent": "test"}


def a_transport(*, timeout_seconds: float = GENEROUS_SECONDS, **others: Any) -> Transport:
    return Transport(timeout_seconds=timeout_seconds, body_limit=LIMIT, **others)
