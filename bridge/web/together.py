"""Does together what several threads ask for at the same time."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Wish = TypeVar("Wish")
Result = TypeVar("Result")


class _Ticket(Generic[Wish, Result]):
    """A thread that waits. It is called when its wish is done, or when it is its turn to work."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.done = False
        self.result: Result
        self.error: BaseException | None = None
        # A bare lock is the cheapest thing that a thread can wait for.
        self._called = threading.Lock()
        self._called.acquire()

    def wait(self) -> None:
        self._called.acquire()

    def call(self) -> None:
        self._called.release()


class Together(Generic[Wish, Result]):
    """Hands the wishes of all threads that wait to one call of `work`, made by one of the threads.

    A transaction for eight costs about what one for one does: most of it is the wait for the disk.
    `work` returns the results in the order of the wishes; what it raises, each thread gets.
    """

    def __init__(self, work: Callable[[Sequence[Wish]], Sequence[Result]]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._working = False
        self._waiting: list[_Ticket[Wish, Result]] = []

    def __call__(self, wish: Wish) -> Result:
        """Return what came of the wish, whichever thread did the work."""
        ticket: _Ticket[Wish, Result] = _Ticket(wish)
        with self._lock:
            self._waiting.append(ticket)
            others, self._working = self._working, True
        if others:
            ticket.wait()
        if not ticket.done:
            self._do_all()
        if ticket.error:
            raise ticket.error
        return ticket.result

    def _do_all(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            self._do(batch)
        finally:
            self._pass_on()
            for ticket in batch:
                ticket.call()

    def _do(self, batch: Sequence[_Ticket[Wish, Result]]) -> None:
        try:
            results = self._work([ticket.wish for ticket in batch])
        except BaseException as error:  # noqa: BLE001 -- nobody may wait for ever; each thread raises it again
            for ticket in batch:
                ticket.error, ticket.done = error, True
        else:
            for ticket, result in zip(batch, results, strict=True):
                ticket.result, ticket.done = result, True

    def _pass_on(self) -> None:
        """Let the thread that has waited longest do the next batch."""
        with self._lock:
            self._working = bool(self._waiting)
            if self._waiting:
                self._waiting[0].call()
