"""When HubSpot's refusals of a task end its watch as rejected, and what is a refusal."""

import pytest

from bridge.core.account_limits import Refusal, suspicion
from bridge.core.classification import is_error_envelope
from bridge.core.http_results import HttpResponse
from bridge.core.kinds import KINDS
from bridge.core.polling import after_answer
from bridge.core.watch import Outcome, State, Watch
from tests.makers import NOW, a_watch, an_answer, asked, later

UNKNOWN_TASK = [
    pytest.param(
        an_answer(400, {"status": "error", "message": "Provided ID could not be decoded."}), id="400"
    ),
    pytest.param(an_answer(404, {"message": "No such task", "category": "OBJECT_NOT_FOUND"}), id="404"),
    pytest.param(an_answer(403, {"status": "error", "category": "FORBIDDEN"}), id="403 about something else"),
]
REFUSED = an_answer(404, {"status": "error", "message": "No such task."})


@pytest.mark.parametrize(
    "body",
    [
        {"status": "error"},
        {"status": "error", "message": "x", "correlationId": "c1b5dd6e"},
        {"message": "x", "category": "OBJECT_NOT_FOUND"},
        {"message": "x", "correlationId": "c1b5dd6e"},
        {"message": "x", "errorType": "RATE_LIMIT"},
    ],
)
def test_hubspot_s_own_errors_are_known_by_their_form(body: object) -> None:
    assert is_error_envelope(body)


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [{"status": "error"}],
        "error",
        {"status": "ERROR"},
        {"status": 404, "error": "Not Found", "path": "/"},
        {"message": "Forbidden"},
        {"category": "OBJECT_NOT_FOUND"},
        {"error": "error", "success": False},
    ],
)
def test_another_program_s_errors_are_not_taken_for_hubspot_s(body: object) -> None:
    assert not is_error_envelope(body)


@pytest.mark.parametrize("answer", UNKNOWN_TASK)
def test_three_refusals_in_a_row_about_ten_seconds_apart_end_as_rejected(answer: HttpResponse) -> None:
    watch, now = a_watch(created_at=later(-60)), NOW
    for refusals in (1, 2):
        polled = after_answer(KINDS[watch.kind], watch, answer, now=now, jitter=1)
        watch = polled.watch
        assert (watch.state, watch.refusals) == (State.WATCHING, refusals)
        assert watch.due_at == later(11, now)
        assert isinstance(polled.signal, Refusal)
        assert (polled.signal.watch_id, polled.hubspot_body) == (watch.id, None)
        now = watch.due_at
    rejected = after_answer(KINDS[watch.kind], watch, answer, now=now, jitter=-1).watch
    assert (rejected.state, rejected.outcome) == (State.DELIVERING, Outcome.REJECTED)
    assert rejected.error is not None
    assert rejected.error.endswith("(3 times in a row).")
    assert str(answer.status_code) in rejected.error


def test_refusals_that_come_sooner_because_somebody_rechecks_count_once() -> None:
    refused, watch = REFUSED, a_watch(created_at=later(-60))
    counted = []
    for seconds in (0, 1, 7.9, 15.8, 24, 32):
        watch = after_answer(KINDS[watch.kind], watch, refused, now=later(seconds), jitter=0).watch
        counted.append(watch.refusals)
        assert watch.outcome or watch.due_at == later(seconds + 10)
    assert counted == [1, 1, 1, 1, 2, 0]
    assert watch.outcome is Outcome.REJECTED


def refused_at(*seconds: float, suspected: bool) -> list[Watch]:
    """A watch after each of its refusals, so many seconds from the first possible one."""
    watch, seen = a_watch(created_at=later(-60)), list[Watch]()
    for second in seconds:
        now = later(second)
        watch = after_answer(KINDS[watch.kind], watch, REFUSED, now=now, jitter=0, suspected=suspected).watch
        seen.append(watch)
    return seen


@pytest.mark.parametrize(
    ("seconds", "rejected_after"),
    [
        pytest.param((0, 10, 20, 30, 899.9, 900), 6, id="not sooner than after 15 minutes"),
        pytest.param((0, 2_000, 2_010), 3, id="and never after fewer than three"),
    ],
)
def test_while_its_account_is_suspected_a_watch_is_rejected_for_refusals_that_are_far_apart(
    seconds: tuple[float, ...], rejected_after: int
) -> None:
    seen = refused_at(*seconds, suspected=True)
    assert [watch.outcome for watch in seen[:-1]] == [None] * (rejected_after - 1)
    assert seen[-1].outcome is Outcome.REJECTED
    assert all(watch.refused_since == NOW for watch in seen[:-1])
    assert seen[0].last_error == suspicion("HubSpot answered 404: No such task")
    assert refused_at(0, 10, 20, suspected=False)[-1].outcome is Outcome.REJECTED


def test_a_success_between_begins_the_spread_of_refusals_anew() -> None:
    watch = asked(an_answer(200, {"status": "PENDING"}), refusals=2, refused_since=later(-2_000)).watch
    assert (watch.refusals, watch.refused_since) == (0, None)
    # An older release, at work during a roll-out, resets the count alone.
    left_over = asked(REFUSED, refusals=0, refused_since=later(-2_000)).watch
    assert (left_over.refusals, left_over.refused_since) == (1, NOW)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(an_answer(200, {"status": "PENDING"}), id="a task that goes on"),
        pytest.param(an_answer(200), id="inconclusive"),
        pytest.param(an_answer(500), id="trouble"),
        pytest.param(an_answer(401), id="the credentials"),
        pytest.param(an_answer(429), id="the quota"),
    ],
)
def test_refusals_that_are_not_in_a_row_do_not_add_up(between: HttpResponse) -> None:
    assert asked(between, refusals=2).watch.refusals == 0
