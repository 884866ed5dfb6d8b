"""What HubSpot's 2xx answers lead to: the contract's table, row by row."""

from typing import Any

import pytest

from bridge.core.circuit_breaker import Success
from bridge.core.http_results import HttpResponse
from bridge.core.watch import Outcome, State
from tests.makers import NOW, an_answer, asked

RESULT = {"id": "187654321", "url": "https://cdn.example.com/x.png"}
HTML = b"<html><body>Not found</body></html>"


def complete(**others: Any) -> dict[str, Any]:
    return {"status": "COMPLETE", **others}


@pytest.mark.parametrize("status_code", [200, 201, 202, 203, 206, 299])
@pytest.mark.parametrize("status", ["PENDING", "PROCESSING"])
def test_a_task_that_goes_on_is_watched_on_whatever_2xx_says_so(status_code: int, status: str) -> None:
    polled = asked(an_answer(status_code, {"status": status}), refusals=2, failures=3, last_error="Once.")
    watch = polled.watch
    assert (watch.state, watch.status, watch.outcome) == (State.WATCHING, status, None)
    assert (watch.refusals, watch.failures, watch.last_error) == (0, 0, None)
    assert polled.hubspot_body == f'{{"status": "{status}"}}'
    assert polled.signal == Success()


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        pytest.param(complete(result=RESULT), Outcome.COMPLETED, id="result"),
        pytest.param(complete(result=RESULT, numErrors=0), Outcome.COMPLETED, id="result, numErrors 0"),
        pytest.param(complete(result=RESULT, numErrors=None), Outcome.COMPLETED, id="result, numErrors null"),
        pytest.param(complete(result=RESULT, errors=[]), Outcome.COMPLETED, id="result, errors empty"),
        pytest.param(complete(result=RESULT, errors=None), Outcome.COMPLETED, id="result, errors null"),
        pytest.param(complete(result=RESULT, new=1), Outcome.COMPLETED, id="result, an unknown field"),
        pytest.param(complete(result={"id": 7}), Outcome.COMPLETED, id="result whose id is a number"),
        pytest.param(
            complete(result=RESULT, numErrors=1), Outcome.COMPLETED_WITH_ERRORS, id="result, numErrors 1"
        ),
        pytest.param(
            complete(result=RESULT, errors=[{}]), Outcome.COMPLETED_WITH_ERRORS, id="result, one error"
        ),
        pytest.param(
            complete(result=RESULT, errors=["odd"], numErrors=0),
            Outcome.COMPLETED_WITH_ERRORS,
            id="result, an error of a new form",
        ),
        pytest.param(complete(), Outcome.FAILED, id="no result"),
        pytest.param(complete(result=None), Outcome.FAILED, id="result null"),
        pytest.param(complete(result={}), Outcome.FAILED, id="result without an id"),
        pytest.param(complete(result={"id": None}), Outcome.FAILED, id="result whose id is null"),
        pytest.param(complete(result={"id": ""}), Outcome.FAILED, id="result whose id is empty"),
        pytest.param(complete(result=[RESULT]), Outcome.FAILED, id="result is a list"),
        pytest.param(complete(errors=[{}], numErrors=1), Outcome.FAILED, id="errors alone"),
        pytest.param({"status": "CANCELED"}, Outcome.CANCELED, id="canceled"),
        pytest.param({"status": "CANCELED", "result": RESULT}, Outcome.CANCELED, id="canceled with a result"),
    ],
)
@pytest.mark.parametrize("status_code", [200, 202])
def test_a_task_s_last_word_ends_the_watch(status_code: int, body: dict[str, Any], outcome: Outcome) -> None:
    polled = asked(an_answer(status_code, body), refusals=1, failures=1)
    watch = polled.watch
    assert (watch.state, watch.outcome, watch.status) == (State.DELIVERING, outcome, body["status"])
    assert watch.ended_at == watch.due_at == NOW
    assert (watch.refusals, watch.failures) == (0, 0)
    assert (watch.error is None) == (outcome is Outcome.COMPLETED)
    assert watch.last_error == watch.error
    assert polled.signal == Success()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(
            {"status": "CANCELED"},
            "HubSpot ended the task as CANCELED: it was stopped or undone.",
            id="canceled",
        ),
        pytest.param(
            complete(errors=[{"message": "The URL answered 404."}]),
            "HubSpot ended the task as COMPLETE without a result: The URL answered 404.",
            id="failed, and HubSpot says why",
        ),
        pytest.param(complete(), "HubSpot ended the task as COMPLETE without a result.", id="failed"),
        pytest.param(
            complete(result=RESULT, errors=[{"message": "One was too large"}]),
            "HubSpot finished the task with errors: One was too large.",
            id="with errors, and HubSpot says which",
        ),
        pytest.param(
            complete(result=RESULT, numErrors=2), "HubSpot finished the task with errors.", id="with errors"
        ),
        pytest.param(
            complete(errors=[{"message": "a\x00b\ud800c"}]),
            "HubSpot ended the task as COMPLETE without a result: a�b�c.",
            id="characters that no database takes",
        ),
    ],
)
def test_an_outcome_that_is_not_completed_is_a_sentence(body: dict[str, Any], error: str) -> None:
    assert asked(an_answer(200, body)).watch.error == error


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        pytest.param(b"null", "is not a JSON object", id="null"),
        pytest.param(b"", "has no body", id="empty"),
        pytest.param(HTML, "is not a JSON object", id="not JSON"),
        pytest.param(b'["PENDING"]', "is not a JSON object", id="a list"),
        pytest.param(b'"COMPLETE"', "is not a JSON object", id="a string"),
        pytest.param(b'{"status": "COMPL', "is not a JSON object", id="ends too early"),
        pytest.param(
            b'{"status": "COMPLETE", "n": NaN}', "is not a JSON object", id="NaN, which no JSON has"
        ),
        pytest.param(b'{"status": "COMPLETE", "x": "\xff"}', "is not a JSON object", id="not UTF-8"),
        pytest.param(b"[" * 100_000, "is not a JSON object", id="deeper than anybody reads"),
        pytest.param(b"{}", "has no `status`", id="no status"),
        pytest.param(b'{"status": null}', "has no `status`", id="status null"),
        pytest.param(b'{"status": ""}', "has no `status`", id="status empty"),
        pytest.param(b'{"status": ["COMPLETE"]}', "has no `status`", id="status is a list"),
        pytest.param(b'{"status": "error"}', "has the unknown status 'error'", id="unknown status"),
        pytest.param(b'{"status": "complete"}', "has the unknown status 'complete'", id="lower case"),
    ],
)
def test_a_2xx_that_says_nothing_is_inconclusive(body: bytes, complaint: str) -> None:
    polled = asked(HttpResponse(status_code=202, body=body), refusals=2, failures=3, status="PENDING")
    watch = polled.watch
    assert (watch.state, watch.outcome) == (State.WATCHING, None)
    assert (watch.refusals, watch.failures) == (0, 0)
    assert watch.last_error == f"HubSpot's 202 answer {complaint}; still watching"
    assert polled.signal == Success()


