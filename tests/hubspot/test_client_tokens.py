"""Requests to HubSpot: which token is sent, how often, and what is returned without one."""

import pytest

from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.db.accounts import Credentials
from bridge.hubspot.client import OUT_OF_TIME, HubSpot
from bridge.sandbox import Sandbox
from tests.hubspot_accounts import NONE, OAUTH, STATIC, ListedTokens, a_transport, an_account


def test_a_static_token_that_is_refused_is_not_sent_again(asking: HubSpot, hubspot: Sandbox) -> None:
    answer = asking.status(an_account(hubspot.url, Credentials(access_token="wrong")), "file-import", "x")
    assert isinstance(answer, HttpResponse)
    assert answer.status_code == 401
    assert hubspot.state.ledger()["endpoints"] == {"file-import": 1}


def test_without_credentials_nothing_is_sent(asking: HubSpot, hubspot: Sandbox) -> None:
    answer = asking.status(an_account(hubspot.url, NONE, name="shop"), "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, NoToken)
    assert "'shop' has no HubSpot credentials" in answer.reason
    assert hubspot.state.ledger()["endpoints"] == {}


def test_an_account_whose_credentials_cannot_be_read_asks_nothing_and_says_why(
    asking: HubSpot, hubspot: Sandbox
) -> None:
    account = an_account(hubspot.url, NONE, name="shop", unreadable=True)
    answer = asking.status(account, "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, NoToken)
    assert "'shop' are not encrypted with BRIDGE_SECRET_KEY" in answer.reason
    assert hubspot.state.ledger()["endpoints"] == {}


def test_after_a_401_a_newer_token_is_tried_once(hubspot: Sandbox) -> None:
    asking = HubSpot(a_transport(), ListedTokens("old", "new", "sandbox-token"))
    answer = asking.status(an_account(hubspot.url, OAUTH), "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, HttpResponse)
    assert (answer.status_code, answer.earlier_refusals) == (401, 1)
    assert hubspot.state.ledger()["endpoints"] == {"file-import": 2}


@pytest.mark.parametrize("is_temporary", [True, False])
def test_where_there_is_no_token_its_reason_is_the_answer(hubspot: Sandbox, *, is_temporary: bool) -> None:
    account, failure = an_account(hubspot.url, OAUTH), NoToken(reason="set it", is_temporary=is_temporary)
    first = HubSpot(a_transport(), ListedTokens(failure)).status(account, "file-import", "x")
    second = HubSpot(a_transport(), ListedTokens("old", failure)).status(account, "file-import", "x")
    assert first == second == failure
    assert (first.earlier_refusals, second.earlier_refusals) == (0, 1)
    assert hubspot.state.ledger()["endpoints"] == {"file-import": 1}


def test_a_question_with_its_tokens_and_both_requests_takes_no_longer_than_it_may(hubspot: Sandbox) -> None:
    tokens = ListedTokens("old", "sandbox-token", takes_seconds=0.6)
    asking = HubSpot(a_transport(), tokens, ask_seconds=1)
    assert asking.status(an_account(hubspot.url, OAUTH), "file-import", "AAAAEZ6whGI") == OUT_OF_TIME
    first, second = tokens.left_seconds
    assert first == 1
    assert second <= 0.4
    assert hubspot.state.ledger()["endpoints"] == {"file-import": 1}


def test_a_request_gets_only_the_time_that_its_token_has_left(hubspot: Sandbox) -> None:
    hubspot.state.set_fault("hang")
    asking = HubSpot(a_transport(60), ListedTokens("sandbox-token", takes_seconds=0.1), ask_seconds=0.5)
    answer = asking.status(an_account(hubspot.url, OAUTH), "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, NoResponse)
    assert answer.reason.startswith("timed out after 0.")


@pytest.mark.parametrize(
    ("credentials", "oauth_token", "status_code"),
    [
        (STATIC, "wrong", 404),
        (OAUTH, "sandbox-token", 404),
        (NONE, "sandbox-token", None),
        (Credentials(client_id="i", client_secret="s"), "sandbox-token", None),
    ],
)
def test_each_account_has_the_tokens_of_its_credentials(
    hubspot: Sandbox, credentials: Credentials, oauth_token: str, status_code: int | None
) -> None:
    asking = HubSpot(a_transport(), ListedTokens(oauth_token))
    answer = asking.status(an_account(hubspot.url, credentials), "file-import", "AAAAEZ6whGI")
    assert getattr(answer, "status_code", None) == status_code
    assert isinstance(answer, NoToken) == (status_code is None)


@pytest.mark.parametrize(
    ("credentials", "status_code", "requests"),
    [(Credentials(access_token="old"), 401, 1), (OAUTH, 404, 2)],
)
def test_each_account_has_the_refusals_of_its_credentials(
    hubspot: Sandbox, credentials: Credentials, status_code: int, requests: int
) -> None:
    asking = HubSpot(a_transport(), ListedTokens("old", "sandbox-token"))
    answer = asking.status(an_account(hubspot.url, credentials), "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, HttpResponse)
    assert (answer.status_code, answer.earlier_refusals) == (status_code, requests - 1)
    assert hubspot.state.ledger()["endpoints"] == {"file-import": requests}
