"""Every kind of task, from registration to callback, in every version of HubSpot's API; and a new kind."""

import ast
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest

from bridge.core.kinds import KINDS, Kind
from bridge.core.watch import Outcome
from bridge.sandbox import Kind as SandboxKind
from bridge.sandbox import Outcome as SandboxOutcome
from tests.acceptance.conftest import NewStage
from tests.acceptance.stage import Setting
from tests.steps.peers import Peer, saying

VERSIONS = ("v3", "2026-03", "2026-09")
BRIDGE = Path(__file__).parents[2] / "bridge"

# The contract's table: each kind, each end of the task that HubSpot has a word for, the event that tells it.
ENDS = {
    ("file-import", SandboxOutcome.COMPLETED): "import.completed",
    ("file-import", SandboxOutcome.COMPLETED_WITH_ERRORS): "import.completed_with_errors",
    ("file-import", SandboxOutcome.FAILED): "import.failed",
    ("file-import", SandboxOutcome.CANCELED): "import.canceled",
    ("file-import", SandboxOutcome.REJECTED): "import.rejected",
    ("folder-update", SandboxOutcome.COMPLETED): "folder-update.completed",
    ("folder-update", SandboxOutcome.COMPLETED_WITH_ERRORS): "folder-update.completed_with_errors",
    ("folder-update", SandboxOutcome.FAILED): "folder-update.failed",
    ("folder-update", SandboxOutcome.CANCELED): "folder-update.canceled",
    ("folder-update", SandboxOutcome.REJECTED): "folder-update.rejected",
    ("crm-export", SandboxOutcome.COMPLETED): "crm-export.completed",
    ("crm-export", SandboxOutcome.COMPLETED_WITH_ERRORS): "crm-export.completed_with_errors",
    ("crm-export", SandboxOutcome.FAILED): "crm-export.failed",
    ("crm-export", SandboxOutcome.CANCELED): "crm-export.canceled",
    ("crm-export", SandboxOutcome.REJECTED): "crm-export.rejected",
    ("crm-import", SandboxOutcome.COMPLETED): "import.completed",
    ("crm-import", SandboxOutcome.FAILED): "import.failed",
    ("crm-import", SandboxOutcome.CANCELED): "import.canceled",
    ("crm-import", SandboxOutcome.REVERTED): "import.canceled",
    ("crm-import", SandboxOutcome.REJECTED): "import.rejected",
    ("source-code-extract", SandboxOutcome.COMPLETED): "source-code-extract.completed",
    ("source-code-extract", SandboxOutcome.CANCELED): "source-code-extract.canceled",
    ("source-code-extract", SandboxOutcome.REJECTED): "source-code-extract.rejected",
}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_end_of_each_kind_is_told_by_its_event(new_stage: NewStage, version: str) -> None:
    stage = new_stage(Setting(api_version=version), pending_seconds=1, processing_seconds=3)
    expected = {}
    # One kind after the other: unknown tasks of all kinds at once would suspect the account.
    for kind, ends in groupby(ENDS, key=itemgetter(0)):
        for end in ends:
            [task_id] = stage.hubspot.state.add_tasks(SandboxKind(kind), end[1])
            expected[stage.register(task_id, kind=kind)["id"]] = ENDS[end]
        stage.passes(40, steps=10)
    told = {event["data"]["id"]: event["type"] for event in stage.events()}
    assert told == expected
    assert len(stage.events()) == len(expected)
    assert "no-route" not in stage.hubspot.state.ledger()["endpoints"]


@pytest.mark.parametrize("kind", SandboxKind)
def test_a_task_that_goes_on_is_watched_until_it_ends(new_stage: NewStage, kind: SandboxKind) -> None:
    stage = new_stage(pending_seconds=10, processing_seconds=10)
    word = "DEFERRED" if kind is SandboxKind.CRM_IMPORT else None
    [task_id] = stage.hubspot.state.add_tasks(kind, pending_status=word)
    watch = stage.register(task_id, kind=kind.value)
    stage.passes(5)
    assert stage.watch(watch["id"])["status"] == (word or "PENDING")
    stage.passes(10, steps=2)
    assert stage.watch(watch["id"])["status"] == "PROCESSING"
    assert not stage.events()
    stage.passes(30, steps=6)
    assert stage.watch(watch["id"])["outcome"] == "completed"


def test_the_url_of_an_export_goes_out_in_the_shift_that_finds_it(each_stage: NewStage) -> None:
    """It lives for minutes."""
    stage = each_stage(pending_seconds=0, processing_seconds=0)
    [task_id] = stage.hubspot.state.add_tasks(SandboxKind.CRM_EXPORT)
    watch = stage.register(task_id, kind="crm-export")
    stage.passes(2.5)
    [event] = stage.events()
    assert event["data"]["hubspot"]["result"].startswith("https://")
    assert stage.watch(watch["id"])["polls"] == 1


def test_the_table_of_ends_has_all_that_hubspot_and_the_bridge_know() -> None:
    assert {kind for kind, _ in ENDS} == set(KINDS) == {kind.value for kind in SandboxKind}
    ways = set(Outcome) - {Outcome.TIMED_OUT}
    assert {event.rpartition(".")[2] for event in ENDS.values()} == ways


def test_a_new_kind_is_a_new_row(new_stage: NewStage, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Kind(
        name="blog-export",
        v3="/cms/{v}/blogs/export/{task_id}",
        dated="/cms/blogs/{v}/export/{task_id}",
        field="phase",
        running=frozenset({"WRITING"}),
        ends={"PRINTED": lambda _: Outcome.COMPLETED},
        event_prefix="blog-export",
    )
    monkeypatch.setitem(KINDS, row.name, row)  # all that the bridge itself needs
    answers = iter([saying({"phase": "WRITING"}, 202), saying({"phase": "PRINTED"})])
    with Peer(lambda _: next(answers)).listening() as hubspot:
        stage = new_stage(Setting(base_url=hubspot.base_url, api_version="2026-03"))
        stage.register("T1", kind="blog-export")
        stage.passes(10, steps=4)
    assert {request.path for request in hubspot.requests} == {"/cms/blogs/2026-03/export/T1"}
    assert [event["type"] for event in stage.events()] == ["blog-export.completed"]


def test_no_other_module_names_a_kind() -> None:
    """But for examples, which show one to people."""
    others = [
        path for path in sorted(BRIDGE.rglob("*.py")) if "sandbox" not in path.relative_to(BRIDGE).parts
    ]
    others.remove(BRIDGE / "core" / "kinds.py")
    assert len(others) > 50
    assert [place for path in others for place in _named(path)] == []


def _named(path: Path) -> Iterator[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    shown = {id(value) for node in nodes if isinstance(node, ast.Dict) for value in _shown(node)}
    for node in nodes:
        if isinstance(node, ast.Constant) and id(node) not in shown and node.value in set(KINDS):
            yield f"{path.relative_to(BRIDGE)}:{node.lineno}: {node.value}"


def _shown(example: ast.Dict) -> Iterator[ast.expr]:
    for key, value in zip(example.keys, example.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "kind":
            yield value


def test_an_end_is_believed_behind_a_line_that_is_no_header(new_stage: NewStage) -> None:
    stage = new_stage()
    [task] = stage.hubspot.state.add_tasks()
    stage.hubspot.state.set_fault("bad-header")
    watch = stage.register(task)["id"]
    stage.passes(2.5)
    assert stage.watch(watch)["outcome"] == "completed"
