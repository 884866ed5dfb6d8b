"""`POST /v1/watches/batch`."""

from typing import Any

import pytest

from tests.web.api import URL, Api, Caller, Serve, members, problem


def item(number: int = 0, **others: Any) -> dict[str, Any]:
    return {"task_id": f"task-{number}", "callback_url": URL} | others


def results(client: Caller, *items: Any) -> list[dict[str, Any]]:
    response = client.post("/v1/watches/batch", {"watches": items})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = members(response)["results"]
    return found


def test_each_item_is_taken_or_refused_on_its_own_and_in_order(api: Api) -> None:
    client = api.client()
    client.register("task-1")
    client.register("task-2", metadata={"order": 17})
    found = results(client, item(0), item(1), item(2), item(3, callback_url="nowhere"), item(4), 17)
    assert [result["status"] for result in found] == [201, 200, 409, 422, 201, 422]
    assert [result.get("watch", {}).get("task_id") for result in found] == [
        "task-0",
        "task-1",
        None,
        None,
        "task-4",
        None,
    ]


def test_a_new_watch_of_a_batch_is_the_same_as_one_that_came_alone(api: Api) -> None:
    client = api.client()
    [result] = results(client, item(0, metadata={"a": "\ud800"}))
    assert result["watch"] == members(client.get(f"/v1/watches/{result['watch']['id']}"))


def test_an_items_problem_is_one_with_pointers_relative_to_the_item(sqlite_api: Api) -> None:
    found = results(sqlite_api.client(), item(0), item(1, callback_url="x", account="nope"), {"unknown": 1})
    assert found[1]["problem"]["type"] == "/problems/invalid-input"
    assert [fault["pointer"] for fault in found[1]["problem"]["errors"]] == ["/callback_url", "/account"]
    assert [fault["pointer"] for fault in found[2]["problem"]["errors"]] == [
        "/task_id",
        "/callback_url",
        "/unknown",
    ]


def test_an_items_problem_repeats_the_request_s_id(sqlite_api: Api) -> None:
    client = sqlite_api.client()
    client.register("task-1", metadata={"order": 17})
    answer = client.post("/v1/watches/batch", {"watches": [item(0, account="nope"), item(1)]})
    sent_id = answer.headers["X-Request-Id"]
    assert [result["problem"]["request_id"] for result in members(answer)["results"]] == [sent_id, sent_id]


def test_every_fault_of_each_item_is_named(refused: Caller) -> None:
    faulty = {"task_id": "", "callback_url": "x", "account": "nope", "extra": 1}
    for result in results(refused, faulty, faulty):
        pointers = [fault["pointer"] for fault in result["problem"]["errors"]]
        assert pointers == ["/task_id", "/callback_url", "/account", "/extra"]


def test_of_equal_items_the_first_makes_the_watch(api: Api) -> None:
    found = results(api.client(), item(0), item(0), item(0, metadata={"other": 1}))
    assert [result["status"] for result in found] == [201, 200, 409]
    assert found[0]["watch"] == found[1]["watch"]


def test_a_batch_may_name_several_accounts(api: Api) -> None:
    api.add_account("portal-2")
    client = api.client()
    found = results(client, item(0, account="portal-2"), item(1), item(2, account="portal-3"))
    assert [result["status"] for result in found] == [201, 201, 422]


def test_a_thousand_watches_fit_in_one_batch(api: Api) -> None:
    metadata = {"order": "x" * 700}
    found = results(api.client(), *(item(number, metadata=metadata) for number in range(1_000)))
    assert [result["status"] for result in found] == [201] * 1_000
    assert [result["watch"]["task_id"] for result in found] == [f"task-{number}" for number in range(1_000)]


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"watches": []}, "/watches", "must have at least 1 item"),
        ({"watches": [{}] * 1_001}, "/watches", "must have at most 1000 items"),
        ({"watches": {"0": item()}}, "/watches", "must be a JSON array"),
        ({"watches": None}, "/watches", "must be a JSON array"),
        ({}, "/watches", "is required"),
        ({"watches": [item()], "dry_run": True}, "/dry_run", "is not a known field"),
        ([item()], "", "must be a JSON object"),
    ],
)
def test_a_batch_of_another_shape_is_refused_as_a_whole(
    refused: Caller, body: Any, pointer: str, detail: str
) -> None:
    told = problem(refused.post("/v1/watches/batch", body), 422)
    assert told["errors"] == [{"pointer": pointer, "detail": detail}]


def test_a_batch_of_nothing_valid_registers_nothing(api: Api) -> None:
    client = api.client()
    assert [result["status"] for result in results(client, {}, {})] == [422, 422]
    assert members(client.get("/v1/watches"))["watches"] == []


def test_of_the_new_ones_of_a_batch_as_many_are_taken_as_the_limit_allows(serve: Serve) -> None:
    client = serve(open_watch_limit=2).client()

    def statuses(*items: Any) -> list[int]:
        return [result["status"] for result in results(client, *items)]

    assert statuses(item(0)) == [201]
    assert statuses(item(1), {}, item(2), item(0), item(1), item(2)) == [201, 422, 429, 200, 200, 429]
    *_, refused = results(client, item(1), item(2))
    assert "2 watches open" in refused["problem"]["detail"]
    assert statuses(item(1), item(2), {}, item(0)) == [200, 429, 422, 200]
    assert len(members(client.get("/v1/watches"))["watches"]) == 2


def test_the_admin_key_may_register_a_batch(api: Api) -> None:
    [result] = results(api.admin, item())
    assert result["watch"]["client"] == "admin"
