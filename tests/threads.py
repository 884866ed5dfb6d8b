"""Doing things at once, in real threads."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Came = TypeVar("Came")

# Longer than anything takes that works; a test that hangs must end.
TIMEOUT_SECONDS = 60.0


def at_once(count: int, act: Callable[[int], Came]) -> list[Came]:
    """Call `act` with 0, 1, 2, … from `count` threads that start together; return what came, in order.

    What one of them raises is raised here; so is TimeoutError when one hangs.
    """
    ready = threading.Barrier(count)
    futures: list[Future[Came]] = [Future() for _ in range(count)]

    def run(number: int) -> None:
        try:
            ready.wait(TIMEOUT_SECONDS)
            futures[number].set_result(act(number))
        except BaseException as error:  # noqa: BLE001 -- raised again where the results are asked for
            futures[number].set_exception(error)

    for number in range(count):
        # Daemons: one that hangs must not keep the whole run alive.
        threading.Thread(target=run, args=[number], daemon=True).start()
    return [future.result(TIMEOUT_SECONDS) for future in futures]
