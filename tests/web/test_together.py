"""What several threads ask for at the same time is done together."""

import threading
from collections.abc import Sequence

import pytest

from bridge.web.together import Together
from tests.together import at_once


def test_each_thread_gets_what_came_of_its_own_wish() -> None:
    double = Together[int, int](lambda wishes: [wish * 2 for wish in wishes])
    assert at_once(16, lambda number: [double(number * 100 + turn) for turn in range(50)]) == [
        [2 * (number * 100 + turn) for turn in range(50)] for number in range(16)
    ]


def test_what_waits_while_one_works_is_done_in_one_go() -> None:
    batches: list[int] = []
    working, others_wait = threading.Event(), threading.Event()

    def work(wishes: Sequence[int]) -> Sequence[int]:
        batches.append(len(wishes))
        if len(batches) == 1:
            working.set()
            others_wait.wait(30)
        return wishes

    together = Together[int, int](work)

    def wish(number: int) -> int:
        if number:
            working.wait(30)
        return together(number)

    def let_go() -> None:
        while len(together._waiting) < 7:
            threading.Event().wait(0.001)
        others_wait.set()

    watcher = threading.Thread(target=let_go)
    watcher.start()
    assert at_once(8, wish) == list(range(8))
    watcher.join()
    assert batches == [1, 7]


def test_what_the_work_raises_each_of_its_threads_gets_and_the_next_ones_go_on() -> None:
    def work(wishes: Sequence[int]) -> Sequence[int]:
        if -1 in wishes:
            raise LookupError("no such luck")
        return wishes

    together = Together[int, int](work)
    with pytest.raises(LookupError):
        together(-1)
    assert together(1) == 1


def test_a_failure_among_many_threads_leaves_nobody_waiting() -> None:
    def work(wishes: Sequence[int]) -> Sequence[int]:
        if any(wish % 7 == 0 for wish in wishes):
            raise LookupError("no such luck")
        return wishes

    together = Together[int, int](work)

    def wish(number: int) -> int:
        done = 0
        for turn in range(50):
            try:
                done += together(number * 50 + turn) == number * 50 + turn
            except LookupError:
                continue
        return done

    assert 0 < sum(at_once(8, wish)) < 400
