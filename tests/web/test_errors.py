"""Unexpected errors become problems, as expected ones do; and each type of problem has a page."""

import re
import sqlite3
from html import unescape
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import event, update
from structlog.testing import LogCapture

from bridge.db.tables import metadata, watches
from bridge.web.problems import PROBLEM_TYPES
from tests.postgres import PostgresServer
from tests.web.api import URL, Api, members, problem, serving

BODY = {"task_id": "AAAAEZ6whGI", "callback_url": URL}


def test_a_fault_of_ours_is_a_clean_problem_and_a_log_line(sqlite_api: Api, logged: LogCapture) -> None:
    def broken(_: object) -> NoReturn:
        raise ZeroDivisionError

    sqlite_api.dependencies.accounts.list_all = broken  # type: ignore[assignment, method-assign]
    told = problem(sqlite_api.admin.get("/v1/accounts"), 500)
    assert told["detail"] == "The bridge failed; its log says why."
    [line] = [entry for entry in logged.entries if entry["event"] == "request_failed"]
    assert isinstance(line["exc_info"], ZeroDivisionError)


def test_a_database_that_is_away_is_told_and_when_it_is_back_all_goes_on(
    own_postgres_server: PostgresServer, logged: LogCapture
) -> None:
    url = own_postgres_server.create_database("bridge")
    with serving(url) as api:
        metadata.create_all(api.dependencies.engine)
        client = api.client()
        client.register("before")
        own_postgres_server.stop()
        for response in (
            client.post("/v1/watches", BODY),
            client.get("/v1/watches"),
            api.admin.post("/v1/clients", {"name": "other"}),
            api.admin.post("/v1/watches/redeliver", {"state": "delivered"}),
        ):
            assert problem(response, 503)["detail"] == "The database cannot be reached."
            assert response.headers["Retry-After"] == "5"
        assert api.nobody.get("/healthz").status_code == 200
        assert api.nobody.get("/readyz").status_code == 503
        own_postgres_server.start()
        client.register("after")
    assert "database_away" in {entry["event"] for entry in logged.entries}


@pytest.mark.parametrize(
    ("why", "detail"),
    [
        ("database or disk is full", "The database's disk is full."),
        ("disk I/O error", "The database's disk does not work."),
        ("attempt to write a readonly database", "The database can only be read at the moment."),
        ("database is locked", "The database is busy."),
        ("unable to open database file", "The database cannot be reached."),
    ],
)
def test_a_sqlite_that_cannot_work_is_told(sqlite_api: Api, why: str, detail: str) -> None:
    client = sqlite_api.client()

    @event.listens_for(sqlite_api.dependencies.engine, "do_execute")
    def fail(_cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO watches"):
            raise sqlite3.OperationalError(why)

    response = client.post("/v1/watches", BODY)
    assert problem(response, 503)["detail"] == detail
    assert response.headers["Retry-After"] == "5"
    assert members(client.get("/v1/watches"))["watches"] == []


def test_a_watch_that_is_withdrawn_while_it_stands_in_the_way_is_registered_anew(
    emptied_postgres_url: str,
) -> None:
    with serving(emptied_postgres_url) as api, serving(emptied_postgres_url) as rival:
        client = api.client()
        older = client.register(BODY["task_id"])
        statements = []

        @event.listens_for(api.dependencies.engine, "after_cursor_execute")
        def withdraw(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT INTO watches"):
                statements.append(statement)
                rival.execute(
                    update(watches).where(watches.c.id == older["id"]).values(registration_key=None)
                )

        batch = client.post("/v1/watches/batch", {"watches": [BODY, BODY | {"task_id": "another"}]})
        assert [result["status"] for result in members(batch)["results"]] == [201, 201]
        assert len(statements) == 2


def test_a_key_still_works_where_nothing_can_be_written(sqlite_api: Api) -> None:
    client = sqlite_api.client()

    @event.listens_for(sqlite_api.dependencies.engine, "do_execute")
    def fail(_cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE clients"):
            raise sqlite3.OperationalError("attempt to write a readonly database")

    assert client.get("/v1/watches").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/watches",
        "/docs",
        "/openapi.json",
        "/healthz",
        "/nowhere",
        "/static/docs.css",
        "/problems/conflict",
    ],
)
def test_every_answer_tells_browsers_to_make_nothing_of_it(sqlite_api: Api, path: str) -> None:
    for caller in (sqlite_api.nobody, sqlite_api.admin):
        headers = caller.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Server" not in headers
        if path.startswith("/v1/"):
            assert headers["Cache-Control"] == "no-store"


def test_the_app_opens_nothing_before_the_first_request(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path}/bridge.db"):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PROBLEM_TYPES)
def test_a_problems_type_leads_to_a_page_that_explains_it(refusing_api: Api, name: str) -> None:
    page = refusing_api.nobody.get(f"/problems/{name}")
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    text = unescape(re.sub("<[^>]+>", "", page.text))
    assert PROBLEM_TYPES[name].meaning.replace("`", "") in text
    assert PROBLEM_TYPES[name].title in text


def test_another_name_leads_to_no_problem(refusing_api: Api) -> None:
    assert problem(refusing_api.nobody.get("/problems/nonsense"), 404)["type"] == "/problems/unknown-path"
