"""`/v1/clients`."""

from typing import Any

import pytest

from bridge.core.signing import secret_key
from tests.reliability.waiting import until
from tests.web.api import Api, Caller, members, pointers, problem


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
    assert len(secret_key(made["signing_secret"])) == 32
    assert Caller(app=api.app, key=made["api_key"]).registers()["client"] == "cms"
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
    watch = client.registers()
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
    client.registers()
    assert listed(api)["cms"]["last_used_at"] == first
    api.clock.passes(20)
    client.registers("another")
    until(lambda: listed(api)["cms"]["last_used_at"] > first)
