"""Limits how many requests may be in each long operation at a time, so that some of the API's threads stay free."""

import threading

from bridge.web.problems import Problem

# The threads of a web process for requests. A request holds its thread until it is answered, and the operations below
# may last long: HubSpot or a receiver is slow, or there is much to export. Together they hold at most 10 threads, and 2
# stay free for all others.
THREADS = 12
RETRY_AFTER_SECONDS = 5


class ThreadLimit:
    """Limits how many requests of a process carry out the same long operation at a time. Thread-safe."""

    def __init__(self, what: str, most: int) -> None:
        """Limit the operation to `most` requests at a time; `what` names such requests, in the plural: "exports"."""
        self.most = most
        self.reason = f"No more {what} can be carried out at a time: the limit is {most}."
        self._inside = threading.BoundedSemaphore(most)

    def enter(self) -> bool:
        """Return whether the request may carry out the operation; if so, it must call `leave` at the end."""
        return self._inside.acquire(blocking=False)

    def leave(self) -> None:
        """Free the place that the request took in `enter`, for another request."""
        self._inside.release()

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


IMPORTS = ThreadLimit("starts of imports", 5)
CHECKS = ThreadLimit("checks of accounts", 1)
TEST_CALLBACKS = ThreadLimit("test callbacks", 2)
EXPORTS = ThreadLimit("exports", 2)
