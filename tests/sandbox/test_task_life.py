"""The status responses of a task, from PENDING to its end."""

import base64
from typing import Any

import pytest

from bridge.sandbox import Kind, Outcome
from tests.sandbox.caller import STATUS_PATHS, Caller, Clock

ACTIONS = [kind for kind in Kind if kind is not Kind.CRM_IMPORT]


def ended(hubspot: Caller, clock: Clock, kind: Kind, outcome: Outcome) -> dict[str, Any]:
    [task_id] = hubspot.state.add_tasks(kind, outcome)
    clock.passes(3)
    answer = hubspot.status(task_id, kind)
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize("kind", ACTIONS)
def test_a_task_is_pending_then_processing_then_complete(hubspot: Caller, clock: Clock, kind: Kind) -> None:
    [task_id] = hubspot.state.add_tasks(kind)
    seen = []
    for _ in range(5):
        answer = hubspot.status(task_id, kind)
        seen.append((answer.status_code, answer.json()["status"]))
        clock.passes(0.75)
    assert seen == [
        (202, "PENDING"),
        (202, "PENDING"),
        (202, "PROCESSING"),
        (202, "PROCESSING"),
        (200, "COMPLETE"),
    ]


def test_an_import_of_records_walks_its_own_words_and_is_always_200(hubspot: Caller, clock: Clock) -> None:
    [task_id] = hubspot.state.add_tasks(Kind.CRM_IMPORT)
    seen = []
    for _ in range(3):
        answer = hubspot.status(task_id, Kind.CRM_IMPORT)
        seen.append((answer.status_code, answer.json()["state"]))
        clock.passes(1.5)
    assert seen == [(200, "STARTED"), (200, "PROCESSING"), (200, "DONE")]


@pytest.mark.parametrize(("kind", "field"), [(Kind.CRM_IMPORT, "state"), (Kind.FILE_IMPORT, "status")])
def test_a_task_may_tell_another_word_while_it_is_pending(
    hubspot: Caller, clock: Clock, kind: Kind, field: str
) -> None:
    [task_id] = hubspot.state.add_tasks(kind, pending_status="DEFERRED")
    assert hubspot.status(task_id, kind).json()[field] == "DEFERRED"
    clock.passes(1)
    assert hubspot.status(task_id, kind).json()[field] == "PROCESSING"


def test_a_pending_task_has_neither_started_nor_completed(hubspot: Caller) -> None:
    document = hubspot.status(hubspot.started()).json()
    assert {"startedAt", "completedAt"}.isdisjoint(document)


def test_a_processing_task_has_started_and_not_completed(hubspot: Caller, clock: Clock) -> None:
    task_id = hubspot.started()
    clock.passes(1)
    document = hubspot.status(task_id).json()
    assert document["startedAt"] == "2026-11-21T00:00:11.000Z"
    assert "completedAt" not in document


def test_the_dates_of_a_pending_task_can_be_null(hubspot: Caller) -> None:
    hubspot.state.change_options({"pending_body": "dates-null"})
    document = hubspot.status(hubspot.started()).json()
    assert document["startedAt"] is document["completedAt"] is None


def test_the_body_of_a_pending_task_can_be_null_but_not_of_a_processing_one(
    hubspot: Caller, clock: Clock
) -> None:
    hubspot.state.change_options({"pending_body": "null"})
    task_id = hubspot.started()
    answer = hubspot.status(task_id)
    assert (answer.status_code, answer.content) == (202, b"null")
    clock.passes(1)
    assert hubspot.status(task_id).json()["status"] == "PROCESSING"


def test_an_ended_task_tells_the_same_at_every_poll(hubspot: Caller, clock: Clock) -> None:
    task_id = hubspot.started()
    clock.passes(3)
    first = hubspot.status(task_id).content
    clock.passes(60)
    assert hubspot.status(task_id).content == first


def test_a_completed_import_names_its_file(hubspot: Caller, clock: Clock) -> None:
    task_id = hubspot.started(
        "2026/report.csv", name="Sales.csv", folderPath="/reports/", access="HIDDEN_PRIVATE"
    )
    clock.passes(3)
    document = hubspot.status(task_id).json()
    result = document["result"]
    assert (document["taskId"], document["numErrors"], document["errors"]) == (task_id, 0, [])
    assert result["id"].isdecimal()
    assert isinstance(result["expiresAt"], int)
    assert (result["name"], result["extension"], result["path"]) == ("Sales", "csv", "/reports/Sales.csv")
    assert result["access"] == "HIDDEN_PRIVATE"


@pytest.mark.parametrize("kind", [Kind.FILE_IMPORT, Kind.FOLDER_UPDATE, Kind.CRM_EXPORT])
def test_a_task_can_complete_with_errors_and_a_result(hubspot: Caller, clock: Clock, kind: Kind) -> None:
    document = ended(hubspot, clock, kind, Outcome.COMPLETED_WITH_ERRORS)
    assert (document["status"], document["numErrors"], len(document["errors"])) == ("COMPLETE", 1, 1)
    assert document["result"]


@pytest.mark.parametrize("kind", [Kind.FILE_IMPORT, Kind.FOLDER_UPDATE, Kind.CRM_EXPORT])
def test_a_failed_task_is_complete_with_errors_and_without_a_result(
    hubspot: Caller, clock: Clock, kind: Kind
) -> None:
    document = ended(hubspot, clock, kind, Outcome.FAILED)
    assert (document["status"], document["numErrors"]) == ("COMPLETE", 1)
    assert "result" not in document


