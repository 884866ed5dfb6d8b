"""Starting an import, HubSpot's checks, and what a file name chooses."""

from typing import Any

import pytest

from bridge.sandbox import Kind
from bridge.sandbox.tasks import number_of
from tests.sandbox.caller import START_PATH, Caller, Clock


def refusal(hubspot: Caller, **changes: Any) -> str:
    answer = hubspot.start(**changes)
    document = answer.json()
    assert (answer.status_code, document["status"], document["category"]) == (
        400,
        "error",
        "VALIDATION_ERROR",
    )
    assert document["correlationId"]
    return str(document["message"])


@pytest.mark.parametrize("version", ["v3", "2026-03", "2026-09"])
def test_an_import_is_accepted_with_an_id_and_a_link_to_another_host(hubspot: Caller, version: str) -> None:
    body = {"access": "PRIVATE", "url": "https://files.example.com/a.csv", "folderId": "17"}
    answer = hubspot.call("POST", f"/files/{version}/files/import-from-url/async", json=body)
    document = answer.json()
    assert answer.status_code == 202
    assert document["links"] == {
        "status": f"https://api-na1.hubspot.com/files/{version}/files/import-from-url/async/tasks/{document['id']}/status"
    }
    assert hubspot.status(document["id"]).json()["status"] == "PENDING"


def test_every_import_is_another_task(hubspot: Caller) -> None:
    assert len({hubspot.started() for _ in range(10)}) == 10


@pytest.mark.parametrize("field", ["access", "url"])
def test_a_missing_field_is_named(hubspot: Caller, field: str) -> None:
    assert f"[{field}]" in refusal(hubspot, **{field: None})


def test_a_folder_is_needed(hubspot: Caller) -> None:
    assert "folderPath or folderId" in refusal(hubspot, folderPath=None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("access", "SECRET"),
        ("duplicateValidationStrategy", "MAYBE"),
        ("duplicateValidationScope", "NOWHERE"),
        ("folderPath", 17),
        ("name", ["a"]),
        ("overwrite", "perhaps"),
        ("ttl", "three days"),
        ("expiresAt", "tomorrow"),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_its_field(
    hubspot: Caller, field: str, value: object
) -> None:
    assert field in refusal(hubspot, **{field: value})


@pytest.mark.parametrize("url", ["ftp://files.example.com/a.csv", "a.csv", "https://", "https://[::1"])
def test_a_url_that_cannot_be_fetched_is_refused(hubspot: Caller, url: str) -> None:
    assert "Invalid URL" in refusal(hubspot, url=url)


@pytest.mark.parametrize("field", ["somethingNew", "folder_path", "Access"])
def test_a_field_that_hubspot_does_not_know_is_refused(hubspot: Caller, field: str) -> None:
    assert refusal(hubspot, **{field: "x"}).endswith(f'Unrecognized field "{field}"')


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"folderPath": "/imports"}, {"folderId": "17"}),
        ({"ttl": "P3M"}, {"expiresAt": "2027-01-01T00:00:00Z"}),
    ],
)
def test_fields_that_contradict_each_other_are_refused(
    hubspot: Caller, first: dict[str, str], second: dict[str, str]
) -> None:
    [one, other] = [*first, *second]
    message = f"{one} and {other} cannot be set at the same time."
    assert refusal(hubspot, **first, **second) == message


def test_everything_that_hubspot_knows_is_accepted(hubspot: Caller) -> None:
    answer = hubspot.start(
        name="a.csv",
        folderPath=None,
        folderId="17",
        duplicateValidationStrategy="RETURN_EXISTING",
        duplicateValidationScope="ENTIRE_PORTAL",
        overwrite=True,
        ttl="P3M",
    )
    assert answer.status_code == 202


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(hubspot: Caller, body: bytes) -> None:
    headers = {"Authorization": "Bearer sandbox-token", "Content-Type": "application/json"}
    answer = hubspot.call("POST", START_PATH, data=body, headers=headers)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_a_form_is_refused(hubspot: Caller) -> None:
    assert hubspot.call("POST", START_PATH, data={"url": "https://files.example.com"}).status_code == 415


