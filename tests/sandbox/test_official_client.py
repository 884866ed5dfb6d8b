"""HubSpot's official Python client works with the sandbox as with HubSpot.

With `client_side_validation` on, the package's models refuse a body that lacks a required field or
has an unknown value; serialized again, they must equal the received body, field by field. The package
supports only v3, and for OAuth only `/oauth/v1/token`, which the sandbox does not have.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import hubspot as official
import pytest
from hubspot import files
from hubspot.cms import source_code
from hubspot.crm import exports, imports

from bridge.sandbox import Kind, Outcome, Reply, Target
from tests.sandbox.caller import Caller, Clock

APIS = {
    Kind.FILE_IMPORT: ("files.files_api", "check_import"),
    Kind.FOLDER_UPDATE: ("files.folders_api", "check_update_status"),
    Kind.CRM_EXPORT: ("crm.exports.public_exports_api", "get_status"),
    Kind.CRM_IMPORT: ("crm.imports.core_api", "get_by_id"),
    Kind.SOURCE_CODE_EXTRACT: ("cms.source_code.extract_api", "get_async_status"),
}
ENDS = [
    *[(kind, outcome) for kind in Kind for outcome in (Outcome.COMPLETED, Outcome.CANCELED)],
    *[
        (kind, outcome)
        for kind in (Kind.FILE_IMPORT, Kind.FOLDER_UPDATE, Kind.CRM_EXPORT)
        for outcome in (Outcome.COMPLETED_WITH_ERRORS, Outcome.FAILED)
    ],
    (Kind.CRM_IMPORT, Outcome.FAILED),
    (Kind.CRM_IMPORT, Outcome.REVERTED),
]
ASYNCHRONOUS = [kind for kind in Kind if kind is not Kind.CRM_IMPORT]


@contextmanager
def official_api(hubspot: Caller, path: str, token: str = "sandbox-token") -> Iterator[Any]:
    client = official.Client.create(access_token=token, host=hubspot.url, client_side_validation=True)
    api = attrgetter(path)(client)
    try:
        yield api
    finally:
        api.api_client.rest_client.pool_manager.clear()


def ask(hubspot: Caller, kind: Kind, task_id: str) -> tuple[Any, Any]:
    """The model that the package made of the status answer, and what the model writes back."""
    path, method = APIS[kind]
    with official_api(hubspot, path) as api:
        model = getattr(api, method)(task_id)
        return model, api.api_client.sanitize_for_serialization(model)


def comparable(document: Any) -> Any:
    """The document with its instants read: the package writes them in another form."""
    if isinstance(document, dict):
        return {name: comparable(value) for name, value in document.items()}
    if isinstance(document, list):
        return [comparable(value) for value in document]
    try:
        return datetime.fromisoformat(document)
    except (TypeError, ValueError):
        return document


@pytest.mark.parametrize(("kind", "outcome"), ENDS)
def test_the_client_reads_every_field_of_every_end(
    hubspot: Caller, clock: Clock, kind: Kind, outcome: Outcome
) -> None:
    [task_id] = hubspot.state.add_tasks(kind, outcome)
    clock.passes(3)
    _, written_back = ask(hubspot, kind, task_id)
    assert comparable(written_back) == comparable(hubspot.status(task_id, kind).json())


def test_the_client_starts_an_import_and_reads_its_result(hubspot: Caller, clock: Clock) -> None:
    start_request = files.ImportFromUrlInput(
        access="PRIVATE", url="https://files.example.com/report.csv", folder_path="/reports", overwrite=True
    )
    with official_api(hubspot, "files.files_api") as api:
        task_id = api.import_from_url(start_request).id
    clock.passes(3)
    model, _ = ask(hubspot, Kind.FILE_IMPORT, task_id)
    assert (model.status, model.task_id, model.result.path) == ("COMPLETE", task_id, "/reports/report.csv")


def test_the_client_searches_files_and_finds_none(hubspot: Caller) -> None:
    with official_api(hubspot, "files.files_api") as api:
        assert api.do_search(limit=1).results == []


def test_the_client_reads_the_file_that_an_import_made(hubspot: Caller, clock: Clock) -> None:
    [task_id] = hubspot.state.add_tasks()
    clock.passes(3)
    result = hubspot.status(task_id).json()["result"]
    with official_api(hubspot, "files.files_api") as api:
        model = api.get_by_id(result["id"])
        assert comparable(api.api_client.sanitize_for_serialization(model)) == comparable(result)


def test_the_client_updates_a_folder(hubspot: Caller, clock: Clock) -> None:
    start_request = files.FolderUpdateInputWithId(id="17", name="reports", parent_folder_id=4)
    with official_api(hubspot, "files.folders_api") as api:
        task_id = api.update_properties_recursively(start_request).id
    clock.passes(3)
    model, _ = ask(hubspot, Kind.FOLDER_UPDATE, task_id)
    folder = model.result
    assert (folder.id, folder.name, folder.parent_folder_id) == ("17", "reports", "4")


def test_the_client_starts_an_export(hubspot: Caller, clock: Clock) -> None:
    start_request = exports.PublicExportRequest(
        export_type="LIST",
        format="CSV",
        export_name="contacts",
        object_properties=["email"],
        object_type="CONTACT",
        language="EN",
        export_internal_values_options=["NAMES"],
        override_associated_objects_per_definition_per_row_limit=False,
        list_id="1",
    )
    with official_api(hubspot, "crm.exports.public_exports_api") as api:
        task_id = api.start(start_request).id
    clock.passes(3)
    model, _ = ask(hubspot, Kind.CRM_EXPORT, task_id)
    assert model.status == "COMPLETE"
    assert model.result.startswith("https://")


def test_the_client_starts_an_import_of_records(hubspot: Caller, clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "contacts.csv"
    file.write_text("email\na@example.com\n", encoding="utf-8")
    start_request = {"name": "November", "files": [{"fileName": file.name, "fileFormat": "CSV"}]}
    with official_api(hubspot, "crm.imports.core_api") as api:
        started = api.create(files=str(file), import_request=json.dumps(start_request))
    assert (started.state, started.import_name) == ("STARTED", "November")
    clock.passes(3)
    model, _ = ask(hubspot, Kind.CRM_IMPORT, started.id)
    assert model.state == "DONE"


def test_the_client_finds_no_imports_of_records_and_learns_whether_it_may_list_them(hubspot: Caller) -> None:
    with official_api(hubspot, "crm.imports.core_api") as api:
        assert api.get_page(limit=1).results == []
        hubspot.state.set_fault("403-scopes-crm", Target(endpoint="list-imports"))
        with pytest.raises(imports.ApiException) as refused:
            api.get_page(limit=1)
    assert "crm.import" in refused.value.body


def test_the_client_extracts_an_archive(hubspot: Caller, clock: Clock) -> None:
    with official_api(hubspot, "cms.source_code.extract_api") as api:
        task_id = api.do_async(source_code.FileExtractRequest(path="theme.zip")).id
    clock.passes(3)
    model, _ = ask(hubspot, Kind.SOURCE_CODE_EXTRACT, task_id)
    assert model.status == "COMPLETE"


@pytest.mark.parametrize("kind", ASYNCHRONOUS)
def test_the_client_gives_nothing_for_a_task_that_still_runs(hubspot: Caller, kind: Kind) -> None:
    [task_id] = hubspot.state.add_tasks(kind)
    assert ask(hubspot, kind, task_id) == (None, None)


@pytest.mark.parametrize("state", ["STARTED", "DEFERRED"])
def test_the_client_reads_an_import_of_records_that_still_runs(hubspot: Caller, state: str) -> None:
    [task_id] = hubspot.state.add_tasks(Kind.CRM_IMPORT, pending_status=state)
    model, _ = ask(hubspot, Kind.CRM_IMPORT, task_id)
    assert model.state == state


@pytest.mark.parametrize("body", [b'{"status":"COMPLETE"}', b'{"status":"FAILED","taskId":"x"}'])
def test_the_client_would_refuse_a_body_that_is_not_hubspots(hubspot: Caller, body: bytes) -> None:
    task_id = hubspot.started()
    hubspot.state.set_fault(Reply(body=body), Target(task_id=task_id))
    with pytest.raises(ValueError, match="Invalid value for"):
        ask(hubspot, Kind.FILE_IMPORT, task_id)


@pytest.mark.parametrize(
    ("package", "path", "method"),
    [
        (files, "files.files_api", "check_import"),
        (exports, "crm.exports.public_exports_api", "get_status"),
        (imports, "crm.imports.core_api", "get_by_id"),
        (source_code, "cms.source_code.extract_api", "get_async_status"),
    ],
)
@pytest.mark.parametrize("fault", ["400", "401", "401-expired", "403-scopes", "403-ban", "404", "423", "500"])
def test_the_client_reads_an_error_envelope(
    hubspot: Caller, package: Any, path: str, method: str, fault: str
) -> None:
    hubspot.state.set_fault(fault)
    with official_api(hubspot, path) as api:
        with pytest.raises(package.ApiException) as caught:
            getattr(api, method)("17")
        assert caught.value.status == int(fault[:3])
        caught.value.data = caught.value.body
        assert api.api_client.deserialize(caught.value, "Error").category
