"""`POST /v1/watches`."""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from bridge.db.engine import open_engine
from bridge.db.tables import answers, watches
from bridge.web.app import create_app
from bridge.web.response_models import WatchSchema
from tests.makers import NOW
from tests.threads import at_once
from tests.web.api import URL, Api, Caller, Serve, await_last_uses, members, pointers, problem

BODY = {"task_id": "AAAAEZ6whGI", "callback_url": URL, "metadata": {"order": 17}}


def test_a_registration_is_answered_with_the_watch_and_where_it_is(api: Api) -> None:
    client = api.client("cms")
    response = client.post("/v1/watches", BODY)
    watch = members(response)
    assert response.status_code == 201
    assert response.headers["Location"] == f"/v1/watches/{watch['id']}"
    assert list(watch) == list(WatchSchema.model_fields)
    assert (
        watch | {"state": "watching", "client": "cms", "account": "default", "kind": "file-import"} == watch
    )
    assert watch["metadata"] == {"order": 17}
    assert watch["created_at"] < watch["due_at"] < watch["deadline_at"]
    assert watch["created_at"].endswith("Z")
    assert members(client.get(response.headers["Location"])) == watch


def test_the_location_is_absolute_where_the_bridge_knows_how_it_is_reached(serve_sqlite: Serve) -> None:
    api = serve_sqlite(public_url="https://bridge.example.com")
    response = api.client().post("/v1/watches", BODY)
    assert response.headers["Location"].startswith("https://bridge.example.com/v1/watches/wat_")


def test_the_same_registration_again_is_answered_with_the_same_watch(api: Api) -> None:
    client = api.client()
    first = client.post("/v1/watches", BODY)
    again = client.post("/v1/watches", BODY)
    assert again.status_code == 200
    assert members(again) == members(first)
    assert "Location" not in again.headers


def test_a_repeated_registration_shows_what_hubspot_has_said(api: Api) -> None:
    client = api.client()
    watch = client.register()
    api.insert(answers, watch_id=watch["id"], body='{"status": "PROCESSING", "number": 1.10}')
    again = client.post("/v1/watches", {"task_id": watch["task_id"], "callback_url": URL})
    assert '"hubspot": {"status": "PROCESSING", "number": 1.10}' in again.text


@pytest.mark.parametrize("path", ["/v1/watches", "/v1/watches/batch"])
def test_a_repeated_registration_shows_the_watch_and_hubspot_s_answer_of_one_moment(
    api: Api, database_url: str, path: str
) -> None:
    """HubSpot gives a new answer after each transaction of the request."""
    client = api.client()
    watch = client.register()
    api.insert(answers, watch_id=watch["id"], body="{}")
    await_last_uses()  # the thread's transaction would be taken for one of the request
    worker, numbers = open_engine(database_url), count()

    def poll(*_: Any) -> None:
        status = f"STATUS {next(numbers)}"
        with worker.begin() as connection:
            connection.execute(update(watches).values(status=status))
            connection.execute(update(answers).values(body=f'{{"status": "{status}"}}'))

    event.listen(api.dependencies.engine, "checkin", poll)
    new = {"task_id": watch["task_id"], "callback_url": URL}
    answer = members(client.post(path, new if path == "/v1/watches" else {"watches": [new]}))
    again = answer["results"][0]["watch"] if "results" in answer else answer
    assert again["hubspot"] == {"status": again["status"]}
    worker.dispose()


@pytest.mark.parametrize(
    ("other", "pointer"), [({"metadata": {}}, "/metadata"), ({"timeout_seconds": 60}, "/timeout_seconds")]
)
def test_the_same_with_other_details_is_a_conflict_that_names_them(
    api: Api, other: dict[str, Any], pointer: str
) -> None:
    client = api.client()
    watch = client.register(metadata={"order": 17})
    response = client.post("/v1/watches", BODY | other)
    assert pointers(response, 409) == [pointer]
    assert watch["id"] in problem(response, 409)["detail"]
    assert problem(response, 409)["type"] == "/problems/watch-differs"
    assert problem(response, 409)["watch_id"] == watch["id"]


def test_two_clients_may_register_the_same_task(api: Api) -> None:
    assert api.client("a").register()["id"] != api.client("b").register()["id"]


@pytest.mark.parametrize(
    "other", [{"task_id": "aaaaEZ6whGI"}, {"kind": "crm-export"}, {"callback_url": f"{URL}/2"}]
)
def test_another_task_kind_or_callback_url_is_another_watch(sqlite_api: Api, other: dict[str, Any]) -> None:
    client = sqlite_api.client()
    client.register()
    client.register(**{"task_id": "AAAAEZ6whGI"} | other)


def test_twenty_identical_registrations_at_once_make_one_watch(api: Api) -> None:
    client = api.client()
    responses = at_once(20, lambda _: client.post("/v1/watches", BODY))
    assert sorted(response.status_code for response in responses) == [200] * 19 + [201]
    assert len({members(response)["id"] for response in responses}) == 1


def test_registrations_at_once_each_get_their_own_watch(api: Api) -> None:
    client = api.client()
    found = at_once(20, lambda number: client.register(f"task-{number}"))
    assert [watch["task_id"] for watch in found] == [f"task-{number}" for number in range(20)]


def test_a_withdrawn_watch_may_be_registered_again(api: Api) -> None:
    client = api.client()
    first = client.register()
    client.delete(f"/v1/watches/{first['id']}")
    assert client.register()["id"] != first["id"]


