"""Starting folder updates, exports, imports of records and extracts: HubSpot's checks, and what a name chooses."""

import json
from typing import Any

import pytest
import requests

from bridge.sandbox import Kind
from tests.sandbox.caller import TOKEN, Caller, Clock

VERSIONS = ["v3", "2026-03", "2026-09"]
EXPORT = {
    "exportType": "LIST",
    "format": "CSV",
    "exportName": "contacts",
    "objectProperties": ["email"],
    "objectType": "CONTACT",
    "language": "EN",
    "listId": "1",
}
BODIES: dict[Kind, dict[str, Any]] = {
    Kind.FOLDER_UPDATE: {"id": "17", "name": "reports"},
    Kind.CRM_EXPORT: EXPORT,
    Kind.SOURCE_CODE_EXTRACT: {"path": "theme.zip"},
}
PATHS = {
    Kind.FOLDER_UPDATE: ("/files/{}/folders/update/async",) * 2,
    Kind.CRM_EXPORT: ("/crm/{}/exports/export/async", "/crm/exports/{}/export/async"),
    Kind.SOURCE_CODE_EXTRACT: ("/cms/{}/source-code/extract/async", "/cms/source-code/{}/extract/async"),
    Kind.CRM_IMPORT: ("/crm/{}/imports", "/crm/imports/{}"),
}
# What decides the end of each kind.
NAMES = {Kind.FOLDER_UPDATE: "name", Kind.CRM_EXPORT: "exportName", Kind.SOURCE_CODE_EXTRACT: "path"}

by_json = pytest.mark.parametrize("kind", BODIES)


def path(kind: Kind, version: str = "v3") -> str:
    return PATHS[kind][version != "v3"].format(version)


def start(hubspot: Caller, kind: Kind, version: str = "v3", /, **changes: Any) -> requests.Response:
    """Start a task by JSON; a change to None leaves the field out."""
    body = {name: value for name, value in {**BODIES[kind], **changes}.items() if value is not None}
    return hubspot.call("POST", path(kind, version), json=body)


def start_import(hubspot: Caller, file_name: str = "a.csv", version: str = "v3") -> requests.Response:
    start_request = {"name": "November", "files": [{"fileName": file_name}]}
    return hubspot.call(
        "POST",
        path(Kind.CRM_IMPORT, version),
        data={"importRequest": json.dumps(start_request)},
        files={"files": (file_name, b"email\n")},
    )


def message(answer: requests.Response) -> str:
    document = answer.json()
    assert (answer.status_code, document["category"]) == (400, "VALIDATION_ERROR")
    return str(document["message"])


@by_json
@pytest.mark.parametrize("version", VERSIONS)
def test_a_task_is_accepted_with_an_id_and_a_link(hubspot: Caller, kind: Kind, version: str) -> None:
    answer = start(hubspot, kind, version)
    document = answer.json()
    assert answer.status_code == 202
    link = f"https://api-na1.hubspot.com{path(kind, version)}/tasks/{document['id']}/status"
    assert document["links"] == {"status": link}
    assert hubspot.status(document["id"], kind).json()["status"] == "PENDING"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_import_of_records_is_accepted_with_its_state(hubspot: Caller, version: str) -> None:
    answer = start_import(hubspot, version=version)
    assert (answer.status_code, answer.json()["state"]) == (200, "STARTED")
    assert hubspot.status(answer.json()["id"], Kind.CRM_IMPORT).json() == answer.json()


@by_json
def test_the_name_decides_how_it_ends(hubspot: Caller, clock: Clock, kind: Kind) -> None:
    tasks = {
        name: start(hubspot, kind, **{NAMES[kind]: name}).json()["id"]
        for name in ("cancel.csv", "stuck.csv", "reject.csv", "502-x1.csv")
    }
    clock.passes(3)
    assert hubspot.status(tasks["cancel.csv"], kind).json()["status"] == "CANCELED"
    assert hubspot.status(tasks["stuck.csv"], kind).json()["status"] == "PROCESSING"
    assert hubspot.status(tasks["reject.csv"], kind).status_code == 404
    assert [hubspot.status(tasks["502-x1.csv"], kind).status_code for _ in range(2)] == [502, 200]


