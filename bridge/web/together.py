"""Does together what several threads ask for at the same time."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Wish = TypeVar("Wish")
Result = TypeVar("Result")


class Together(Generic[Wish, Result]):
    """Hands the wishes of all threads that wait to one call of `work`, made by one of the threads.

    A transaction for eight costs about what one for one does: most of it is the wait for the disk.
    `work` returns the results in the order of the wishes; what it raises, each thread gets.
    """

    def __init__(self, work: Callable[[Sequence[Wish]], Sequence[Result]]) -> None:
        self._work = work
        self._working = threading.Lock()
        # Any thread appends; only the one that works takes.
        self._waiting: deque[tuple[Wish, Future[Result]]] = deque()

    def __call__(self, wish: Wish) -> Result:
        """Return what came of the wish, whoever did the work."""
        future: Future[Result] = Future()
        self._waiting.append((wish, future))
        with self._working:
            if not future.done():
                self._do_all()
        return future.result()

    def _do_all(self) -> None:
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            results = self._work([wish for wish, _ in batch])
        except BaseException as error:  # noqa: BLE001 -- nobody may wait for ever; each thread raises it again
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
