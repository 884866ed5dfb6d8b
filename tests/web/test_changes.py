"""Withdrawing, redelivering and rechecking a watch."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from bridge.db.tables import answers, attempts, watches
from tests.makers import NOW
from tests.web.api import URL, Api, Caller, Serve, members, problem

SETTLED = {"outcome": "failed", "due_at": None, "settled_at": NOW, "attempts": 3, "tries": 3}
STATES: dict[str, dict[str, Any]] = {
    "watching": {},
    "delivering": {"outcome": "failed"},
    "delivered": SETTLED,
    "undelivered": SETTLED,
    "withdrawn": {"due_at": None, "settled_at": NOW, "registration_key": None},
}


def in_state(api: Api, state: str) -> str:
    """The path of a watch in this state, of the client `cms`."""
    watch = api.client("cms").register()
    api.change(watch["id"], state=state, **STATES[state])
    return f"/v1/watches/{watch['id']}"


@pytest.mark.parametrize("state", ["watching", "delivering"])
def test_an_open_watch_can_be_withdrawn(api: Api, state: str) -> None:
    path = in_state(api, state)
    response = api.admin.delete(path)
    watch = members(response)
    assert response.status_code == 200
    assert (watch["state"], watch["due_at"]) == ("withdrawn", None)
    assert watch["settled_at"]
    assert members(api.admin.get(path)) == watch


@pytest.mark.parametrize("state", ["delivered", "undelivered", "withdrawn"])
def test_a_settled_or_withdrawn_watch_cannot_be_withdrawn(api: Api, state: str) -> None:
    path = in_state(api, state)
    before = members(api.admin.get(path))
    told = problem(api.admin.delete(path), 409)
    assert f"a watch that is {state} cannot be withdrawn" in told["detail"]
    assert (told["type"], told["state"]) == ("/problems/wrong-state", state)
    assert told["watch_id"] == before["id"]
    assert members(api.admin.get(path)) == before


def test_a_claimed_watch_can_be_withdrawn_and_its_worker_loses_it(api: Api) -> None:
    path = in_state(api, "watching")
    api.change(path.rpartition("/")[2], claimed_by="worker-1")
    assert api.admin.delete(path).status_code == 200
    assert claimant(api, path) is None


def claimant(api: Api, path: str) -> str | None:
    with api.dependencies.engine.begin() as connection:
        found = select(watches.c.claimed_by).where(watches.c.id == path.rpartition("/")[2])
        name: str | None = connection.execute(found).scalar_one()
    return name


@pytest.mark.parametrize("state", ["delivered", "undelivered"])
def test_a_settled_watch_can_be_redelivered_at_once(api: Api, state: str) -> None:
    path = in_state(api, state)
    response = api.admin.post(f"{path}/redeliver")
    watch = members(response)
    assert response.status_code == 202
    assert (watch["state"], watch["settled_at"], watch["attempts"]) == ("delivering", None, 3)
    assert watch["due_at"] <= members(api.admin.get("/v1/watches"))["watches"][0]["due_at"]
    assert watch["due_at"] is not None


@pytest.mark.parametrize("state", ["watching", "delivering", "withdrawn"])
def test_what_is_not_settled_cannot_be_redelivered(api: Api, state: str) -> None:
    path = in_state(api, state)
    assert f"{state} cannot be redelivered" in problem(api.admin.post(f"{path}/redeliver"), 409)["detail"]


def test_a_watch_can_be_rechecked_while_it_is_watching(api: Api) -> None:
    path = in_state(api, "watching")
    api.change(path.rpartition("/")[2], due_at=NOW + timedelta(hours=1))
    response = api.admin.post(f"{path}/recheck")
    assert response.status_code == 202
    assert members(response)["due_at"] < "2026-11-21T12:01"


@pytest.mark.parametrize("state", ["delivering", "delivered", "undelivered", "withdrawn"])
def test_what_is_not_watching_cannot_be_rechecked(api: Api, state: str) -> None:
    path = in_state(api, state)
    assert f"{state} cannot be rechecked" in problem(api.admin.post(f"{path}/recheck"), 409)["detail"]


def test_a_recheck_leaves_a_watch_to_the_worker_that_is_polling_it(api: Api) -> None:
    path = in_state(api, "watching")
    lease_ends_at = NOW + timedelta(hours=1)
    api.change(path.rpartition("/")[2], claimed_by="worker-1", due_at=lease_ends_at)
    response = api.admin.post(f"{path}/recheck")
    assert response.status_code == 202
    assert members(response)["due_at"] == "2026-11-21T13:00:00.000000Z"
    assert claimant(api, path) == "worker-1"


def test_a_recheck_takes_a_watch_from_a_worker_whose_lease_has_run_out(api: Api) -> None:
    path = in_state(api, "watching")
    api.change(path.rpartition("/")[2], claimed_by="worker-1", due_at=NOW - timedelta(hours=1))
    assert api.admin.post(f"{path}/recheck").status_code == 202
    assert claimant(api, path) is None


@pytest.mark.parametrize(("method", "step"), [("DELETE", ""), ("POST", "/redeliver"), ("POST", "/recheck")])
def test_another_clients_watch_cannot_be_changed(api: Api, method: str, step: str) -> None:
    path = in_state(api, "undelivered" if step == "/redeliver" else "watching")
    before = members(api.admin.get(path))
    other = api.client("other")
    unknown = problem(other.send(method, f"/v1/watches/wat_unknown{step}"), 404)
    assert problem(other.send(method, f"{path}{step}"), 404) == unknown
    assert members(api.admin.get(path)) == before


def test_a_client_may_change_its_own_watches(api: Api) -> None:
    client = api.client()
    watch = client.register()
    assert client.post(f"/v1/watches/{watch['id']}/recheck").status_code == 202
    assert client.delete(f"/v1/watches/{watch['id']}").status_code == 200


def test_a_changed_watch_is_shown_with_what_hubspot_said(api: Api) -> None:
    path = in_state(api, "undelivered")
    api.insert(answers, watch_id=path.rpartition("/")[2], body='{"status": "COMPLETE"}')
    assert members(api.admin.post(f"{path}/redeliver"))["hubspot"] == {"status": "COMPLETE"}


@pytest.mark.parametrize("step", ["/redeliver", "/recheck"])
def test_fields_that_an_operation_does_not_know_are_not_overlooked(api: Api, step: str) -> None:
    path = in_state(api, "undelivered")
    before = members(api.admin.get(path))
    response = api.admin.post(f"{path}{step}", {"dry_run": True})
    assert problem(response, 422)["errors"][0]["pointer"] == "/dry_run"
    assert members(api.admin.get(path)) == before


def test_an_empty_object_is_as_good_as_no_body(api: Api) -> None:
    path = in_state(api, "undelivered")
    assert api.admin.post(f"{path}/redeliver", {}).status_code == 202
    assert members(api.admin.get(path))["callback_url"] == URL


def test_a_redelivery_opens_a_watch_and_may_not_exceed_the_limit(serve: Serve) -> None:
    api = serve(open_watch_limit=2)
    client = api.client()
    settled = [_settled(api, client, f"settled-{number}") for number in range(2)]
    client.register("open")
    assert client.post(f"/v1/watches/{settled[0]}/redeliver").status_code == 202
    problem(client.post(f"/v1/watches/{settled[1]}/redeliver"), 429)
    problem(client.post("/v1/watches", {"task_id": "one-more", "callback_url": URL}), 429)
    assert members(client.get(f"/v1/watches/{settled[1]}"))["state"] == "delivered"
    assert api.admin.post(f"/v1/watches/{settled[1]}/redeliver").status_code == 202


def test_at_the_limit_what_cannot_be_redelivered_is_told_as_ever(serve: Serve) -> None:
    api = serve(open_watch_limit=1)
    client = api.client()
    foreign = _settled(api, api.client("other"), "foreign")
    watching = client.register()["id"]
    problem(client.post(f"/v1/watches/{watching}/redeliver"), 409)
    for unknown in (foreign, "wat_unknown"):
        problem(client.post(f"/v1/watches/{unknown}/redeliver"), 404)


def test_what_an_admin_redelivers_counts_for_the_client_whose_it_is(serve: Serve) -> None:
    api = serve(open_watch_limit=2)
    client, admin = api.client(), api.client("boss", admin=True)
    settled = _settled(api, client, "settled")
    api.clock.passes(60)  # until the open ones are counted anew
    client.register("open")
    assert admin.post(f"/v1/watches/{settled}/redeliver").status_code == 202
    problem(client.post("/v1/watches", {"task_id": "one-more", "callback_url": URL}), 429)
    assert [admin.register(task)["client"] for task in ("a", "b")] == ["boss", "boss"]


def test_of_very_many_attempts_the_newest_are_listed(api: Api) -> None:
    client = api.client()
    watch = client.register()["id"]
    made = {"watch_id": watch, "trigger": "manual", "started_at": api.clock(), "duration_ms": 1}
    rows = [made | {"number": number} for number in range(1, 1003)]
    api.execute(insert(attempts).values(rows))
    listed = members(client.get(f"/v1/watches/{watch}/attempts"))["attempts"]
    assert [attempt["number"] for attempt in listed] == list(range(3, 1003))


def _settled(api: Api, client: Caller, task_id: str) -> str:
    watch_id: str = client.register(task_id)["id"]
    api.change(watch_id, state="delivered", due_at=None, settled_at=api.clock())
    api.clock.passes(2)
    return watch_id
