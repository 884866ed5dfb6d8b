"""Group commit: simultaneous requests of several threads share one transaction."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


class _Pending(Generic[Request, Result]):
    """A request, and the means to make its thread wait.

    `wait` returns in two cases. Either another thread has called `commit` for the request's group: then `done` is true,
    and `result` or `error` is set. Or the waiting thread must commit the request's group itself: then `done` is false.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.done = False
        self.result: Result
        self.error: BaseException | None = None
        # Waiting for a bare lock costs less than waiting for an Event.
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self) -> None:
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()


class GroupCommit(Generic[Request, Result]):
    """Collects the requests of several threads into groups, and calls the given function `commit` once for each group.

    One of the threads whose requests are in the group makes the call; the others wait for it. `commit` is called for
    one group at a time, and must return the results in the order of the requests.
    """

    def __init__(self, commit: Callable[[Sequence[Request]], Sequence[Result]]) -> None:
        self._commit = commit
        self._lock = threading.Lock()
        self._committing = False
        self._pending: list[_Pending[Request, Result]] = []

    def __call__(self, request: Request) -> Result:
        """Wait until `commit` has handled a group with this request; return the request's result.

        If `commit` raised an exception for the group, raises the same exception.
        """
        pending: _Pending[Request, Result] = _Pending(request)
        with self._lock:
            self._pending.append(pending)
            another_commits, self._committing = self._committing, True
        if another_commits:
            pending.wait()
        if not pending.done:
            self._commit_group()
        if pending.error:
            raise pending.error
        return pending.result

    def _commit_group(self) -> None:
        with self._lock:
            group, self._pending = self._pending, []
        try:
            self._do(group)
        finally:
            self._hand_over()
            for pending in group:
                pending.wake()

    def _do(self, group: Sequence[_Pending[Request, Result]]) -> None:
        try:
            results = self._commit([pending.request for pending in group])
        except BaseException as error:  # noqa: BLE001 -- no thread may wait for ever; each raises it again
            for pending in group:
                pending.error, pending.done = error, True
        else:
            for pending, result in zip(group, results, strict=True):
                pending.result, pending.done = result, True

    def _hand_over(self) -> None:
        """If requests are pending, wake the thread of the oldest request: that thread commits the next group."""
        with self._lock:
            self._committing = bool(self._pending)
            if self._pending:
                self._pending[0].wake()
