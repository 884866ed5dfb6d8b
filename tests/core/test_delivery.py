"""What each of a receiver's answers leads to: the contract's table, row by row."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.circuit_breaker import Failure, Success
from bridge.core.delivery import AttemptDecision, RetryPolicy, Trigger, after_attempt, attempt_error, excerpt
from bridge.core.http_results import HttpResponse, NoResponse, NotSent
from bridge.core.watch import Outcome, State, redeliver
from tests.makers import NOW, an_answer, an_ended_watch, later

SCHEDULE = (5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
POLICY = RetryPolicy(schedule_seconds=SCHEDULE, jitter_share=0.2)
DAY = 86_400.0


def tried(
    answer: HttpResponse | NoResponse | NotSent, *, jitter: float = 0.0, **others: Any
) -> AttemptDecision:
    watch = an_ended_watch(**others)
    return after_attempt(watch, answer, started_at=later(-0.25), now=NOW, policy=POLICY, jitter=jitter)


@pytest.mark.parametrize("status_code", [200, 201, 202, 204, 226, 299])
def test_a_2xx_settles_the_watch_as_delivered(status_code: int) -> None:
    attempted = tried(
        HttpResponse(status_code=status_code, complete=False), attempts=3, tries=3, last_error="503"
    )
    watch = attempted.watch
    assert (watch.state, watch.settled_at, watch.due_at) == (State.DELIVERED, NOW, None)
    assert (watch.attempts, watch.tries, watch.last_status_code) == (4, 4, status_code)
    assert watch.last_error is None
    assert attempted.signal == Success()
    assert attempted.attempt.error is None


def test_a_delivered_watch_still_says_why_its_task_failed() -> None:
    watch = an_ended_watch(Outcome.FAILED, attempts=1, tries=1)
    after = after_attempt(watch, an_answer(200), started_at=NOW, now=NOW, policy=POLICY, jitter=0).watch
    assert after.error == after.last_error == "It did not work."


def test_a_410_settles_the_watch_as_undelivered_at_once() -> None:
    attempted = tried(an_answer(410))
    watch = attempted.watch
    assert (watch.state, watch.settled_at, watch.due_at) == (State.UNDELIVERED, NOW, None)
    assert watch.last_error == "The receiver answered 410"
    assert attempted.signal == Success()


ELSE = [
    *(pytest.param(an_answer(code), id=str(code)) for code in (400, 401, 403, 404, 405, 409, 422, 429)),
    *(pytest.param(an_answer(code), id=str(code)) for code in (500, 501, 502, 503, 504, 599)),
    *(pytest.param(an_answer(code, location="/x"), id=str(code)) for code in (300, 301, 302, 303, 304, 307)),
    pytest.param(NoResponse(reason="timed out after 20 s"), id="time-out"),
    pytest.param(NoResponse(reason="the connection was refused"), id="no connection"),
    pytest.param(NoResponse(reason="10.0.0.1 is private"), id="blocked address"),
]


@pytest.mark.parametrize("answer", ELSE)
def test_anything_else_is_tried_again_by_the_schedule(answer: HttpResponse | NoResponse) -> None:
    for tries, seconds in enumerate(SCHEDULE):
        watch = tried(answer, tries=tries).watch
        assert (watch.state, watch.settled_at) == (State.DELIVERING, None)
        assert watch.due_at == later(seconds)
        assert watch.tries == tries + 1


@pytest.mark.parametrize("answer", ELSE)
def test_after_the_last_wait_of_the_schedule_there_is_one_more_attempt_and_no_other(
    answer: HttpResponse | NoResponse,
) -> None:
    watch = tried(answer, tries=len(SCHEDULE)).watch
    assert (watch.state, watch.settled_at, watch.due_at) == (State.UNDELIVERED, NOW, None)
    assert watch.last_error == attempt_error(answer)


@pytest.mark.parametrize(
    ("jitter", "seconds"), [(-1, 240), (0, 300), (1, 360)], ids=["early", "even", "late"]
)
def test_a_wait_varies_by_the_policy_s_share(jitter: float, seconds: float) -> None:
    assert tried(an_answer(500), jitter=jitter, tries=2).watch.due_at == later(seconds)


@pytest.mark.parametrize(
    ("status_code", "retry_after", "seconds"),
    [
        pytest.param(429, "120", 120, id="429 seconds"),
        pytest.param(503, "120", 120, id="503 seconds"),
        pytest.param(429, "Sat, 21 Nov 2026 12:01:30 GMT", 90, id="429 date"),
        pytest.param(503, "Sat, 21 Nov 2026 12:01:30 GMT", 90, id="503 date"),
        pytest.param(503, "1", 5, id="sooner than the schedule"),
        pytest.param(503, "Sat, 21 Nov 2026 11:00:00 GMT", 5, id="a date that has passed"),
        pytest.param(503, "soon", 5, id="neither seconds nor a date"),
        pytest.param(503, "999999", DAY, id="more than a day"),
        pytest.param(429, "9" * 400, DAY, id="for ever"),
        pytest.param(500, "120", 5, id="500, which may not ask"),
        pytest.param(404, "120", 5, id="404, which may not ask"),
        pytest.param(302, "120", 5, id="302, which may not ask"),
    ],
)
def test_a_busy_receiver_may_ask_for_time(status_code: int, retry_after: str, seconds: float) -> None:
    assert tried(an_answer(status_code, retry_after=retry_after)).watch.due_at == later(seconds)


def test_a_fraction_of_a_second_is_waited_for_too() -> None:
    assert tried(an_answer(503, retry_after="90.5")).watch.due_at == later(91)


def test_a_busy_receiver_gets_no_attempt_that_the_schedule_does_not_have() -> None:
    watch = tried(an_answer(503, retry_after="120"), tries=len(SCHEDULE)).watch
    assert watch.state is State.UNDELIVERED


def test_the_schedule_s_own_wait_may_be_longer_than_a_day() -> None:
    assert tried(an_answer(503, retry_after="1"), jitter=1, tries=9).watch.due_at == later(1.2 * DAY)


@pytest.mark.parametrize(
    "answer",
    [an_answer(code) for code in (200, 204, 301, 400, 401, 404, 410, 422)],
    ids=lambda a: a.status_code,
)
def test_a_host_that_answers_is_well_whatever_it_says(answer: HttpResponse) -> None:
    assert tried(answer).signal == Success()


@pytest.mark.parametrize(
    "answer",
    [*(an_answer(code) for code in (429, 500, 502, 503, 504)), NoResponse(reason="timed out")],
    ids=lambda a: getattr(a, "status_code", "no answer"),
)
def test_a_host_that_is_silent_overrun_or_broken_is_not(answer: HttpResponse | NoResponse) -> None:
    assert tried(answer).signal == Failure(reason=attempt_error(answer) or "")


def test_a_callback_that_was_not_sent_says_nothing_of_the_host_and_is_tried_by_the_schedule() -> None:
    attempted = tried(NotSent(reason="The callback was not sent: the port 9 is not allowed."))
    assert attempted.signal is None
    assert attempted.attempt.error == "The callback was not sent: the port 9 is not allowed."
    assert (attempted.watch.state, attempted.watch.tries) == (State.DELIVERING, 1)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (an_answer(503), "The receiver answered 503"),
        (an_answer(302), "The receiver answered 302; redirects are not followed"),
        (NoResponse(reason="timed out after 20 s"), "The receiver did not answer: timed out after 20 s"),
    ],
    ids=["status", "redirect", "no answer"],
)
def test_an_attempt_that_failed_says_why(answer: HttpResponse | NoResponse, error: str) -> None:
    attempted = tried(answer)
    assert attempted.attempt.error == attempted.watch.last_error == error


def test_an_attempt_is_kept_as_it_went() -> None:
    attempt = tried(HttpResponse(status_code=503, body=b"busy"), attempts=6, tries=1).attempt
    assert (attempt.watch_id, attempt.number, attempt.trigger) == ("wat_0123456789", 7, Trigger.SCHEDULE)
    assert (attempt.started_at, attempt.duration_ms) == (later(-0.25), 250)
    assert (attempt.status_code, attempt.response_excerpt) == (503, "busy")


def test_an_attempt_without_an_answer_has_neither_status_nor_excerpt() -> None:
    attempted = tried(NoResponse(reason="timed out"), last_status_code=500)
    assert (attempted.attempt.status_code, attempted.attempt.response_excerpt) == (None, None)
    assert attempted.watch.last_status_code is None


def test_a_clock_that_was_set_back_makes_no_negative_duration() -> None:
    watch = an_ended_watch()
    attempted = after_attempt(watch, an_answer(200), started_at=later(60), now=NOW, policy=POLICY, jitter=0)
    assert attempted.attempt.duration_ms == 0


def test_a_redelivery_is_manual_once_and_has_the_whole_schedule_before_it() -> None:
    settled = tried(an_answer(410), attempts=4, tries=4).watch
    again = redeliver(settled, now=NOW)
    assert (again.state, again.due_at, again.settled_at) == (State.DELIVERING, NOW, None)
    first = after_attempt(again, an_answer(500), started_at=NOW, now=NOW, policy=POLICY, jitter=0)
    assert (first.attempt.number, first.attempt.trigger) == (6, Trigger.MANUAL)
    assert (first.watch.due_at, first.watch.tries, first.watch.manual) == (later(5), 1, False)
    second = after_attempt(first.watch, an_answer(500), started_at=NOW, now=NOW, policy=POLICY, jitter=0)
    assert (second.attempt.number, second.attempt.trigger) == (7, Trigger.SCHEDULE)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        pytest.param(b"busy\n\tcome back", "busy\n\tcome back", id="text"),
        pytest.param(b"", "", id="nothing"),
        pytest.param(b"a\x00b\x1bc", "a·b·c", id="control characters"),
        pytest.param(b"\xff", "\ufffd", id="not UTF-8"),
        pytest.param("é".encode() * 2000, "é" * 1024, id="2 KiB of two-byte characters"),
        pytest.param(b"a" + "é".encode() * 2000, "a" + "é" * 1023, id="cut between characters"),
    ],
)
def test_an_excerpt_is_the_start_of_a_response_fit_to_be_shown(body: bytes, kept: str) -> None:
    assert excerpt(body) == kept


@given(st.binary(max_size=5000))
def test_no_excerpt_is_larger_than_2_kib_or_holds_what_a_database_refuses(body: bytes) -> None:
    kept = excerpt(body)
    assert len(kept.encode()) <= 2048
    assert "\x00" not in kept
