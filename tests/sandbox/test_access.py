"""Tokens: static ones, and those of the OAuth server."""

import pytest

from bridge.sandbox import Target
from tests.sandbox.caller import Caller, Clock


def category(hubspot: Caller, token: str | None) -> tuple[int, str | None]:
    answer = hubspot.status("AAAAEZ6whGI", token=token)
    return answer.status_code, answer.json().get("category")


@pytest.mark.parametrize("token", [None, ""])
def test_a_call_without_a_token_is_401(hubspot: Caller, token: str | None) -> None:
    assert category(hubspot, token) == (401, "INVALID_AUTHENTICATION")


@pytest.mark.parametrize("token", ["wrong", "sandbox-token2", "sandbox-refresh"])
def test_a_token_that_was_never_issued_expired_in_1970(hubspot: Caller, token: str) -> None:
    answer = hubspot.status("AAAAEZ6whGI", token=token)
    document = answer.json()
    assert (answer.status_code, document["category"]) == (401, "EXPIRED_AUTHENTICATION")
    # The clock stands at 2026-11-21.
    assert document["message"] == "The OAuth token used to make this call expired 20778 day(s) ago."
    assert document["context"] == {"expire time": ["1970-01-01T00:00:00Z"]}


def test_another_scheme_than_bearer_is_401(hubspot: Caller) -> None:
    headers = {"Authorization": "Basic sandbox-token"}
    assert hubspot.status("AAAAEZ6whGI", headers=headers).status_code == 401


def test_starting_needs_a_token_too(hubspot: Caller) -> None:
    answer = hubspot.call("POST", "/files/v3/files/import-from-url/async", token="wrong", json={})
    assert answer.status_code == 401


def test_the_tokens_are_an_option(hubspot: Caller) -> None:
    hubspot.state.change_options({"tokens": ["pat-na1-one", "pat-na1-two"]})
    assert category(hubspot, "pat-na1-two")[0] == 404
    assert category(hubspot, "sandbox-token")[0] == 401


def test_a_refresh_gives_an_access_token_that_holds(hubspot: Caller) -> None:
    answer = hubspot.refresh()
    document = answer.json()
    assert (answer.status_code, document["token_type"], document["expires_in"]) == (200, "bearer", 1800)
    assert document["refresh_token"] == "sandbox-refresh"
    assert category(hubspot, document["access_token"])[0] == 404


def test_an_access_token_expires(hubspot: Caller, clock: Clock) -> None:
    hubspot.state.change_options({"access_token_seconds": 5})
    document = hubspot.refresh().json()
    clock.passes(4.9)
    assert category(hubspot, document["access_token"])[0] == 404
    clock.passes(0.1)
    assert document["expires_in"] == 5
    assert category(hubspot, document["access_token"]) == (401, "EXPIRED_AUTHENTICATION")


def test_an_older_access_token_holds_after_a_refresh(hubspot: Caller) -> None:
    first = hubspot.refresh().json()["access_token"]
    assert hubspot.refresh().json()["access_token"] != first
    assert category(hubspot, first)[0] == 404


def test_a_refresh_token_can_be_used_again_unless_it_rotates(hubspot: Caller) -> None:
    assert [hubspot.refresh().status_code for _ in range(2)] == [200, 200]
    hubspot.state.change_options({"rotate_refresh_token": True})
    second = hubspot.refresh().json()["refresh_token"]
    assert second != "sandbox-refresh"
    assert hubspot.refresh().status_code == 400
    assert hubspot.refresh(refresh_token=second).status_code == 200
    assert hubspot.refresh(refresh_token=second).status_code == 400


@pytest.mark.parametrize(
    ("field", "error", "status"),
    [
        ("refresh_token", "invalid_grant", "BAD_REFRESH_TOKEN"),
        ("client_id", "invalid_client", "BAD_CLIENT_ID"),
        ("client_secret", "invalid_client", "BAD_CLIENT_SECRET"),
        ("grant_type", "unsupported_grant_type", "BAD_GRANT_TYPE"),
    ],
)
def test_a_wrong_field_of_a_refresh_is_refused(hubspot: Caller, field: str, error: str, status: str) -> None:
    answer = hubspot.refresh(**{field: "wrong"})
    document = answer.json()
    assert (answer.status_code, document["error"], document["status"]) == (400, error, status)


def test_the_oauth_server_reads_forms_only(hubspot: Caller) -> None:
    form = {"grant_type": "refresh_token", "refresh_token": "sandbox-refresh"}
    assert hubspot.call("POST", "/oauth/2026-03/token", token=None, json=form).status_code == 415


def test_the_oauth_server_does_not_read_the_query(hubspot: Caller) -> None:
    query = "grant_type=refresh_token&client_id=sandbox-client&client_secret=sandbox-secret&refresh_token=sandbox-refresh"
    answer = hubspot.call("POST", f"/oauth/2026-03/token?{query}", token=None, data={"x": "y"})
    assert answer.json()["status"] == "BAD_GRANT_TYPE"


def test_refreshes_are_counted_and_refused_ones_are_not(hubspot: Caller) -> None:
    for token in ("sandbox-refresh", "wrong", "sandbox-refresh"):
        hubspot.refresh(refresh_token=token)
    ledger = hubspot.state.ledger()
    assert (ledger["refreshes"], ledger["endpoints"]["oauth-token"]) == (2, 3)


def test_a_fault_can_hit_the_oauth_server(hubspot: Caller) -> None:
    hubspot.state.set_fault("500", Target(endpoint="oauth-token"), times=1)
    assert [hubspot.refresh().status_code for _ in range(2)] == [500, 200]


def test_a_fault_of_everything_spares_the_oauth_server(hubspot: Caller) -> None:
    hubspot.state.set_fault("401")
    token = hubspot.refresh().json()["access_token"]
    assert category(hubspot, token) == (401, "INVALID_AUTHENTICATION")


def test_an_app_without_scopes_is_told_which_it_needs(hubspot: Caller) -> None:
    hubspot.state.set_fault("403-scopes")
    answer = hubspot.status("AAAAEZ6whGI")
    document = answer.json()
    assert (answer.status_code, document["category"]) == (403, "MISSING_SCOPES")
    assert "files" in document["errors"][0]["context"]["requiredGranularScopes"]


def test_an_account_can_be_banned_and_let_in_again(hubspot: Caller) -> None:
    hubspot.state.set_fault("403-ban")
    assert category(hubspot, "sandbox-token") == (403, "BANNED")
    hubspot.state.clear_faults()
    assert category(hubspot, "sandbox-token")[0] == 404
