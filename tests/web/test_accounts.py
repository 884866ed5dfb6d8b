"""`/v1/accounts`."""

import json
from datetime import timedelta
from typing import Any

import pytest

from bridge.db.tables import account_breakers
from tests.makers import NOW
from tests.web.api import Api, Caller, members, pointers, problem

TOKEN = {"access_token": "pat-na1-very-secret"}
OAUTH = {"client_id": "id-secret", "client_secret": "secret-secret", "refresh_token": "refresh-secret"}


@pytest.fixture(scope="session")
def refused_admin(refusing_api: Api) -> Caller:
    return refusing_api.admin


def listed(api: Api) -> dict[str, dict[str, Any]]:
    return {account["name"]: account for account in members(api.admin.get("/v1/accounts"))["accounts"]}


def test_the_account_of_the_environment_is_always_there(api: Api) -> None:
    assert listed(api) == {
        "default": {
            "name": "default",
            "source": "environment",
            "auth": "none",
            "base_url": "https://api.hubapi.com",
            "api_version": "v3",
            "rate_limit": "100/10",
            "rate_share": 0.5,
            "paused_until": None,
            "paused_reason": None,
        }
    }


def test_a_new_account_is_created_and_changed_as_a_whole(api: Api) -> None:
    everything = {
        "base_url": "https://eu.hubapi.test/",
        "api_version": "2026-09",
        "rate_limit": "190/10",
        "rate_share": 1,
    }
    first = api.admin.put("/v1/accounts/portal-2", TOKEN | everything)
    second = api.admin.put("/v1/accounts/portal-2", OAUTH)
    assert (first.status_code, second.status_code) == (201, 200)
    assert members(first) == {
        "name": "portal-2",
        "source": "stored",
        "auth": "token",
        "base_url": "https://eu.hubapi.test",
        "api_version": "2026-09",
        "rate_limit": "190/10",
        "rate_share": 1.0,
        "paused_until": None,
        "paused_reason": None,
    }
    assert members(second) == members(first) | {
        "auth": "oauth",
        "base_url": "https://api.hubapi.com",
        "api_version": "v3",
        "rate_limit": "100/10",
        "rate_share": 0.5,
    }
    assert listed(api)["portal-2"] == members(second)


def test_a_stored_default_stands_before_the_environments(api: Api) -> None:
    assert api.admin.put("/v1/accounts/default", TOKEN).status_code == 201
    assert (listed(api)["default"]["source"], listed(api)["default"]["auth"]) == ("stored", "token")
    assert api.admin.delete("/v1/accounts/default").status_code == 200
    assert listed(api)["default"]["source"] == "environment"


def test_no_secret_ever_comes_out(api: Api) -> None:
    texts = [
        api.admin.put("/v1/accounts/a", TOKEN).text,
        api.admin.put("/v1/accounts/b", OAUTH).text,
        api.admin.get("/v1/accounts").text,
        api.admin.put("/v1/accounts/a", {"access_token": "white very-secret"}).text,
        api.admin.put("/v1/accounts/a", TOKEN | OAUTH).text,
        api.admin.put("/v1/accounts/a", {"acces_token": "very-secret", "access_token": ["very-secret"]}).text,
        api.admin.put(
            "/v1/accounts/a", TOKEN | {"base_url": "very-secret", "rate_limit": "very-secret"}
        ).text,
        api.admin.delete("/v1/accounts/a").text,
    ]
    assert "secret" not in "".join(texts).replace("client_secret", "")


