"""`/v1/clients`."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from bridge.core.signing import signing_key
from bridge.db import clients as store
from tests.reliability.waiting import until
from tests.web.api import URL, Api, Caller, members, pointers, problem


@pytest.fixture(scope="session")
def refused_admin(refusing_api: Api) -> Caller:
    return refusing_api.admin


def listed(api: Api) -> dict[str, dict[str, Any]]:
    return {client["name"]: client for client in members(api.admin.get("/v1/clients"))["clients"]}


def test_a_new_client_gets_its_key_and_secret_once(api: Api) -> None:
    response = api.admin.post("/v1/clients", {"name": "cms"})
    made = members(response)
    assert response.status_code == 201
    assert (made["name"], made["admin"]) == ("cms", False)
    assert made.keys() == {"name", "admin", "api_key", "signing_secret"}
    assert made["api_key"].startswith("hib_")
    assert len(made["api_key"]) == 47
    assert len(signing_key(made["signing_secret"])) == 32
    assert Caller(app=api.app, key=made["api_key"]).register()["client"] == "cms"
    text = api.admin.get("/v1/clients").text
    assert made["api_key"] not in text
    assert made["signing_secret"] not in text
    assert listed(api)["cms"]["key_prefix"] == made["api_key"][:10]


def test_a_client_may_be_an_admin(api: Api) -> None:
    made = members(api.admin.post("/v1/clients", {"name": "ops", "admin": True}))
    assert Caller(app=api.app, key=made["api_key"]).get("/v1/clients").status_code == 200


def test_a_name_is_given_once_even_when_its_client_was_revoked(api: Api) -> None:
    api.client("cms")
    assert pointers(api.admin.post("/v1/clients", {"name": "cms"}), 409) == ["/name"]
    api.admin.delete("/v1/clients/cms")
    assert pointers(api.admin.post("/v1/clients", {"name": "cms", "admin": True}), 409) == ["/name"]


def test_the_name_admin_is_for_admins(api: Api) -> None:
    assert pointers(api.admin.post("/v1/clients", {"name": "admin"}), 409) == ["/name"]
    assert api.admin.post("/v1/clients", {"name": "admin", "admin": True}).status_code == 201


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "a b"}, "/name"),
        ({"name": "a\n"}, "/name"),
        ({"name": "a/b"}, "/name"),
        ({"name": ".."}, "/name"),
        ({"name": "ä"}, "/name"),
        ({"name": "\x00"}, "/name"),
        ({"name": "\ud800"}, "/name"),
        ({"name": "x" * 65}, "/name"),
        ({"name": 17}, "/name"),
        ({"name": "a", "admin": "yes"}, "/admin"),
        ({"name": "a", "admin": 1}, "/admin"),
        ({"name": "a", "api_key": "mine"}, "/api_key"),
    ],
)
def test_a_wrong_client_is_refused(refused_admin: Caller, body: dict[str, Any], pointer: str) -> None:
    assert pointers(refused_admin.post("/v1/clients", body)) == [pointer]


def test_a_revoked_key_stops_at_once_and_the_watches_go_on(api: Api) -> None:
    client = api.client("cms")
    watch = client.register()
    response = api.admin.delete("/v1/clients/cms")
    assert response.status_code == 200
    assert members(response)["revoked_at"].startswith("2026-11-21T12:00:00")
    assert members(response) == listed(api)["cms"]
    problem(client.get("/v1/watches"), 401)
    problem(client.post("/v1/watches", {"task_id": "b", "callback_url": "https://a.example/"}), 401)
    assert members(api.admin.get(f"/v1/watches/{watch['id']}"))["state"] == "watching"


def test_there_is_nothing_to_revoke_twice(api: Api) -> None:
    api.client("cms")
    api.admin.delete("/v1/clients/cms")
    assert "for good" in problem(api.admin.delete("/v1/clients/cms"), 404)["detail"]
    problem(api.admin.delete("/v1/clients/nobody"), 404)
    problem(api.admin.delete("/v1/clients/a%00"), 404)


def test_a_key_cannot_revoke_itself(api: Api) -> None:
    problem(api.admin.delete("/v1/clients/admin"), 409)
    ops = api.client("ops", admin=True)
    problem(ops.delete("/v1/clients/ops"), 409)
    assert ops.get("/v1/clients").status_code == 200


def test_when_a_key_was_used_is_noted_once_a_minute(api: Api) -> None:
    client = api.client("cms")
    assert listed(api)["cms"]["last_used_at"] is None
    client.get("/v1/watches")
    first = until(lambda: listed(api)["cms"]["last_used_at"])
    api.clock.passes(50)
    client.get("/v1/watches")
    client.register()
    assert listed(api)["cms"]["last_used_at"] == first
    api.clock.passes(20)
    client.register("another")
    until(lambda: listed(api)["cms"]["last_used_at"] > first)


def test_when_the_admin_key_of_the_environment_was_used_is_noted_too(api: Api) -> None:
    api.admin.register()
    api.clock.passes(61)
    until(lambda: members(api.admin.get("/v1/me"))["last_used_at"])


def test_an_admin_looks_at_one_client(api: Api) -> None:
    api.client("cms")
    assert members(api.admin.get("/v1/clients/cms")) == listed(api)["cms"]
    problem(api.admin.get("/v1/clients/nobody"), 404)
    problem(api.client("shop").get("/v1/clients/shop"), 403)


def test_everybody_sees_whose_key_it_is(api: Api) -> None:
    client = api.client("cms")
    me = members(client.get("/v1/me"))
    assert (me["name"], me["admin"]) == ("cms", False)
    assert me.keys() == listed(api)["cms"].keys()
    assert members(api.admin.get("/v1/me")) == dict.fromkeys(me) | {"name": "admin", "admin": True}
    api.admin.register()
    assert members(api.admin.get("/v1/me"))["created_at"] is not None
    problem(api.nobody.get("/v1/me"), 401)


def test_a_client_gets_a_new_key_and_the_old_one_stops_at_once(api: Api) -> None:
    old = api.client("cms")
    old.register("before")
    made = members(old.post("/v1/me/rotate-key"))
    assert made.keys() == {"name", "api_key"}
    problem(old.get("/v1/me"), 401)
    problem(old.post("/v1/watches", {"task_id": "b", "callback_url": URL}), 401)
    new = Caller(app=api.app, key=made["api_key"])
    assert members(new.get("/v1/me"))["key_prefix"] == made["api_key"][:10]
    assert new.register("after")["client"] == "cms"


def test_a_client_gets_a_new_secret_and_both_sign_while_the_overlap_runs(api: Api) -> None:
    made = api.new_client("cms")
    client = Caller(app=api.app, key=made.api_key)
    second = members(client.post("/v1/me/rotate-secret"))
    assert second.keys() == {"name", "signing_secret"}
    third = members(client.post("/v1/me/rotate-secret", {"overlap": "90s"}))
    signing = partial(signing_secrets, api, "cms")
    assert signing(60) == [third["signing_secret"], second["signing_secret"], made.signing_secret]
    assert signing(120) == [third["signing_secret"], made.signing_secret]
    assert signing(86_500) == [third["signing_secret"]]


def signing_secrets(api: Api, client: str, seconds: float) -> list[str]:
    """The secrets that sign a client's callbacks so many seconds from now, newest first."""
    with api.dependencies.engine.begin() as connection:
        found = store.secrets_of(connection, [client], api.clock() + timedelta(seconds=seconds))
    return [api.dependencies.cipher.decrypt(token) for token in found[client]]