def test_a_task_that_has_timed_out_is_watched_longer_under_another_query(api: Api) -> None:
    """As docs/hubspot.md advises."""
    client = api.client()
    first = client.register()
    api.change(first["id"], state="delivered", outcome="timed_out", ended_at=NOW, settled_at=NOW, due_at=None)
    again = {"task_id": first["task_id"], "callback_url": URL, "timeout_seconds": 172_800}
    assert pointers(client.post("/v1/watches", again), 409) == ["/timeout_seconds"]
    problem(client.delete(f"/v1/watches/{first['id']}"), 409)
    assert client.post("/v1/watches", again | {"callback_url": f"{URL}?again=1"}).status_code == 201


def test_the_default_account_is_known_even_without_credentials(sqlite_api: Api) -> None:
    assert sqlite_api.client().register(account="default")["account"] == "default"


def test_an_account_must_be_known(api: Api) -> None:
    client = api.client()
    assert pointers(client.post("/v1/watches", BODY | {"account": "portal-2"})) == ["/account"]
    api.add_account("portal-2")
    assert client.register(account="portal-2")["account"] == "portal-2"


def test_the_deadline_is_the_registrations_own_or_the_bridges(serve_sqlite: Serve) -> None:
    client = serve_sqlite(watch_timeout_seconds=3_600).client()
    usual, own = client.register("a"), client.register("b", timeout_seconds=90.5)
    assert usual["deadline_at"][11:19] == "13:00:00"
    assert own["deadline_at"][11:19] == "12:01:30"


def test_all_faults_of_a_registration_are_named_at_once(sqlite_api: Api) -> None:
    response = sqlite_api.client().post("/v1/watches", {"task_id": "a b", "kind": "nope", "extra": 1})
    assert pointers(response) == ["/task_id", "/callback_url", "/kind", "/extra"]


EVERY_FIELD_AT_FAULT = {
    "task_id": "",
    "callback_url": "x",
    "account": "nope",
    "kind": "nope",
    "metadata": [],
    "timeout_seconds": 1,
    "extra": 1,
}


def test_each_field_at_fault_is_named_in_one_answer(refused: Caller) -> None:
    response = refused.post("/v1/watches", EVERY_FIELD_AT_FAULT)
    assert pointers(response) == [f"/{name}" for name in EVERY_FIELD_AT_FAULT]


def test_an_unknown_account_is_named_beside_faults_of_other_fields(refused: Caller) -> None:
    body = {"task_id": "", "callback_url": "x", "account": "nope"}
    assert pointers(refused.post("/v1/watches", body)) == ["/task_id", "/callback_url", "/account"]


@pytest.mark.parametrize("seconds", [10, 2_592_000, 10.5])
def test_a_timeout_is_ten_seconds_to_thirty_days(sqlite_api: Api, seconds: float) -> None:
    sqlite_api.client().register(timeout_seconds=seconds)


@pytest.mark.parametrize("seconds", [9.999, 2_592_000.001, 0, -1, True, "60", 10**400, [60]])
def test_any_other_timeout_is_refused(refused: Caller, seconds: Any) -> None:
    response = refused.post("/v1/watches", BODY | {"timeout_seconds": seconds})
    assert pointers(response) == ["/timeout_seconds"]


@pytest.mark.parametrize("task_id", ["A", "x" * 255, "../../etc", "a%2Fb", "ä-ü", "..", "{id}", "';--"])
def test_a_task_id_is_opaque_and_case_sensitive(api: Api, task_id: str) -> None:
    assert api.client().register(task_id)["task_id"] == task_id


@pytest.mark.parametrize(
    "task_id",
    ["", "x" * 256, "a b", "a\tb", "a\n", "\x00", "\u00a0", "\u200b", "\ud800", 17, None, True, ["a"]],
)
def test_a_task_id_is_printable_text_without_white_space(refused: Caller, task_id: Any) -> None:
    assert pointers(refused.post("/v1/watches", BODY | {"task_id": task_id})) == ["/task_id"]


def test_a_repetition_that_names_no_time_out_matches_whatever_the_first_one_got(serve: Serve) -> None:
    before = serve(watch_timeout_seconds=3600)
    client = before.client()
    watch = members(client.post("/v1/watches", BODY))
    after = Caller(app=create_app(replace(before.dependencies, watch_timeout_seconds=7200)), key=client.key)
    again = after.post("/v1/watches", BODY)
    assert (again.status_code, members(again)["deadline_at"]) == (200, watch["deadline_at"])
    assert after.post("/v1/watches", BODY | {"timeout_seconds": 3600}).status_code == 200
    assert pointers(after.post("/v1/watches", BODY | {"timeout_seconds": 7200}), 409) == ["/timeout_seconds"]
    [result] = members(after.post("/v1/watches/batch", {"watches": [BODY]}))["results"]
    assert result["status"] == 200


def test_the_admin_key_registers_for_a_client_named_admin_that_can_be_called_back(api: Api) -> None:
    assert api.admin.register()["client"] == "admin"
    [client] = members(api.admin.get("/v1/clients"))["clients"]
    assert (client["name"], client["admin"], client["key_prefix"]) == ("admin", True, None)


def test_a_problem_leaves_nothing_behind(api: Api) -> None:
    api.client().post("/v1/watches", BODY | {"task_id": ""})
    with api.dependencies.engine.begin() as connection:
        assert connection.execute(select(func.count()).select_from(watches)).scalar_one() == 0
