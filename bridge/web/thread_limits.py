"""Limits how many requests may be in each long operation at a time, so that some of the API's threads stay free."""

import threading

from bridge.web.problems import Problem

# The threads of a web process for requests. A request holds its thread until it is answered, and the operations below
# may last long: HubSpot or a receiver is slow, or there is much to export. Together they hold at most 10 threads:
# 4 imports and 1 that waits for its turn, 1 check, 2 test callbacks, 2 exports. 2 threads stay free for all others.
THREADS = 12
RETRY_AFTER_SECONDS = 5


class ThreadLimit:
    """Limits how many requests of a process carry out the same long operation at a time. Thread-safe."""

    def __init__(self, what: str, most: int, *, waiting: int = 0) -> None:
        """Limit the operation to `most` requests at a time; up to `waiting` more may wait for their turn.

        `what` is a name for such requests, in the plural, such as "exports".
        """
        self.most = most
        self.waiting = waiting
        self.reason = f"No more {what} can be carried out at a time: the limit is {most}."
        self._inside = threading.BoundedSemaphore(most)
        self._threads = threading.BoundedSemaphore(most + waiting)

    def enter(self, *, wait_seconds: float = 0.0) -> bool:
        """Return whether the request may carry out the operation.

        After True, the caller must call `leave` at the end of the operation. Up to `most` requests may be in the
        operation, and up to `waiting` others wait here, each for at most `wait_seconds`. A request that has waited in
        vain gets False. Any request beyond these gets False at once.
        """
        if not self._threads.acquire(blocking=False):
            return False
        entered = self._inside.acquire(timeout=wait_seconds)
        if not entered:
            self._threads.release()
        return entered

    def leave(self) -> None:
        """Free the place that the request took in `enter`, for another request."""
        self._inside.release()
        self._threads.release()

    def problem(self, cause: str = "too-many-at-once") -> Problem:
        """Return a 429 Problem for a request that `enter` has turned away.

        `cause` is the Problem's `cause`, a name in PROBLEM_TYPES.
        """
        return Problem(
            status=429,
            detail=self.reason,
            cause=cause,
            more={"limit": self.most},
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )


IMPORTS = ThreadLimit("starts of imports", 4, waiting=1)
CHECKS = ThreadLimit("checks of accounts", 1)
TEST_CALLBACKS = ThreadLimit("test callbacks", 2)
EXPORTS = ThreadLimit("exports", 2)
