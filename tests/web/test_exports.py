"""`GET /v1/watches.csv`."""

import csv
import json

import pytest
import structlog
from sqlalchemy import text
from structlog.contextvars import merge_contextvars
from structlog.testing import LogCapture
from werkzeug.test import TestResponse

from bridge.web.api import exports
from bridge.web.thread_limits import EXPORTS
from tests.makers import NOW
from tests.web.api import URL, Api, pointers, problem


def rows(response: TestResponse) -> list[dict[str, str]]:
    assert response.status_code == 200
    assert response.content_type == "text/csv; charset=utf-8"
    return list(csv.DictReader(response.text.splitlines()))


def test_a_row_holds_what_the_watch_shows(api: Api) -> None:
    client = api.client()
    watch = client.register("=1+1", metadata={"say": 'a "b", c', "n": 1}, callback_url=f"{URL}?a=1,2")
    [row] = rows(client.get("/v1/watches.csv"))
    assert json.loads(row.pop("metadata")) == watch.pop("metadata")
    del watch["hubspot"]
    assert row == {name: "" if value is None else str(value) for name, value in watch.items()}


def test_filters_and_order_are_those_of_the_list(api: Api) -> None:
    client, other = api.client("cms"), api.client("shop")
    for number in range(3):
        watch = client.register(f"task-{number}")
        if number:
            api.change(watch["id"], state="delivered", outcome="failed", ended_at=NOW)
    other.register("others")
    assert [row["task_id"] for row in rows(client.get("/v1/watches.csv", state="delivered"))] == [
        "task-2",
        "task-1",
    ]
    assert len(rows(client.get("/v1/watches.csv"))) == 3
    assert len(rows(api.admin.get("/v1/watches.csv", client="shop", order="created_at"))) == 1
    assert rows(client.get("/v1/watches.csv", outcome="rejected")) == []
    problem(client.get("/v1/watches.csv", client="shop"), 403)
    assert pointers(client.get("/v1/watches.csv", limit=5)) == ["/limit"]


def test_a_table_goes_on_to_the_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ROWS", 2)
    client = api.client()
    for number in range(5):
        client.register(f"task-{number}")
    found = [row["task_id"] for row in rows(client.get("/v1/watches.csv"))]
    assert found == [f"task-{number}" for number in reversed(range(5))]


def test_only_a_few_are_exported_at_a_time_and_each_that_ends_or_is_left_makes_room(api: Api) -> None:
    client = api.client()
    client.register()
    for _ in range(EXPORTS.most):
        client.send("HEAD", "/v1/watches.csv")
        assert EXPORTS.enter()
    response = client.get("/v1/watches.csv")
    assert problem(response, 429)["type"] == "/problems/too-many-at-once"
    assert response.headers["Retry-After"] == "5"
    EXPORTS.leave()
    assert len(rows(client.get("/v1/watches.csv"))) == 1
    EXPORTS.leave()


def test_an_outage_in_the_middle_is_logged_as_one_and_the_answer_breaks_off(
    sqlite_api: Api, logged: LogCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "ROWS", 1)
    structlog.get_config()["processors"].insert(0, merge_contextvars)
    client = sqlite_api.client()
    for number in range(3):
        client.register(f"task-{number}")
    headers = {"Authorization": f"Bearer {client.key}", "X-Request-Id": "the-export"}
    response = sqlite_api.app.test_client().get("/v1/watches.csv", headers=headers)
    parts = response.iter_encoded()
    assert b"task_id" in next(parts)
    sqlite_api.execute(text("ALTER TABLE watches RENAME TO gone"))
    # waitress closes the connection, and logs nothing.
    with pytest.raises(ConnectionAbortedError):
        list(parts)
    response.close()
    [line] = [line for line in logged.entries if line["event"] == "database_away"]
    assert (line["log_level"], line["request_id"]) == ("warning", "the-export")
    assert EXPORTS.enter()
    EXPORTS.leave()