def test_starting_takes_a_post(hubspot: Caller) -> None:
    assert hubspot.get(START_PATH).status_code == 404


def end_of(hubspot: Caller, clock: Clock, file_name: str) -> tuple[int, str | None, int | None, bool]:
    task_id = hubspot.started(file_name)
    clock.passes(3)
    answer = hubspot.status(task_id)
    document = answer.json()
    return answer.status_code, document.get("status"), document.get("numErrors"), "result" in document


@pytest.mark.parametrize(
    ("file_name", "end"),
    [
        ("report.csv", (200, "COMPLETE", 0, True)),
        ("errors.csv", (200, "COMPLETE", 1, True)),
        ("2026/fail.pdf?version=2", (200, "COMPLETE", 1, False)),
        ("cancel.csv", (200, "CANCELED", None, False)),
        ("stuck.csv", (202, "PROCESSING", None, False)),
        ("reject.csv", (404, "error", None, False)),
        ("slow.csv", (202, "PENDING", None, False)),
    ],
)
def test_a_file_name_chooses_the_end(
    hubspot: Caller, clock: Clock, file_name: str, end: tuple[int, str, int | None, bool]
) -> None:
    assert end_of(hubspot, clock, file_name) == end


def test_a_slow_import_takes_ten_times_as_long(hubspot: Caller, clock: Clock) -> None:
    task_id = hubspot.started("slow.csv")
    clock.passes(29.9)
    assert hubspot.status(task_id).json()["status"] == "PROCESSING"
    clock.passes(0.1)
    assert hubspot.status(task_id).json()["status"] == "COMPLETE"


def test_a_fast_import_is_complete_at_once(hubspot: Caller) -> None:
    assert hubspot.status(hubspot.started("fast.csv")).json()["status"] == "COMPLETE"


def test_the_name_of_a_fault_makes_every_status_answer_this_fault(hubspot: Caller) -> None:
    task_id = hubspot.started("unknown-status.csv")
    assert {hubspot.status(task_id).json()["status"] for _ in range(5)} == {"ARCHIVED"}
    assert hubspot.status(hubspot.started()).json()["status"] == "PENDING"


def test_a_fault_can_be_named_for_the_first_answers_only(hubspot: Caller) -> None:
    task_id = hubspot.started("500-x2.csv")
    assert [hubspot.status(task_id).status_code for _ in range(4)] == [500, 500, 202, 202]


@pytest.mark.parametrize("version", ["v3", "2026-03", "2026-09"])
def test_a_finished_import_s_file_can_be_asked_for(hubspot: Caller, clock: Clock, version: str) -> None:
    task_id = hubspot.started("errors.csv")
    clock.passes(3)
    result = hubspot.status(task_id).json()["result"]
    answer = hubspot.get(f"/files/{version}/files/{result['id']}")
    assert (answer.status_code, answer.json()) == (200, result)


@pytest.mark.parametrize("file_name", ["fail.csv", "cancel.csv", "reject.csv", "stuck.csv", "slow.csv"])
def test_an_import_that_made_no_file_has_none(hubspot: Caller, clock: Clock, file_name: str) -> None:
    number = number_of(Kind.FILE_IMPORT, hubspot.started(file_name))
    clock.passes(3)
    answer = hubspot.get(f"/files/v3/files/{number}")
    assert (answer.status_code, answer.json()["category"]) == (404, "OBJECT_NOT_FOUND")


@pytest.mark.parametrize("file_id", ["17", "x", "-1", "9" * 19, "9" * 100])
def test_a_file_that_no_import_made_is_unknown(hubspot: Caller, file_id: str) -> None:
    assert hubspot.get(f"/files/v3/files/{file_id}").json()["category"] == "OBJECT_NOT_FOUND"
