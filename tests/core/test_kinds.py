"""The kinds' table: where to ask, which word counts, what each word means."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.classification import Ended, Inconclusive, Unfinished, classify
from bridge.core.delivery import event_type
from bridge.core.kinds import DEFAULT_KIND, KINDS
from bridge.core.watch import Outcome
from tests.makers import NOW, an_answer, an_ended_watch

URL = "https://export.example.com/a.csv"


def test_a_registration_that_names_no_kind_means_a_file_import() -> None:
    assert DEFAULT_KIND == "file-import"


@pytest.mark.parametrize(
    ("kind", "version", "path"),
    [
        ("file-import", "v3", "/files/v3/files/import-from-url/async/tasks/T/status"),
        ("file-import", "2026-03", "/files/2026-03/files/import-from-url/async/tasks/T/status"),
        ("folder-update", "v3", "/files/v3/folders/update/async/tasks/T/status"),
        ("folder-update", "2026-09", "/files/2026-09/folders/update/async/tasks/T/status"),
        ("crm-export", "v3", "/crm/v3/exports/export/async/tasks/T/status"),
        ("crm-export", "2026-03", "/crm/exports/2026-03/export/async/tasks/T/status"),
        ("crm-import", "v3", "/crm/v3/imports/T"),
        ("crm-import", "2026-03", "/crm/imports/2026-03/T"),
        ("source-code-extract", "v3", "/cms/v3/source-code/extract/async/tasks/T/status"),
        ("source-code-extract", "2026-09", "/cms/source-code/2026-09/extract/async/tasks/T/status"),
    ],
)
def test_the_version_stands_where_hubspot_wants_it(kind: str, version: str, path: str) -> None:
    assert KINDS[kind].path(version, "T") == path


@pytest.mark.parametrize(
    ("task_id", "segment"),
    [
        pytest.param("AAAAEZ6whGI", "AAAAEZ6whGI", id="as HubSpot makes them"),
        pytest.param("a/b", "a%2Fb", id="slash"),
        pytest.param("a?b#c", "a%3Fb%23c", id="query and fragment"),
        pytest.param("{v}", "%7Bv%7D", id="a template's braces"),
        pytest.param("50%", "50%25", id="percent"),
        pytest.param("é", "%C3%A9", id="beyond ASCII"),
        pytest.param("..", "%2E%2E", id="a step up the path"),
        pytest.param(".", "%2E", id="a step on the spot"),
        pytest.param("a.b", "a.b", id="a dot among others"),
    ],
)
def test_a_task_id_is_one_segment_of_the_path_whatever_is_in_it(task_id: str, segment: str) -> None:
    assert KINDS["crm-import"].path("v3", task_id) == f"/crm/v3/imports/{segment}"


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_no_task_id_leaves_its_place_in_the_path(task_id: str) -> None:
    path = KINDS["file-import"].path("v3", task_id)
    *before, segment, status = path.split("/")
    assert ("/".join(before), status) == ("/files/v3/files/import-from-url/async/tasks", "status")
    assert segment.isascii()
    assert set(segment).isdisjoint("?#\\")
    assert segment not in {".", ".."}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("file-import", ["PENDING", "PROCESSING"]),
        ("folder-update", ["PENDING", "PROCESSING"]),
        ("crm-export", ["PENDING", "PROCESSING"]),
        ("crm-import", ["STARTED", "PROCESSING", "DEFERRED"]),
        ("source-code-extract", ["PENDING", "PROCESSING"]),
    ],
)
def test_a_kind_knows_exactly_the_words_of_a_task_that_goes_on(kind: str, words: list[str]) -> None:
    field = "state" if kind == "crm-import" else "status"
    for word in ("PENDING", "PROCESSING", "STARTED", "DEFERRED"):
        classified = classify(KINDS[kind], an_answer(202, {field: word}), now=NOW)
        assert isinstance(classified, Unfinished if word in words else Inconclusive)


@pytest.mark.parametrize(
    ("kind", "body", "outcome"),
    [
        ("file-import", {"status": "COMPLETE", "result": {"id": "1"}}, "completed"),
        ("file-import", {"status": "COMPLETE", "result": URL}, "failed"),
        ("file-import", {"status": "CANCELED"}, "canceled"),
        ("folder-update", {"status": "COMPLETE", "result": {"id": "1"}}, "completed"),
        (
            "folder-update",
            {"status": "COMPLETE", "result": {"id": "1"}, "numErrors": 1},
            "completed_with_errors",
        ),
        ("folder-update", {"status": "COMPLETE"}, "failed"),
        ("folder-update", {"status": "CANCELED"}, "canceled"),
        ("crm-export", {"status": "COMPLETE", "result": URL}, "completed"),
        ("crm-export", {"status": "COMPLETE", "result": URL, "numErrors": 1}, "completed_with_errors"),
        ("crm-export", {"status": "COMPLETE", "result": ""}, "failed"),
        ("crm-export", {"status": "COMPLETE", "result": {"id": "1"}}, "failed"),
        ("crm-export", {"status": "CANCELED"}, "canceled"),
        ("crm-import", {"state": "DONE"}, "completed"),
        ("crm-import", {"state": "FAILED"}, "failed"),
        ("crm-import", {"state": "CANCELED"}, "canceled"),
        ("crm-import", {"state": "REVERTED"}, "canceled"),
        ("source-code-extract", {"status": "COMPLETE"}, "completed"),
        ("source-code-extract", {"status": "CANCELED"}, "canceled"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_a_kind_s_last_words_become_outcomes(kind: str, body: dict[str, Any], outcome: str) -> None:
    classified = classify(KINDS[kind], an_answer(200, body), now=NOW)
    assert isinstance(classified, Ended)
    assert classified.outcome == outcome
    assert (classified.error is None) == (outcome == "completed")


def test_an_import_that_was_undone_is_not_said_never_to_have_begun() -> None:
    classified = classify(KINDS["crm-import"], an_answer(200, {"state": "REVERTED"}), now=NOW)
    assert isinstance(classified, Ended)
    assert classified.error == "HubSpot ended the task as REVERTED: it was stopped or undone."


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("crm-import", {"status": "COMPLETE", "result": {"id": "1"}}),
        ("file-import", {"state": "DONE"}),
        ("file-import", {"status": "DONE"}),
        ("source-code-extract", {"status": "complete"}),
    ],
)
def test_another_kind_s_words_are_inconclusive(kind: str, body: dict[str, Any]) -> None:
    assert isinstance(classify(KINDS[kind], an_answer(200, body), now=NOW), Inconclusive)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        ("file-import", "import"),
        ("crm-import", "import"),
        ("folder-update", "folder-update"),
        ("crm-export", "crm-export"),
        ("source-code-extract", "source-code-extract"),
    ],
)
@pytest.mark.parametrize("outcome", Outcome)
def test_a_callback_s_type_names_the_kind_and_the_outcome(kind: str, prefix: str, outcome: Outcome) -> None:
    assert event_type(an_ended_watch(outcome, kind=kind)) == f"{prefix}.{outcome.value}"
