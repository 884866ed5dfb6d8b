"""Tokens: when they are to be refreshed, and what the token server's answers mean."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.oauth import TokenPair, read
from tests.makers import an_answer

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NEW_REFRESH_TOKEN = "HubSpot takes the refresh token no more: install the app again, and set the new one"
NEW_CLIENT = "HubSpot does not know the app: set the client id and the client secret of the account's app"
CHECK = "check the app's client id and client secret, or install the app again, and set the new refresh token"
SECRETS = ("at-secret", "rt-secret", "rt-old")


def issued(life_seconds: float = 1800) -> TokenPair:
    return TokenPair(
        access_token="at-secret",
        refresh_token="rt-secret",
        issued_at=NOW,
        expires_at=NOW + timedelta(seconds=life_seconds),
    )


def finished(answer: HttpResponse | NoResponse) -> TokenPair | NoToken:
    return read(answer, refresh_token="rt-old", asked_at=NOW)


@pytest.mark.parametrize(
    ("life_seconds", "due_after_seconds"),
    [
        (1800, 1620),  # a tenth
        (600, 540),  # a minute, which is a tenth too
        (300, 240),  # a minute, which is more
        (90, 45),  # never in the first half
        (2, 1),
    ],
)
def test_a_token_is_due_ahead_of_its_end(life_seconds: float, due_after_seconds: float) -> None:
    token = issued(life_seconds)
    assert not token.needs_refresh(NOW + timedelta(seconds=due_after_seconds - 0.001))
    assert token.needs_refresh(NOW + timedelta(seconds=due_after_seconds))


def test_a_token_serves_until_its_end() -> None:
    assert issued().is_usable(None, NOW + timedelta(seconds=1799.9))
    assert not issued().is_usable(None, NOW + timedelta(seconds=1800))


def test_a_token_that_hubspot_refused_does_not_serve() -> None:
    assert not issued().is_usable("at-secret", NOW)
    assert issued().is_usable("an older one", NOW)


def test_tokens_are_not_shown() -> None:
    assert not any(secret in repr(issued()) for secret in SECRETS)


GRANT: dict[str, Any] = {"access_token": "at-secret", "refresh_token": "rt-secret", "expires_in": 1800}


@pytest.mark.parametrize("status_code", [200, 201])
def test_a_grant_is_taken_over(status_code: int) -> None:
    assert finished(an_answer(status_code, GRANT)) == issued()


@pytest.mark.parametrize("refresh_token", [None, "", 17, "\ud800"])
def test_without_a_new_refresh_token_the_old_one_stays(refresh_token: object) -> None:
    assert finished(an_answer(200, GRANT | {"refresh_token": refresh_token})) == replace(
        issued(), refresh_token="rt-old"
    )


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [(None, 1800), ("1800", 1800), (True, 1800), (60, 60), (1.5, 1.5), (0, 1), (-5, 1), (10**400, 86_400)],
)
def test_an_odd_life_is_made_plausible(expires_in: object, seconds: float) -> None:
    assert finished(an_answer(200, GRANT | {"expires_in": expires_in})) == issued(seconds)


@pytest.mark.parametrize("access_token", [None, "", 17, "two words", "a\r\nb", "\u2603", "x" * 4097])
def test_an_access_token_that_no_header_can_hold_is_none(access_token: object) -> None:
    answer = finished(an_answer(200, GRANT | {"access_token": access_token}))
    assert answer == NoToken(
        reason="The OAuth token could not be refreshed: the token server's answer holds no access token.",
        is_temporary=True,
    )


@pytest.mark.parametrize(
    ("status_code", "said", "reason"),
    [
        (
            400,
            {"error": "invalid_grant", "status": "BAD_REFRESH_TOKEN", "message": "rt-old is bad"},
            f"{NEW_REFRESH_TOKEN} (BAD_REFRESH_TOKEN).",
        ),
        (
            400,
            {"error": "invalid_grant"},
            f"{NEW_REFRESH_TOKEN} (invalid_grant).",
        ),
        (
            401,
            {"error": "invalid_client", "status": 17},
            f"{NEW_CLIENT} (invalid_client).",
        ),
        (
            403,
            {"status": "BANNED"},
            f"HubSpot answered 403 to the refresh of the OAuth token (BANNED): {CHECK}.",
        ),
        (
            400,
            {"status": "rt-old is bad"},
            f"HubSpot answered 400 to the refresh of the OAuth token: {CHECK}.",
        ),
        (
            401,
            {"status": "error", "category": "INVALID_AUTHENTICATION", "message": "rt-old is bad"},
            f"HubSpot answered 401 to the refresh of the OAuth token (INVALID_AUTHENTICATION): {CHECK}.",
        ),
    ],
)
def test_a_refusal_says_what_to_do(status_code: int, said: object, reason: str) -> None:
    assert finished(an_answer(status_code, said)) == NoToken(reason=reason)


@pytest.mark.parametrize(
    "answer",
    [
        NoResponse(reason="connection refused"),
        HttpResponse(status_code=200, body=b"<html>rt-old</html>"),
        HttpResponse(status_code=400, body=b"<html>rt-old</html>"),
        HttpResponse(status_code=200, body=b'{"access_token":"at-secret"', complete=False),
        an_answer(200, ["at-secret"]),
        an_answer(302, {}),
        an_answer(404, {"message": "rt-old"}),
        an_answer(429, {"errorType": "RATE_LIMIT"}),
        an_answer(500, {"message": "rt-old"}),
    ],
)
def test_trouble_is_not_the_account_s_fault(answer: HttpResponse | NoResponse) -> None:
    trouble = finished(answer)
    assert isinstance(trouble, NoToken)
    assert trouble.is_temporary
    assert trouble.reason.startswith("The OAuth token could not be refreshed: ")
    assert not any(secret in trouble.reason for secret in SECRETS)
