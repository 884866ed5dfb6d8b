"""What an answer to the start of an import says of the account."""

import pytest

from bridge.core.account_limits import Refusal, signal_of
from bridge.core.circuit_breaker import Failure
from bridge.core.classification import classify, classify_start
from bridge.core.http_results import HttpResponse, NoResponse, NoToken, NoTokenYet
from bridge.core.kinds import KINDS
from tests.makers import NOW, an_answer

HTML = b"<html><body>Not found</body></html>"


@pytest.mark.parametrize("status_code", [400, 403, 404, 409, 413, 415, 422])
def test_an_import_that_hubspot_itself_refuses_is_no_trouble_of_the_account(status_code: int) -> None:
    classified = classify_start(an_answer(status_code, {"status": "error", "message": "No."}), now=NOW)
    assert signal_of(classified) == Refusal(reason=f"HubSpot answered {status_code}: No")


@pytest.mark.parametrize("status_code", [400, 403, 404, 409, 413, 422])
@pytest.mark.parametrize("body", [b"", HTML, b'{"message": "Forbidden"}'], ids=["empty", "HTML", "JSON"])
def test_what_answers_in_place_of_the_api_is_trouble_all_the_same(status_code: int, body: bytes) -> None:
    classified = classify_start(HttpResponse(status_code=status_code, body=body), now=NOW)
    assert isinstance(signal_of(classified), Failure)


@pytest.mark.parametrize(
    "answer",
    [
        an_answer(202, {"id": "AAAAEZ6whGI"}),
        *(an_answer(status_code, {}) for status_code in (302, 401, 408, 423, 429, 477, 499, 500, 503)),
        an_answer(403, {"category": "MISSING_SCOPES"}),
        an_answer(403, {"category": "BANNED"}),
        NoResponse(reason="timed out"),
        NoToken(reason="No token: set one."),
        NoTokenYet(reason="The token is still being refreshed."),
    ],
)
def test_any_other_answer_to_a_start_is_read_as_a_poll_s(answer: HttpResponse | NoResponse | NoToken) -> None:
    assert classify_start(answer, now=NOW) == classify(KINDS["file-import"], answer, now=NOW)
