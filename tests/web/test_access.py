"""Authorization: every operation with every kind of key."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from bridge.settings import Settings
from bridge.steps import clients
from bridge.web.app import RESOURCES
from bridge.web.operations import Access, Operation
from tests.reliability.waiting import until
from tests.web.api import ADMIN_KEY, URL, Api, Caller, Serve, members, problem

OPERATIONS = [operation for resource in RESOURCES for operation in resource.operations]
OPEN = [operation for operation in OPERATIONS if operation.access is Access.OPEN]
CLOSED = [operation for operation in OPERATIONS if operation.access is not Access.OPEN]
FOR_ADMINS = [operation for operation in OPERATIONS if operation.access is Access.ADMIN]
FOR_CLIENTS = [operation for operation in CLOSED if operation.access is not Access.ADMIN]
OF_WATCHES = [operation for operation in OPERATIONS if "{watch_id}" in operation.path]


def name_of(operation: Operation) -> str:
    return operation.name


def call(caller: Caller, operation: Operation, watch_id: str = "wat_unknown") -> Any:
    path = operation.path.format(watch_id=watch_id, name="unknown")
    body = None
    if operation.body:
        body = operation.body.model_json_schema()["examples"][0]
        body = body | {"callback_url": URL} if "callback_url" in body else body
    return caller.send(operation.method, path, body)


def statuses(operation: Operation) -> set[int]:
    return {*operation.responses, *operation.problems, *([404] if operation.path_parameters else [])}


@pytest.mark.parametrize("operation", OPEN, ids=name_of)
def test_an_open_operation_needs_no_key(sqlite_api: Api, operation: Operation) -> None:
    for caller in (sqlite_api.nobody, Caller(app=sqlite_api.app, key="wrong")):
        assert call(caller, operation).status_code in operation.responses


@pytest.mark.parametrize("operation", CLOSED, ids=name_of)
def test_without_a_key_nobody_gets_in(refusing_api: Api, operation: Operation) -> None:
    response = call(refusing_api.nobody, operation)
    problem(response, 401)
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("operation", CLOSED, ids=name_of)
@pytest.mark.parametrize("key", ["wrong", ADMIN_KEY[:-1], ADMIN_KEY + "x", ADMIN_KEY.upper()])
def test_with_a_wrong_key_nobody_gets_in(refusing_api: Api, operation: Operation, key: str) -> None:
    response = call(Caller(app=refusing_api.app, key=key), operation)
    problem(response, 401)
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("operation", FOR_ADMINS, ids=name_of)
def test_what_is_for_admins_is_refused_to_a_clients_key(refused: Caller, operation: Operation) -> None:
    problem(call(refused, operation), 403)


@pytest.mark.parametrize("operation", FOR_ADMINS, ids=name_of)
def test_what_is_for_admins_is_open_to_both_kinds_of_admin(sqlite_api: Api, operation: Operation) -> None:
    for caller in (sqlite_api.admin, sqlite_api.client("ops", admin=True)):
        assert call(caller, operation).status_code in statuses(operation)


@pytest.mark.parametrize("operation", FOR_CLIENTS, ids=name_of)
def test_what_is_for_clients_is_open_to_clients_and_admins(sqlite_api: Api, operation: Operation) -> None:
    for caller in (sqlite_api.admin, sqlite_api.client("cms")):
        assert call(caller, operation).status_code in statuses(operation)


@pytest.mark.parametrize("operation", OF_WATCHES, ids=name_of)
def test_another_clients_watch_is_not_found_whatever_is_asked(api: Api, operation: Operation) -> None:
    watch_id = api.client("cms").register()["id"]
    if operation.name == "redeliver_watch":
        api.change(watch_id, state="delivered", due_at=None)
    other = api.client("other")
    problem(call(other, operation, watch_id), 404)
    assert call(api.admin, operation, watch_id).status_code in operation.responses


def test_every_path_that_is_no_document_asks_for_a_key_or_is_meant_to_be_open(sqlite_api: Api) -> None:
    open_paths = {operation.path for operation in OPEN}
    assert open_paths == {"/healthz", "/readyz"}
    rules = {rule.rule: rule for rule in sqlite_api.app.url_map.iter_rules()}
    page = {path for path in rules if path == "/admin" or path.startswith("/admin/")}
    served = {path for path in rules.keys() - page if not path.startswith("/v1/")}
    assert served == open_paths | {
        "/metrics",
        "/openapi.json",
        "/docs",
        "/docs/scalar.js",
        "/problems/<name>",
        "/static/<path:filename>",
    }
    for path in page - {"/admin/sign-in"}:
        address = re.sub("<.+?>", "x", re.sub(r"<any\((\w+).+?>", r"\1", path))
        for method in {"GET", "POST"} & (rules[path].methods or set()):
            answer = sqlite_api.nobody.send(method, address)
            # A form without the page's own token is refused before anybody asks who sends it.
            assert (path, answer.status_code) == (path, 303 if method == "GET" else 400)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {ADMIN_KEY}",
        ADMIN_KEY,
        f"Bearer: {ADMIN_KEY}",
        f"Bearer {ADMIN_KEY} x",
        f"Bearer {ADMIN_KEY},{ADMIN_KEY}",
        "Bearer \u00fc\u00ff",
        "Bearer " + "x" * 4000,
        "Bearer a\tb",
        "Bearer '; DROP TABLE clients; --",
    ],
)
def test_a_header_that_holds_no_valid_key_is_refused(refusing_api: Api, header: str) -> None:
    response = refusing_api.app.test_client().get("/v1/watches", headers={"Authorization": header})
    problem(response, 401)


def test_the_longest_admin_key_that_the_settings_take_gets_in(serve_sqlite: Serve) -> None:
    key = "x" * 512
    assert Settings.load({"BRIDGE_ADMIN_KEY": key}).admin_key
    api = serve_sqlite(admin_key=key)
    assert Caller(app=api.app, key=key).get("/v1/clients").status_code == 200


@pytest.mark.parametrize("header", [f"bearer {ADMIN_KEY}", f"BEARER  {ADMIN_KEY} "])
def test_the_schemes_case_and_the_space_around_the_key_do_not_matter(refusing_api: Api, header: str) -> None:
    response = refusing_api.app.test_client().get("/v1/watches", headers={"Authorization": header})
    assert response.status_code == 200


def test_without_an_admin_key_nobody_is_the_environments_admin(serve_sqlite: Any) -> None:
    api: Api = serve_sqlite(admin_key=None)
    problem(api.admin.get("/v1/clients"), 401)
    assert api.client("ops", admin=True).get("/v1/clients").status_code == 200


def test_a_key_that_another_process_has_revoked_registers_nothing_more(api: Api) -> None:
    client = api.client("cms")
    client.register("before")
    revoked = clients.revoke(api.dependencies.engine, "cms", now=api.clock())
    assert not isinstance(revoked, clients.ClientUnchanged)
    problem(client.post("/v1/watches", {"task_id": "after", "callback_url": URL}), 401)
    assert [w["task_id"] for w in members(api.admin.get("/v1/watches"))["watches"]] == ["before"]


def revoke(api: Api, name: str) -> None:
    assert not isinstance(
        clients.revoke(api.dependencies.engine, name, now=api.clock()), clients.ClientUnchanged
    )


def rotate(api: Api, name: str) -> None:
    assert isinstance(clients.rotate_key(api.dependencies.engine, name), str)


@pytest.mark.parametrize("take_away", [revoke, rotate])
@pytest.mark.parametrize("operation", CLOSED, ids=name_of)
def test_a_key_that_was_good_and_is_taken_away_opens_nothing(
    sqlite_api: Api, operation: Operation, take_away: Any
) -> None:
    client = sqlite_api.client("ops", admin=operation.access is Access.ADMIN)
    assert call(client, operation).status_code not in (401, 403)
    take_away(sqlite_api, "ops")
    problem(call(client, operation), 401)


@pytest.mark.parametrize("take_away", [revoke, rotate])
def test_a_key_that_is_taken_away_learns_nothing_more_by_registering(serve: Serve, take_away: Any) -> None:
    api, body = serve(open_watch_limit=1), {"task_id": "a", "callback_url": URL}
    others: list[dict[str, Any]] = [
        {"metadata": {"b": 1}},
        {"task_id": "b"},
        {"account": "none"},
        {"typo": 1},
    ]
    for number, other in enumerate([{}, *others]):
        client = api.client(name := f"client-{number}")
        client.register("a")
        take_away(api, name)
        problem(client.post("/v1/watches", body | other), 401)


READS = [operation for operation in OPERATIONS if operation.method == "GET"]


@pytest.mark.parametrize("operation", READS, ids=name_of)
def test_no_read_waits_for_the_writer_of_a_sqlite_database(sqlite_api: Api, operation: Operation) -> None:
    callers = [sqlite_api.admin, *(sqlite_api.client(f"ops-{number}", admin=True) for number in range(3))]
    reader, begun = threading.get_ident(), []

    @event.listens_for(sqlite_api.dependencies.engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("BEGIN") and threading.get_ident() == reader:
            begun.append(statement)

    with another_writer(sqlite_api):
        for caller in callers:
            assert call(caller, operation).status_code in statuses(operation)
    assert set(begun) <= {"BEGIN"}


@contextmanager
def another_writer(api: Api) -> Iterator[None]:
    """Hold the lock that every writer of a SQLite database needs."""
    path = api.dependencies.engine.url.database
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield


def test_a_key_s_use_is_noted_once_the_writer_is_done(sqlite_api: Api) -> None:
    client = sqlite_api.client("cms")
    with another_writer(sqlite_api):
        assert client.get("/v1/watches").status_code == 200
    until(lambda: members(sqlite_api.admin.get("/v1/clients"))["clients"][0]["last_used_at"])
