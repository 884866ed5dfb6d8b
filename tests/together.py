"""Doing things at once, in real threads."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Came = TypeVar("Came")

# Longer than anything takes that works; a test that hangs must end.
PATIENCE_SECONDS = 60.0


def at_once(count: int, act: Callable[[int], Came]) -> list[Came]:
    """Call `act` with 0, 1, 2, … from `count` threads that start together; return what came, in order.

    What one of them raises is raised here.
    """
    ready = threading.Barrier(count)

    def run(number: int) -> Came:
        ready.wait(PATIENCE_SECONDS)
        return act(number)

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count), timeout=PATIENCE_SECONDS))
