"""Accounts on the page: how they are, set, checked, removed; secrets are never shown."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from bridge.core.counters import DETECTION_DELAY
from bridge.db.counters import Counters
from bridge.db.tables import account_breakers, account_days
from bridge.sandbox import Sandbox
from bridge.steps import accounts
from tests.makers import NOW, later
from tests.web.admin.operator import an_operator
from tests.web.api import Api

TOKEN = "pat-na1-secret-token"


def breaker(name: str, **others: Any) -> Any:
    usual = {"failures": 0, "pause_seconds": 0.0, "headroom": 1.0}
    return insert(account_breakers).values(name=name, **usual | others)


def test_an_account_is_added_and_its_secret_is_never_shown(api: Api) -> None:
    operator = an_operator(api)
    form = {"name": "eu", "access_token": TOKEN, "rate_limit": "190/10", "rate_share": "0.25", "base_url": ""}
    answer = operator.submit("/accounts", form, follow_redirects=True)
    assert "The account eu is set." in answer.text
    assert TOKEN not in answer.text
    stored = {each.account.name: each.account for each in _every(api)}["eu"]
    assert stored.credentials.access_token == TOKEN
    assert (stored.rate.requests, stored.rate.seconds, stored.rate.share) == (190, 10, 0.25)


def _every(api: Api) -> list[accounts.AccountStatus]:
    return accounts.list_all(api.dependencies.engine, api.dependencies.accounts, now=NOW)


def test_adding_an_account_replaces_no_other_one(sqlite_api: Api) -> None:
    operator = an_operator(sqlite_api)
    form = {"name": "eu", "access_token": TOKEN, "rate_share": "0.25", "new": "yes"}
    assert operator.submit("/accounts", form).status_code == 303
    assert operator.submit("/accounts", form | {"name": "default"}).status_code == 409
    refused = operator.submit("/accounts", form | {"access_token": "another", "rate_share": "0.75"})
    assert refused.status_code == 409
    assert "The account eu is there already: change it on its card." in refused.text
    assert 'value="0.75"' in refused.text.partition('id="add"')[2]
    assert "<details open" not in refused.text
    stored = {each.account.name: each.account for each in _every(sqlite_api)}["eu"]
    assert (stored.credentials.access_token, stored.rate.share) == (TOKEN, 0.25)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"name": "eu"}, "either access_token, or client_id"),
        ({"name": "two words", "access_token": TOKEN}, "name"),
        ({"name": "eu", "access_token": TOKEN, "rate_share": "2"}, "rate_share"),
        ({"name": "eu", "access_token": TOKEN, "rate_share": "much"}, "rate_share"),
        ({"name": "eu", "access_token": TOKEN, "base_url": "ftp://x"}, "base_url"),
        ({"name": "default", "client_id": TOKEN}, "either access_token, or client_id"),
    ],
)
def test_what_is_wrong_is_told_and_what_was_typed_stays_but_for_secrets(
    sqlite_api: Api, form: dict[str, str], told: str
) -> None:
    answer = an_operator(sqlite_api).submit("/accounts", form | {"api_version": "2026-09"})
    assert answer.status_code == 422
    assert told in answer.text
    assert 'value="2026-09"' in answer.text
    assert TOKEN not in answer.text


def test_a_card_tells_that_the_last_request_failed_though_the_pause_is_over(api: Api) -> None:
    over = {"paused_at": later(-60), "paused_until": later(-30)}
    api.add_account("eu")
    api.execute(breaker("default", **over, reason="Answered 401", pause_seconds=30.0))
    api.execute(breaker("eu", **over, reason="Asked for time", pause_seconds=0.0))
    html = an_operator(api).get("/accounts").text
    assert "Answered 401" in html
    assert html.count("HubSpot has not been polled since") == html.count("not paused") == 1
    assert "Asked for time" not in html


def test_a_card_tells_quota_errors_and_why_the_account_is_paused(api: Api) -> None:
    api.add_account("eu")
    until = NOW + timedelta(minutes=9)
    reason = "HubSpot answered 401. Give the account a valid token."
    api.execute(breaker("eu", paused_at=NOW, paused_until=until, reason=reason, pause_seconds=30.0,
                     daily_remaining=1000, observed_at=NOW))  # fmt: skip
    api.insert(account_days, account="eu", day=NOW.date(), requests=200, errors=20)
    counted = Counters()
    counted.observe(DETECTION_DELAY, 0.4, "eu")
    counted.flush(api.dependencies.engine, NOW)
    html = an_operator(api).get("/accounts").text
    for part in (
        "half within 0.",
        "paused",
        reason,
        "in 9 min",
        "10.0 % of 200",
        "less than 5 %",
        "1,000 are left",
        'class="over"',
    ):
        assert part in html


def test_a_card_does_not_blame_new_credentials_for_what_hubspot_said_of_the_old(api: Api) -> None:
    api.add_account("eu")
    api.client().register(account="eu")
    until = NOW + timedelta(minutes=9)
    api.execute(breaker("eu", paused_at=NOW, paused_until=until, reason="Answered 401", pause_seconds=30.0))
    operator = an_operator(api)
    html = operator.submit("/accounts", {"name": "eu", "access_token": TOKEN}, follow_redirects=True).text
    assert "Answered 401" not in html
    assert "The account was changed: its next request shows" in html


def test_what_hubspot_said_yesterday_of_the_day_is_not_shown(sqlite_api: Api) -> None:
    sqlite_api.add_account("eu")
    sqlite_api.execute(breaker("eu", daily_remaining=1000, observed_at=NOW - timedelta(days=1)))
    html = an_operator(sqlite_api).get("/accounts").text
    assert "1,000 are left" not in html
    assert "<dd>none today</dd>" in html


def test_check_now_asks_hubspot(sqlite_api: Api, hubspot: Sandbox) -> None:
    operator = an_operator(sqlite_api)
    operator.submit("/accounts", {"name": "try", "access_token": "sandbox-token", "base_url": hubspot.url})
    answer = operator.submit("/accounts/try/check", follow_redirects=True)
    assert "HubSpot takes the credentials." in unescaped(answer.text)
    operator.submit("/accounts", {"name": "bad", "access_token": "another", "base_url": hubspot.url})
    answer = operator.submit("/accounts/bad/check", follow_redirects=True)
    assert "Give the account a valid token." in unescaped(answer.text)


def unescaped(html: str) -> str:
    return html.replace("&#39;", "'")


def test_an_account_is_removed_unless_it_is_needed(sqlite_api: Api) -> None:
    sqlite_api.add_account("eu")
    operator = an_operator(sqlite_api)
    watch_id = sqlite_api.client().register(account="eu")["id"]
    assert operator.submit("/accounts/eu/remove").status_code == 409
    sqlite_api.admin.delete(f"/v1/watches/{watch_id}")
    assert "The account eu is removed." in operator.submit("/accounts/eu/remove", follow_redirects=True).text
    assert [each.account.name for each in _every(sqlite_api)] == ["default"]


@pytest.mark.parametrize("change", ["check", "remove"])
def test_an_account_that_is_none_is_told(sqlite_api: Api, change: str) -> None:
    assert an_operator(sqlite_api).submit(f"/accounts/nobody/{change}").status_code == 404
