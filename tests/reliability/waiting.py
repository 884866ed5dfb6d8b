"""Waiting for what other processes do: never longer than told, and never by a fixed sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

LOOK_SECONDS = 0.05
# Far beyond what a loaded machine takes; only a broken bridge waits so long.
TIMEOUT_SECONDS = 120.0

Seen = TypeVar("Seen")


def until(seen: Callable[[], Seen], *, within_seconds: float = TIMEOUT_SECONDS) -> Seen:
    """Return the first true value of `seen`; AssertionError when the time is over."""
    give_up_at = time.monotonic() + within_seconds
    while not (value := seen()):
        assert time.monotonic() < give_up_at, f"waited {within_seconds:g} s for {seen}"
        time.sleep(LOOK_SECONDS)
    return value