def test_a_2xx_that_was_cut_short_is_inconclusive_though_it_looks_whole() -> None:
    body = b'{"status": "COMPLETE", "result": {"id": "1"}}'
    polled = asked(HttpResponse(status_code=200, body=body, complete=False))
    assert polled.watch.state is State.WATCHING
    assert polled.watch.last_error == "HubSpot's 200 answer was cut short; still watching"


def test_an_unknown_status_is_kept_and_so_is_what_came_with_it() -> None:
    polled = asked(an_answer(200, {"status": "ARCHIVED", "extra": 1}), status="PENDING")
    assert polled.watch.status == "ARCHIVED"
    assert polled.hubspot_body == '{"status": "ARCHIVED", "extra": 1}'


@pytest.mark.parametrize("body", [b"null", b"", HTML, b"{}"])
def test_an_answer_without_a_status_leaves_the_last_one_standing(body: bytes) -> None:
    polled = asked(HttpResponse(status_code=200, body=body), status="PENDING")
    assert polled.watch.status == "PENDING"
    assert polled.hubspot_body is None


def test_a_status_of_any_length_and_kind_fits_the_column() -> None:
    assert asked(an_answer(200, {"status": "\x00" * 500})).watch.status == "�" * 64


def test_a_byte_order_mark_before_the_json_is_no_part_of_it() -> None:
    polled = asked(HttpResponse(status_code=200, body=b'\xef\xbb\xbf{"status": "PENDING"}'))
    assert (polled.watch.status, polled.watch.last_error) == ("PENDING", None)
    assert polled.hubspot_body == '{"status": "PENDING"}'


def test_a_number_of_any_length_is_no_hindrance() -> None:
    text = f'{{"status": "COMPLETE", "n": {"9" * 5_000}, "result": {{"id": -{"9" * 5_000}}}}}'
    polled = asked(HttpResponse(status_code=200, body=text.encode()))
    assert (polled.watch.outcome, polled.hubspot_body) == (Outcome.COMPLETED, text)


def test_hubspot_s_words_are_kept_as_they_came() -> None:
    text = '{ "status":"COMPLETE",\n "n": 123456789012345678901234567890, "f": 1.10, "result": {"id":"é"} }'
    assert asked(HttpResponse(status_code=200, body=text.encode())).hubspot_body == text
