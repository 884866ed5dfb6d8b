"""Requests of several threads that come at the same time share one commit."""

import threading
from collections.abc import Sequence

import pytest

from bridge.web.group_commit import GroupCommit
from tests.threads import at_once


def test_each_thread_gets_what_came_of_its_own_request() -> None:
    double = GroupCommit[int, int](lambda requests: [request * 2 for request in requests])
    assert at_once(16, lambda number: [double(number * 100 + acquire) for acquire in range(50)]) == [
        [2 * (number * 100 + acquire) for acquire in range(50)] for number in range(16)
    ]


def test_what_waits_while_one_commits_is_committed_in_one_go() -> None:
    batches: list[int] = []
    working, others_wait = threading.Event(), threading.Event()

    def commit(requests: Sequence[int]) -> Sequence[int]:
        batches.append(len(requests))
        if len(batches) == 1:
            working.set()
            others_wait.wait(30)
        return requests

    grouped = GroupCommit[int, int](commit)

    def send(number: int) -> int:
        if number:
            working.wait(30)
        return grouped(number)

    def let_go() -> None:
        while len(grouped._pending) < 7:
            threading.Event().wait(0.001)
        others_wait.set()

    watcher = threading.Thread(target=let_go)
    watcher.start()
    assert at_once(8, send) == list(range(8))
    watcher.join()
    assert batches == [1, 7]


def test_what_a_commit_raises_each_of_its_threads_gets_and_the_next_ones_go_on() -> None:
    def commit(requests: Sequence[int]) -> Sequence[int]:
        if -1 in requests:
            raise LookupError("no such luck")
        return requests

    grouped = GroupCommit[int, int](commit)
    with pytest.raises(LookupError):
        grouped(-1)
    assert grouped(1) == 1


def test_a_failure_among_many_threads_leaves_nobody_waiting() -> None:
    def commit(requests: Sequence[int]) -> Sequence[int]:
        if any(request % 7 == 0 for request in requests):
            raise LookupError("no such luck")
        return requests

    grouped = GroupCommit[int, int](commit)

    def send(number: int) -> int:
        done = 0
        for acquire in range(50):
            try:
                done += grouped(number * 50 + acquire) == number * 50 + acquire
            except LookupError:
                continue
        return done

    assert 0 < sum(at_once(8, send)) < 400
