"""`GET /v1/watches`, `GET /v1/watches/{id}` and its attempts."""

import re
from datetime import timedelta

from werkzeug.test import TestResponse

from bridge.db.tables import answers
from tests.makers import NOW
from tests.web.api import URL, Api, Serve, members, tasks


def following(response: TestResponse, rel: str = "next") -> str | None:
    """Where the Link header leads."""
    found = re.search(rf'<([^>]+)>; rel="{rel}"', response.headers.get("Link", ""))
    return found[1] if found else None


def test_a_list_is_newest_first(api: Api) -> None:
    client = api.client()
    for number in range(3):
        client.register(f"task-{number}")
    assert tasks(client) == ["task-2", "task-1", "task-0"]


def test_a_list_without_anything_is_an_empty_page(api: Api) -> None:
    response = api.client().get("/v1/watches")
    assert members(response) == {"watches": [], "next_cursor": None, "prev_cursor": None}
    assert following(response) is None


def test_pages_follow_each_other_to_the_end(api: Api) -> None:
    client = api.client()
    for number in range(7):
        client.register(f"task-{number}")
    path, found = "/v1/watches?limit=3", []
    while path:
        response = client.get(path)
        found.append([watch["task_id"] for watch in members(response)["watches"]])
        path = following(response) or ""
    assert found == [["task-6", "task-5", "task-4"], ["task-3", "task-2", "task-1"], ["task-0"]]


def test_pages_lead_back_with_filter_order_and_limit(api: Api) -> None:
    client = api.client()
    for number in range(5):
        watch = client.register(f"task-{number}")
        api.change(watch["id"], state="delivered", outcome="failed", ended_at=NOW + timedelta(seconds=number))
    first = client.get("/v1/watches", limit=2, order="ended_at", state="delivered,undelivered")
    second = client.get(following(first) or "")
    assert [watch["task_id"] for watch in members(second)["watches"]] == ["task-2", "task-1"]
    assert "state=delivered%2Cundelivered" in (following(second) or "")
    back = client.get(following(second, "prev") or "")
    assert members(back)["watches"] == members(first)["watches"]
    assert tasks(client, order="ended_at", limit=2, cursor=members(second)["prev_cursor"]) == [
        "task-4",
        "task-3",
    ]
    assert members(back)["prev_cursor"] is None


def test_a_full_last_page_leads_nowhere(api: Api) -> None:
    client = api.client()
    for number in range(3):
        client.register(f"task-{number}")
    response = client.get("/v1/watches", limit=3)
    assert members(response)["next_cursor"] is None
    assert following(response) is None


def test_pages_stay_stable_while_watches_are_added(api: Api) -> None:
    client = api.client()
    for number in range(4):
        client.register(f"old-{number}")
    first = client.get("/v1/watches", limit=2)
    for number in range(5):
        client.register(f"new-{number}")
    assert tasks(client, limit=2, cursor=members(first)["next_cursor"]) == ["old-1", "old-0"]


def test_pages_stay_stable_while_watches_are_settled_and_withdrawn(api: Api) -> None:
    client = api.client()
    for number in range(4):
        client.register(f"task-{number}")
    first = members(client.get("/v1/watches", limit=2))
    client.delete(f"/v1/watches/{first['watches'][-1]['id']}")
    assert tasks(client, limit=2, cursor=first["next_cursor"]) == ["task-1", "task-0"]


def test_the_link_keeps_the_filters_and_the_limit(serve_sqlite: Serve) -> None:
    client = serve_sqlite(public_url="https://bridge.example.com").client()
    client.register("a b".replace(" ", "+"))
    client.register("a+b", callback_url=f"{URL}/2")
    query = {"task_id": "a+b", "created_after": "2026-11-21T13:00:00+02:00", "state": "watching", "limit": 1}
    link = following(client.get("/v1/watches", **query))
    assert link
    assert link.startswith("https://bridge.example.com/v1/watches?")
    path = link.removeprefix("https://bridge.example.com")
    assert "task_id=a%2Bb" in path
    assert "created_after=2026-11-21T11%3A00%3A00Z" in path
    assert "state=watching" in path
    assert "limit=1" in path
    assert [watch["callback_url"] for watch in members(client.get(path))["watches"]] == [URL]


def test_a_client_sees_its_own_watches_and_an_admin_sees_all(api: Api) -> None:
    client, other = api.client("a"), api.client("b")
    client.register("a-1")
    other.register("b-1")
    assert tasks(client) == ["a-1"]
    assert tasks(other) == ["b-1"]
    assert tasks(api.admin) == ["b-1", "a-1"]
    assert tasks(api.client("c", admin=True)) == ["b-1", "a-1"]


def test_a_page_shows_what_hubspot_said_of_each_watch(api: Api) -> None:
    client = api.client()
    for number in range(3):
        watch = client.register(f"task-{number}")
        if number != 1:
            api.insert(answers, watch_id=watch["id"], body=f'{{"n":  {number}.0}}')
    page = members(client.get("/v1/watches"))["watches"]
    assert [watch["hubspot"] for watch in page] == [{"n": 2.0}, None, {"n": 0.0}]
    assert '"hubspot": {"n":  2.0}' in client.get("/v1/watches").text