def test_an_item_of_errors_is_not_an_http_error_body(hubspot: Caller, clock: Clock) -> None:
    [error] = ended(hubspot, clock, Kind.FILE_IMPORT, Outcome.FAILED)["errors"]
    assert {"category", "context", "errors", "links", "message", "status", "subCategory"} == set(error)
    assert isinstance(error["subCategory"], dict)
    assert all(isinstance(values, list) for values in error["context"].values())


def test_an_export_results_in_a_url(hubspot: Caller, clock: Clock) -> None:
    assert ended(hubspot, clock, Kind.CRM_EXPORT, Outcome.COMPLETED)["result"].startswith("https://")


def test_an_extraction_has_no_result(hubspot: Caller, clock: Clock) -> None:
    document = ended(hubspot, clock, Kind.SOURCE_CODE_EXTRACT, Outcome.COMPLETED)
    assert {"result", "errors", "numErrors"}.isdisjoint(document)


@pytest.mark.parametrize("kind", ACTIONS)
def test_a_canceled_task_is_told_as_canceled(hubspot: Caller, clock: Clock, kind: Kind) -> None:
    document = ended(hubspot, clock, kind, Outcome.CANCELED)
    assert document["status"] == "CANCELED"
    assert "result" not in document


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(Outcome.FAILED, "FAILED"), (Outcome.CANCELED, "CANCELED"), (Outcome.REVERTED, "REVERTED")],
)
def test_an_import_of_records_can_end_in_every_word(
    hubspot: Caller, clock: Clock, outcome: Outcome, state: str
) -> None:
    assert ended(hubspot, clock, Kind.CRM_IMPORT, outcome)["state"] == state


@pytest.mark.parametrize("kind", Kind)
def test_a_stuck_task_never_ends(hubspot: Caller, clock: Clock, kind: Kind) -> None:
    [task_id] = hubspot.state.add_tasks(kind, Outcome.STUCK)
    clock.passes(90 * 86_400)
    assert "PROCESSING" in hubspot.status(task_id, kind).json().values()


@pytest.mark.parametrize("kind", Kind)
def test_a_rejected_task_is_unknown_from_the_start(hubspot: Caller, kind: Kind) -> None:
    [task_id] = hubspot.state.add_tasks(kind, Outcome.REJECTED)
    answer = hubspot.status(task_id, kind)
    assert (answer.status_code, answer.json()["category"]) == (404, "OBJECT_NOT_FOUND")


@pytest.mark.parametrize("version", ["2026-03", "2026-09"])
@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Kind.FILE_IMPORT, "/files/{}/files/import-from-url/async/tasks/{}/status"),
        (Kind.FOLDER_UPDATE, "/files/{}/folders/update/async/tasks/{}/status"),
        (Kind.CRM_EXPORT, "/crm/exports/{}/export/async/tasks/{}/status"),
        (Kind.CRM_IMPORT, "/crm/imports/{}/{}"),
        (Kind.SOURCE_CODE_EXTRACT, "/cms/source-code/{}/extract/async/tasks/{}/status"),
    ],
)
def test_a_dated_version_tells_what_v3_tells(hubspot: Caller, version: str, kind: Kind, path: str) -> None:
    [task_id] = hubspot.state.add_tasks(kind)
    assert hubspot.get(path.format(version, task_id)).json() == hubspot.status(task_id, kind).json()


@pytest.mark.parametrize(
    "path",
    ["/files/v4/files/import-from-url/async/tasks/{}/status", "/crm/2026-03/imports/{}", "/nowhere/{}"],
)
def test_a_wrong_route_is_a_page_not_json(hubspot: Caller, path: str) -> None:
    answer = hubspot.get(path.format(hubspot.started()))
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html;charset=utf-8")


def test_file_ids_are_unpadded_base64url_of_eight_bytes(hubspot: Caller) -> None:
    task_id = hubspot.started()
    assert len(task_id) == 11
    assert len(base64.urlsafe_b64decode(f"{task_id}=")) == 8


@pytest.mark.parametrize(
    "task_id", ["x", "AAAAEZ6whG", "AAAAEZ6whGI=", "AAAAEZ6whGIA", "AAAAEZ6whGJ", "AAAA+Z6whGI", "%C3%A9"]
)
def test_a_malformed_id_cannot_be_decoded(hubspot: Caller, task_id: str) -> None:
    answer = hubspot.status(task_id)
    document = answer.json()
    assert (answer.status_code, document["message"]) == (400, "Provided ID could not be decoded.")
    assert (document["status"], document["category"]) == ("error", "VALIDATION_ERROR")
    assert document["correlationId"]


def test_an_unknown_id_is_a_json_404(hubspot: Caller) -> None:
    answer = hubspot.status("AAAAEZ6whGI")
    assert (answer.status_code, answer.json()["status"]) == (404, "error")


def test_a_task_of_another_kind_is_unknown(hubspot: Caller) -> None:
    assert hubspot.status(hubspot.started(), Kind.FOLDER_UPDATE).status_code == 404


def test_every_kind_has_a_path_here() -> None:
    assert set(STATUS_PATHS) == set(Kind)