@pytest.mark.parametrize(
    ("file_name", "state"), [("a.csv", "DONE"), ("fail.csv", "FAILED"), ("cancel.csv", "CANCELED")]
)
def test_the_file_of_an_import_of_records_decides_how_it_ends(
    hubspot: Caller, clock: Clock, file_name: str, state: str
) -> None:
    task_id = start_import(hubspot, file_name).json()["id"]
    clock.passes(3)
    assert hubspot.status(task_id, Kind.CRM_IMPORT).json()["state"] == state


def test_an_import_of_records_can_be_unknown_once_it_was_accepted(hubspot: Caller) -> None:
    answer = start_import(hubspot, "reject.csv")
    assert answer.status_code == 200
    assert hubspot.status(answer.json()["id"], Kind.CRM_IMPORT).status_code == 404


def test_an_end_that_a_kind_has_not_is_passed_over(hubspot: Caller, clock: Clock) -> None:
    task_id = start(hubspot, Kind.SOURCE_CODE_EXTRACT, path="fail.zip").json()["id"]
    clock.passes(3)
    assert hubspot.status(task_id, Kind.SOURCE_CODE_EXTRACT).json()["status"] == "COMPLETE"


@by_json
def test_a_name_need_not_be_a_part_of_a_url(hubspot: Caller, clock: Clock, kind: Kind) -> None:
    task_id = start(hubspot, kind, **{NAMES[kind]: "//[draft] Q1: 50 %/cancel.csv"}).json()["id"]
    clock.passes(3)
    assert hubspot.status(task_id, kind).json()["status"] == "CANCELED"


@by_json
def test_an_unknown_field_is_refused(hubspot: Caller, kind: Kind) -> None:
    assert message(start(hubspot, kind, surprise=1)).endswith('Unrecognized field "surprise"')


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (Kind.FOLDER_UPDATE, "id"),
        (Kind.SOURCE_CODE_EXTRACT, "path"),
        *[(Kind.CRM_EXPORT, field) for field in EXPORT if field != "listId"],
    ],
)
def test_a_missing_field_is_named(hubspot: Caller, kind: Kind, field: str) -> None:
    assert message(start(hubspot, kind, **{field: None})).endswith(
        f"Some required fields were not set: [{field}]"
    )


def test_an_export_of_a_list_needs_the_list_and_one_of_a_view_takes_none(hubspot: Caller) -> None:
    assert "listId" in message(start(hubspot, Kind.CRM_EXPORT, listId=None))
    assert "listId" in message(start(hubspot, Kind.CRM_EXPORT, exportType="VIEW"))


@pytest.mark.parametrize(
    "request_part",
    [
        None,
        "{",
        "[" * 100_000,
        "[]",
        "{}",
        '{"name": "x", "files": []}',
        '{"name": "x", "files": [{"fileName": "b.csv"}]}',
    ],
)
def test_an_import_of_records_without_a_request_or_its_file_is_refused(
    hubspot: Caller, request_part: str | None
) -> None:
    data = {} if request_part is None else {"importRequest": request_part}
    assert message(hubspot.call("POST", path(Kind.CRM_IMPORT), data=data, files={"files": ("a.csv", b"")}))


@by_json
@pytest.mark.parametrize(
    "body", ["", "{", "[]", "[" * 100_000, b"\xff"], ids=["none", "cut", "array", "deep", "bytes"]
)
def test_a_body_that_is_no_json_object_is_refused(hubspot: Caller, kind: Kind, body: str | bytes) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert message(hubspot.call("POST", path(kind), data=body, headers=headers)).startswith(
        "Invalid input JSON"
    )


def test_an_import_of_records_takes_a_form_and_the_others_json(hubspot: Caller) -> None:
    assert hubspot.call("POST", path(Kind.CRM_IMPORT), json={}).status_code == 415
    assert hubspot.call("POST", path(Kind.CRM_EXPORT), data={"a": "b"}).status_code == 415


def test_each_start_has_its_name_in_the_ledger(hubspot: Caller) -> None:
    for kind in BODIES:
        start(hubspot, kind)
    start_import(hubspot)
    assert hubspot.state.ledger()["endpoints"] == {f"start-{kind}": 1 for kind in PATHS}