def test_an_admin_gives_a_client_a_new_key_and_a_new_secret(api: Api) -> None:
    made = api.new_client("cms")
    key = members(api.admin.post("/v1/clients/cms/rotate-key"))["api_key"]
    problem(Caller(app=api.app, key=made.api_key).get("/v1/me"), 401)
    assert members(Caller(app=api.app, key=key).get("/v1/me"))["name"] == "cms"
    secret = members(api.admin.post("/v1/clients/cms/rotate-secret", {"overlap": "0s"}))["signing_secret"]
    assert signing_secrets(api, "cms", 1) == [secret]
    for path in ("rotate-key", "rotate-secret"):
        problem(api.admin.post(f"/v1/clients/nobody/{path}"), 404)
        problem(api.client(path).post(f"/v1/clients/cms/{path}"), 403)


def test_the_key_from_the_environment_is_changed_there(api: Api) -> None:
    assert "BRIDGE_ADMIN_KEY" in problem(api.admin.post("/v1/me/rotate-key"), 409)["detail"]
    secret = members(api.admin.post("/v1/me/rotate-secret", {"overlap": "0s"}))["signing_secret"]
    assert signing_secrets(api, "admin", 1) == [secret]


@pytest.mark.parametrize("overlap", ["", "24", "h", "-1h", "1.5h", "1w", "1234567s", "24h ", "٣h", 24, None])
def test_a_wrong_overlap_is_refused(refused_admin: Caller, overlap: object) -> None:
    assert pointers(refused_admin.post("/v1/me/rotate-secret", {"overlap": overlap})) == ["/overlap"]
