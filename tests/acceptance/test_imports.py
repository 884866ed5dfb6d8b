"""`POST /v1/imports`: what HubSpot says, and what the client is told."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from structlog.testing import LogCapture
from werkzeug.test import TestResponse

from bridge.core.quota import Rate
from bridge.db.engine import open_engine
from bridge.db.migrations import upgrade
from bridge.sandbox import Reply, Target
from bridge.web.problems import PROBLEM_TYPES
from bridge.web.thread_limits import IMPORTS
from tests.acceptance.conftest import NewStage
from tests.acceptance.stage import Setting, Stage, staged
from tests.http.held_server import HeldServer, response
from tests.hubspot_accounts import NONE
from tests.postgres import PostgresServer
from tests.steps import peers
from tests.steps.peers import Peer, Request, saying
from tests.web.api import URL, members, pointers

START, FILES = Target(endpoint="start-import"), Target(endpoint="file-import")
JSON = {"Content-Type": "application/json"}
DOCUMENT = {"url": "https://files.example.com/report.csv", "access": "PRIVATE", "folderPath": "/imports"}
ACCEPTED = response("202 Accepted", {"id": "AAAAEZ6whGI"})


def started(stage: Stage, document: Any = DOCUMENT, /, **others: Any) -> TestResponse:
    body = {"import": document, "callback_url": stage.callback_url("imports")} | others
    return stage.admin.post("/v1/imports", body)


def problem(answer: TestResponse, status: int) -> dict[str, Any]:
    """The problem that was answered, with its extension members."""
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json"), answer.text
    told = members(answer)
    assert PROBLEM_TYPES[told["type"].removeprefix("/problems/")].status == status
    assert told["detail"].endswith(".")
    return told


def starts(stage: Stage) -> int:
    """How many starts HubSpot received."""
    return int(stage.hubspot.state.ledger()["endpoints"].get("start-import", 0))


def watches(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = members(stage.admin.get("/v1/watches"))["watches"]
    return found


# Started


def test_an_import_is_started_watched_and_called_back(each_stage: NewStage) -> None:
    stage = each_stage(pending_seconds=1, processing_seconds=2)
    answer = started(stage, metadata={"order": 17}, timeout_seconds=600)
    watch = members(answer)
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/watches/{watch['id']}"
    assert watch == stage.watch(watch["id"])
    assert (watch["state"], watch["kind"], watch["metadata"]) == ("watching", "file-import", {"order": 17})
    stage.passes(10, steps=5)
    [event] = stage.events()
    assert (event["type"], event["data"]["task_id"]) == ("import.completed", watch["task_id"])
    assert starts(stage) == 1


def test_a_task_that_is_watched_already_is_the_same_watch_or_a_conflict(new_stage: NewStage) -> None:
    """HubSpot may name a task that it has started before."""
    stage = new_stage()
    stage.hubspot.state.set_fault(Reply(status_code=202, headers=JSON, body=b'{"id":"AAAAEZ6whGI"}'), START)
    first, second, other = started(stage), started(stage), started(stage, metadata={"order": 18})
    assert (first.status_code, second.status_code) == (201, 200)
    assert members(second)["id"] == members(first)["id"]
    told = problem(other, 409)
    assert told["errors"] == [{"pointer": "/metadata", "detail": "differs from that watch's"}]


def test_a_start_that_names_no_time_out_matches_whatever_the_watch_got(new_stage: NewStage) -> None:
    stage = new_stage()
    stage.hubspot.state.set_fault(Reply(status_code=202, headers=JSON, body=b'{"id":"AAAAEZ6whGI"}'), START)
    assert started(stage, timeout_seconds=600).status_code == 201
    assert started(stage).status_code == 200
    assert started(stage, timeout_seconds=600).status_code == 200
    assert pointers(started(stage, timeout_seconds=700), 409) == ["/timeout_seconds"]


# Refused by HubSpot


def test_what_hubspot_refuses_is_told_in_its_own_words(each_stage: NewStage) -> None:
    stage = each_stage()
    told = problem(started(stage, {"access": "PRIVATE"}), 502)
    assert told["hubspot_status_code"] == 400
    assert told["hubspot"]["category"] == "VALIDATION_ERROR"
    assert "Some required fields were not set: [url]" in told["hubspot"]["message"]
    assert told["detail"] == "HubSpot answered 400; the import was not started."
    assert not watches(stage)


def test_hubspot_s_words_are_passed_on_to_the_digit(new_stage: NewStage) -> None:
    stage = new_stage()
    body = '{"status":"error", "n": 1.10, "large": 12345678901234567890, "text":"\\u00e9"}'
    stage.hubspot.state.set_fault(Reply(status_code=403, headers=JSON, body=body.encode()))
    answer = started(stage)
    assert f'"hubspot": {body}' in answer.text
    assert problem(answer, 502)["hubspot_status_code"] == 403


@pytest.mark.parametrize("body", [b"", b"null", b"<h1>Sorry</h1>", b'{"id":17}'])
def test_an_answer_without_a_task_may_have_started_the_import(new_stage: NewStage, body: bytes) -> None:
    stage = new_stage()
    stage.hubspot.state.set_fault(Reply(status_code=202, body=body))
    told = problem(started(stage), 502)
    assert "may have been started or not" in told["detail"]
    assert told["hubspot_status_code"] == 202


@pytest.mark.parametrize("status_code", [409, 413, 415, 422])
def test_bad_imports_of_one_client_do_not_pause_the_account_for_everybody(
    new_stage: NewStage, status_code: int
) -> None:
    stage = new_stage()
    stage.hubspot.state.set_fault(
        Reply(status_code=status_code, headers=JSON, body=b'{"status":"error"}'), START
    )
    for _ in range(12):
        assert problem(started(stage), 502)["hubspot_status_code"] == status_code
    assert stage.pause_of() == 0
    assert starts(stage) == 12


@pytest.mark.parametrize("status_code", [408, 499])
def test_when_somebody_on_the_way_gave_up_the_import_may_have_been_started(
    new_stage: NewStage, status_code: int
) -> None:
    stage = new_stage()
    stage.hubspot.state.set_fault(Reply(status_code=status_code, headers=JSON, body=b"{}"), START)
    assert "may have been started or not" in problem(started(stage), 502)["detail"]


# Not started


@pytest.mark.parametrize("fault", ["drop", "hang"])
def test_a_lost_answer_is_told_and_nothing_is_repeated(new_stage: NewStage, fault: str) -> None:
    """Not even on a connection that was kept, and may only have been stale."""
    stage = new_stage(Setting(timeout_seconds=1))
    assert started(stage).status_code == 201
    stage.hubspot.state.set_fault(fault, START)
    told = problem(started(stage), 504)
    assert "may have been started or not; the bridge does not repeat it" in told["detail"]
    assert starts(stage) == 2
    assert len(watches(stage)) == 1


def test_a_paused_account_is_not_asked_and_the_client_told_when_to_come_again(each_stage: NewStage) -> None:
    stage = each_stage()
    stage.hubspot.state.set_fault("401", times=1)
    assert problem(started(stage), 502)["hubspot_status_code"] == 401
    answer = started(stage)
    assert problem(answer, 503)["detail"].startswith("The account is paused: HubSpot answered 401")
    assert 25 <= int(answer.headers["Retry-After"]) <= 30
    assert starts(stage) == 1


def test_a_paused_account_s_watches_go_on_whatever_imports_lack_a_scope(each_stage: NewStage) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=0)
    [task] = stage.hubspot.state.add_tasks(tasks=1)
    watch = stage.register(task)
    stage.hubspot.state.set_fault("403-scopes", START)
    stage.hubspot.state.set_fault("429", FILES, times=1)
    stage.passes(2)
    assert stage.pause_of() > 0
    stage.clock.passes(stage.pause_of())
    for _ in range(3):
        assert problem(started(stage), 502)["hubspot_status_code"] == 403
        stage.clock.passes(1)
    stage.passes(0.25, steps=2)
    assert stage.watch(watch["id"])["state"] == "delivered"
    assert stage.account()["paused_until"] is None


def test_when_the_share_of_the_quota_is_used_up_the_client_is_told_when_to_come_again(
    each_stage: NewStage,
) -> None:
    stage = each_stage(Setting(rate=Rate(requests=2, seconds=60.0, share=0.5)))
    assert started(stage).status_code == 201
    answer = started(stage)
    told = problem(answer, 503)
    assert told["detail"] == "The bridge's share of the account's request quota is used up for the moment."
    assert 55 <= int(answer.headers["Retry-After"]) <= 64
    assert starts(stage) == 1


@pytest.mark.parametrize("setting", [Setting(credentials=NONE), "nobody listens"], ids=str)
def test_where_hubspot_cannot_be_asked_nothing_was_started(
    new_stage: NewStage, setting: Setting | str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    nobody = Setting(base_url=f"http://127.0.0.1:{port}")
    stage = new_stage(setting if isinstance(setting, Setting) else nobody)
    answer = started(stage)
    problem(answer, 503)
    assert "Retry-After" not in answer.headers
    assert starts(stage) == 0
    assert not watches(stage)


def test_without_the_database_the_client_gets_the_task_s_id_to_register_it_later(
    own_postgres_server: PostgresServer, logged: LogCapture
) -> None:
    engine = open_engine(own_postgres_server.url())
    upgrade(engine)
    engine.dispose()
    with (
        HeldServer(ACCEPTED) as server,
        ThreadPoolExecutor(1) as pool,
        staged(own_postgres_server.url(), logged, Setting(base_url=server.url)) as stage,
    ):
        # The admin's own client is made, so that only the registration is left to do.
        stage.admin.register("T1", callback_url=stage.callback_url("T1"))
        starting = pool.submit(started, stage)
        server.await_requests(1)
        own_postgres_server.stop("immediate")
        server.let_go()
        told = problem(starting.result(), 503)
        assert told["task_id"] == "AAAAEZ6whGI"
        assert "AAAAEZ6whGI" in told["detail"]
        assert "task_id" not in problem(started(stage), 503)
        assert server.requests == 1
        own_postgres_server.start()
        again = {"task_id": told["task_id"], "callback_url": stage.callback_url("imports")}
        assert stage.admin.post("/v1/watches", again).status_code == 201


def test_only_a_few_imports_are_started_at_a_time_so_that_the_api_has_threads_left(
    new_stage: NewStage,
) -> None:
    let_go, numbers = threading.Event(), count()

    def accept(_: Request) -> peers.Reply:
        assert let_go.wait(30)
        return saying({"id": f"AAAAEZ6wh{next(numbers):02}"}, 202)

    with Peer(accept).listening() as server, ThreadPoolExecutor(IMPORTS.most) as pool:
        stage = new_stage(Setting(base_url=server.base_url, timeout_seconds=60))
        starting = [pool.submit(started, stage) for _ in range(IMPORTS.most)]
        server.wait_for(IMPORTS.most)
        answer = started(stage)
        let_go.set()
        assert {each.result().status_code for each in starting} == {201}
    assert problem(answer, 503)["detail"] == IMPORTS.reason
    assert 1 <= int(answer.headers["Retry-After"]) <= 5
    assert len(server.requests) == IMPORTS.most


# Invalid


def test_what_is_no_import_is_refused_before_hubspot_is_asked(new_stage: NewStage) -> None:
    stage = new_stage()
    deep = json.loads('{"a":' * 101 + "{}" + "}" * 101)
    wrong: list[Any] = [None, [], "url", 17, True, {"url": "x" * 16_384}, deep]
    for document in wrong:
        assert pointers(started(stage, document)) == ["/import"]
    assert pointers(stage.admin.post("/v1/imports", {"callback_url": URL})) == ["/import"]
    assert starts(stage) == 0


@pytest.mark.parametrize(
    ("others", "pointer"),
    [
        ({"callback_url": "ftp://a.example/"}, "/callback_url"),
        ({"account": "nobody-s"}, "/account"),
        ({"metadata": []}, "/metadata"),
        ({"timeout_seconds": 9}, "/timeout_seconds"),
        ({"task_id": "AAAA"}, "/task_id"),
        ({"kind": "file-import"}, "/kind"),
        ({"document": {}}, "/document"),
    ],
)
def test_the_rest_is_checked_as_in_a_registration(
    new_stage: NewStage, others: dict[str, Any], pointer: str
) -> None:
    stage = new_stage()
    assert pointers(started(stage, **others)) == [pointer]
    assert starts(stage) == 0


def test_every_fault_of_an_import_is_named(new_stage: NewStage) -> None:
    stage = new_stage()
    answer = started(stage, "url", callback_url="x", account="nobody-s", metadata=[], extra=1)
    assert pointers(answer) == ["/import", "/callback_url", "/account", "/metadata", "/extra"]
    assert starts(stage) == 0


def test_a_signed_url_has_room_enough(new_stage: NewStage) -> None:
    document = DOCUMENT | {"url": "https://files.example.com/report.csv?signature=" + "x" * 8_000}
    assert started(new_stage(), document).status_code == 201


def test_the_limit_of_open_watches_holds_here_too(new_stage: NewStage) -> None:
    stage = new_stage(Setting(open_watch_limit=2))
    stage.register("T1")
    assert started(stage).status_code == 201
    told = problem(started(stage), 429)
    assert told["detail"].startswith("This client may have 2 watches open")
    assert starts(stage) == 1


# Described


def test_the_document_tells_all_of_it(new_stage: NewStage) -> None:
    document = json.loads(new_stage().admin.get("/openapi.json").text)
    operation = document["paths"]["/v1/imports"]["post"]
    assert set(operation["responses"]) >= {"200", "201", "409", "422", "429", "502", "503", "504"}
    fields = document["components"]["schemas"]["NewImport"]
    assert fields["required"] == ["import", "callback_url"]
    assert set(fields["properties"]) == {"import", "callback_url", "account", "metadata", "timeout_seconds"}
    assert {"hubspot", "hubspot_status_code", "task_id"} <= set(
        document["components"]["schemas"]["Problem"]["properties"]
    )
