"""Request ids, and the log's line for each request."""

from typing import Any

import pytest
from structlog.testing import LogCapture

from bridge.web.request_log import record_server_response
from tests.makers import NOW
from tests.web.admin.operator import an_operator
from tests.web.api import Api, members, problem


def lines(logged: LogCapture, event: str = "request") -> list[dict[str, Any]]:
    return [dict(entry) for entry in logged.entries if entry["event"] == event]


def test_a_request_keeps_the_id_that_it_came_with(sqlite_api: Api) -> None:
    for given in ("a", "req-1.2_3", "x" * 128):
        response = sqlite_api.admin.send("GET", "/v1/summary", headers={"X-Request-Id": given})
        assert response.headers.getlist("X-Request-Id") == [given]


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a/b", "a\tb", "ä", "{}", "a,b"])
def test_a_request_without_a_sane_id_gets_a_new_one(sqlite_api: Api, given: str | None) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    ids = {
        sqlite_api.admin.send("GET", "/v1/summary", headers=headers).headers["X-Request-Id"] for _ in range(3)
    }
    assert len(ids) == 3
    assert given not in ids


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/nowhere", "/metrics"])
def test_every_answer_has_an_id(sqlite_api: Api, path: str) -> None:
    response = sqlite_api.nobody.send("GET", path, headers={"X-Request-Id": "mine"})
    assert response.headers["X-Request-Id"] == "mine"
    if response.status_code >= 400 and path != "/readyz":
        assert members(response)["request_id"] == "mine"


def test_a_request_is_one_line_without_its_query_and_its_ids(sqlite_api: Api, logged: LogCapture) -> None:
    client = sqlite_api.client("cms")
    watch = client.register()
    logged.entries.clear()
    client.send("GET", f"/v1/watches/{watch['id']}?no=parameter", headers={"X-Request-Id": "one"})
    [line] = lines(logged)
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request",
        "log_level": "info",
        "method": "GET",
        "route": "/v1/watches/{watch_id}",
        "status": 422,
        "client": "cms",
    }


@pytest.mark.parametrize(("status", "route"), [(400, "unparsed"), (431, "unparsed"), (500, "none")])
def test_a_failure_of_the_application_is_not_counted_as_a_request_that_could_not_be_parsed(
    sqlite_api: Api, status: int, route: str
) -> None:
    record_server_response(sqlite_api.app, status, "")
    sqlite_api.dependencies.counters.flush(sqlite_api.dependencies.engine, NOW)
    scrape = sqlite_api.admin.send("GET", "/metrics").text
    labels = f'method="other",route="{route}",status="{status // 100}xx"'
    assert f"bridge_api_requests_total{{{labels}}} 1" in scrape


def test_who_is_unknown_and_what_is_nowhere_is_told_without_a_name(
    sqlite_api: Api, logged: LogCapture
) -> None:
    problem(sqlite_api.nobody.get("/v1/watches"), 401)
    problem(sqlite_api.admin.get("/secret/path"), 404)
    found = [(line["route"], line["status"], line["client"]) for line in lines(logged)]
    assert found == [("/v1/watches", 401, None), (None, 404, None)]


def test_a_route_of_several_changes_is_one(sqlite_api: Api, logged: LogCapture) -> None:
    watch = sqlite_api.client().register()
    logged.entries.clear()
    an_operator(sqlite_api).submit(f"/watches/{watch['id']}/withdraw")
    assert lines(logged)[-1]["route"] == "/admin/watches/{watch_id}/{change}"
    sqlite_api.dependencies.counters.flush(sqlite_api.dependencies.engine, NOW)
    counted = 'method="POST",route="/admin/watches/{watch_id}/{change}",status="3xx"'
    assert counted in sqlite_api.admin.get("/metrics").text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_what_machines_ask_for_all_the_time_is_no_line(
    sqlite_api: Api, logged: LogCapture, path: str
) -> None:
    sqlite_api.admin.get(path)
    assert not lines(logged)
