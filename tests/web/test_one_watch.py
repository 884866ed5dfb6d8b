"""`GET /v1/watches/{id}` and its attempts; what the path of a watch may be."""

import pytest

from bridge.db.tables import attempts
from tests.makers import NOW
from tests.web.api import URL, Api, Caller, members, problem


def test_another_clients_watch_does_not_exist(api: Api) -> None:
    watch, other = api.client("a").register(), api.client("b")
    for path in (f"/v1/watches/{watch['id']}", f"/v1/watches/{watch['id']}/attempts"):
        assert problem(other.get(path), 404) == problem(other.get("/v1/watches/wat_unknown"), 404)
        assert api.admin.get(path).status_code == 200


def test_attempts_are_listed_oldest_first_and_what_was_answered_is_for_admins(api: Api) -> None:
    client = api.client()
    watch = client.register()
    for number, trigger in ((2, "manual"), (1, "schedule")):
        api.insert(
            attempts,
            watch_id=watch["id"],
            number=number,
            trigger=trigger,
            started_at=NOW,
            duration_ms=17,
            status_code=500,
            error="The receiver answered 500",
            response_excerpt="a secret page",
        )
    path = f"/v1/watches/{watch['id']}/attempts"
    attempt = {
        "number": 1,
        "trigger": "schedule",
        "started_at": "2026-11-21T12:00:00.000000Z",
        "duration_ms": 17,
        "status_code": 500,
        "error": "The receiver answered 500",
    }
    second = {"number": 2, "trigger": "manual"}
    shown = members(client.get(path))["attempts"]
    assert shown == [attempt | {"response_excerpt": None}, attempt | second | {"response_excerpt": None}]
    assert [a["response_excerpt"] for a in members(api.admin.get(path))["attempts"]] == ["a secret page"] * 2


def test_a_watch_that_was_never_delivered_has_no_attempts(api: Api) -> None:
    client = api.client()
    watch = client.register()
    assert members(client.get(f"/v1/watches/{watch['id']}/attempts")) == {"attempts": []}


def test_a_slash_at_the_end_changes_nothing(api: Api) -> None:
    client = api.client()
    watch = members(client.post("/v1/watches/", {"task_id": "a", "callback_url": URL}))
    assert members(client.get("/v1/watches/"))["watches"] == [watch]
    assert members(client.get(f"/v1/watches/{watch['id']}/")) == watch


@pytest.mark.parametrize(
    "watch_id", ["AAAAEZ6whGI", "wat_", "wat_a-b", "WAT_01hf3k9c2e7v8x4m6q0r5t1w3y8", "17"]
)
def test_what_is_no_id_is_told_so(refused: Caller, watch_id: str) -> None:
    for method, path in (("GET", ""), ("GET", "/attempts"), ("DELETE", ""), ("POST", "/redeliver")):
        told = problem(refused.send(method, f"/v1/watches/{watch_id}{path}"), 404)
        assert "no id" in told["detail"]