def test_an_account_that_was_paused_is_tried_again_with_its_new_credentials(api: Api) -> None:
    breaker = {"failures": 1, "pause_seconds": 900.0, "headroom": 1.0, "reason": "HubSpot answered 401"}
    api.insert(account_breakers, name="default", paused_until=NOW + timedelta(minutes=15), **breaker)
    api.client().register("a")
    account = members(api.admin.put("/v1/accounts/default", TOKEN))
    assert account["paused_until"] < "2026-11-21T12:01"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ""),
        ({"access_token": None}, ""),
        (TOKEN | OAUTH, ""),
        (TOKEN | {"client_id": "id"}, ""),
        ({"client_id": "id", "client_secret": "secret"}, ""),
        ({"access_token": ""}, "/access_token"),
        ({"access_token": "white space"}, "/access_token"),
        ({"access_token": "line\r\nBreak: 1"}, "/access_token"),
        ({"access_token": "\x00"}, "/access_token"),
        ({"access_token": "ü"}, "/access_token"),
        ({"access_token": "\ud800"}, "/access_token"),
        ({"access_token": "x" * 4097}, "/access_token"),
        ({"access_token": 17}, "/access_token"),
        (TOKEN | {"token": "x"}, "/token"),
        (TOKEN | {"base_url": "api.hubapi.com"}, "/base_url"),
        (TOKEN | {"base_url": "ftp://api.hubapi.com"}, "/base_url"),
        (TOKEN | {"base_url": "https://"}, "/base_url"),
        (TOKEN | {"base_url": "https://user@api.hubapi.com"}, "/base_url"),
        (TOKEN | {"base_url": "https://api.hubapi.com?a=1"}, "/base_url"),
        (TOKEN | {"base_url": "https://api.hubapi.com/?"}, "/base_url"),
        (TOKEN | {"base_url": "https://api.hubapi.com/#"}, "/base_url"),
        (TOKEN | {"base_url": "https://api.hubapi.com:x"}, "/base_url"),
        (TOKEN | {"base_url": "https://[::1"}, "/base_url"),
        (TOKEN | {"base_url": "https://a b"}, "/base_url"),
        (TOKEN | {"base_url": "https://a\ud800"}, "/base_url"),
        (TOKEN | {"api_version": "v4"}, "/api_version"),
        (TOKEN | {"api_version": "2026-13"}, "/api_version"),
        (TOKEN | {"api_version": "2026-03\n"}, "/api_version"),
        (TOKEN | {"rate_limit": "100"}, "/rate_limit"),
        (TOKEN | {"rate_limit": "0/10"}, "/rate_limit"),
        (TOKEN | {"rate_limit": "100/10s"}, "/rate_limit"),
        (TOKEN | {"rate_limit": "9999999/10"}, "/rate_limit"),
        (TOKEN | {"rate_limit": 100}, "/rate_limit"),
        (TOKEN | {"rate_share": 0}, "/rate_share"),
        (TOKEN | {"rate_share": 1.01}, "/rate_share"),
        (TOKEN | {"rate_share": True}, "/rate_share"),
        (TOKEN | {"rate_share": "0.5"}, "/rate_share"),
    ],
)
def test_a_wrong_account_is_refused(refused_admin: Caller, body: dict[str, Any], where: str) -> None:
    assert pointers(refused_admin.put("/v1/accounts/refused", body)) == [where]


def test_every_fault_of_an_account_is_named(refused_admin: Caller) -> None:
    body = {"access_token": "a b", "client_id": "x", "base_url": "hapi", "rate_limit": "0", "extra": 1}
    told = pointers(refused_admin.put("/v1/accounts/portal-2", body))
    assert told == ["/access_token", "/base_url", "/rate_limit", "/extra", ""]


def test_what_is_wrong_with_an_account_is_told_in_words(refused_admin: Caller) -> None:
    wrong = TOKEN | {"api_version": "v4", "rate_limit": "100"}
    faults = problem(refused_admin.put("/v1/accounts/refused", wrong), 422)["errors"]
    assert [fault["detail"] for fault in faults] == [
        "must be v3, or a year and a month such as 2026-03",
        "must be requests / seconds, both whole numbers, such as 100/10",
    ]


@pytest.mark.parametrize("name", ["a b", "a%00", "a%2Fb", "ä", "x" * 65, ".", ".."])
def test_a_name_that_no_account_can_have_is_not_found(refused_admin: Caller, name: str) -> None:
    problem(refused_admin.put(f"/v1/accounts/{name}", TOKEN), 404)
    problem(refused_admin.delete(f"/v1/accounts/{name}"), 404)


def test_a_stored_account_can_be_removed(api: Api) -> None:
    created = members(api.admin.put("/v1/accounts/portal-2", TOKEN))
    removed = api.admin.delete("/v1/accounts/portal-2")
    assert (removed.status_code, members(removed)) == (200, created)
    assert list(listed(api)) == ["default"]
    problem(api.admin.delete("/v1/accounts/portal-2"), 404)
    problem(api.admin.delete("/v1/accounts/default"), 404)


def test_an_account_whose_tasks_are_being_watched_cannot_be_removed(api: Api) -> None:
    api.add_account("portal-2")
    watch = api.client().register(account="portal-2")
    assert "being watched" in problem(api.admin.delete("/v1/accounts/portal-2"), 409)["detail"]
    api.admin.delete(f"/v1/watches/{watch['id']}")
    assert api.admin.delete("/v1/accounts/portal-2").status_code == 200


def test_a_stored_default_can_be_removed_while_it_is_in_use(api: Api) -> None:
    api.add_account("default")
    api.client().register()
    assert api.admin.delete("/v1/accounts/default").status_code == 200


def test_an_admin_looks_at_one_account(api: Api) -> None:
    api.add_account("portal-2")
    shown = members(api.admin.get("/v1/accounts/portal-2"))
    assert shown in members(api.admin.get("/v1/accounts"))["accounts"]
    assert "pat-test" not in json.dumps(shown)
    assert members(api.admin.get("/v1/accounts/default"))["auth"] == "none"
    problem(api.admin.get("/v1/accounts/nobody"), 404)
    problem(api.client().get("/v1/accounts/default"), 403)
