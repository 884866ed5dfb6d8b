"""The diagram of the states: it is made from the code, and a stale one is reported."""

import subprocess
import sys
from pathlib import Path

import pytest

from bridge.core.watch import TRANSITIONS, State
from bridge.diagram import main, mermaid

PAGE = "# States\n\n<!-- states -->\n```mermaid\nold\n```\n<!-- /states -->\n\nMore, and 😀.\n"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "ARCHITECTURE.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_the_diagram_has_every_transition_and_both_ends() -> None:
    lines = [line.strip() for line in mermaid().splitlines()]
    assert lines[0] == "stateDiagram-v2"
    assert "[*] --> watching: registered" in lines
    for (before, event), after in TRANSITIONS.items():
        [labels] = [line.partition(": ")[2] for line in lines if line.startswith(f"{before} --> {after}:")]
        assert event in labels.split(", ")
    ends = {line.removesuffix(" --> [*]") for line in lines if line.endswith("[*]")}
    assert ends == {State.DELIVERED, State.UNDELIVERED, State.WITHDRAWN}


def test_events_that_lead_the_same_way_share_an_arrow() -> None:
    assert "    watching --> watching: checked, rechecked\n" in mermaid()


def test_a_stale_page_is_noticed_renewed_and_then_well(page: Path) -> None:
    problem = main(["--check", str(page)])
    assert problem is not None
    assert "stale" in problem
    assert page.read_text(encoding="utf-8") == PAGE
    assert main(["--write", str(page)]) is None
    assert main(["--check", str(page)]) is None
    text = page.read_text(encoding="utf-8")
    assert text == PAGE.replace("old", mermaid())


@pytest.mark.parametrize(
    "text",
    ["", "<!-- states -->", "<!-- /states -->", "<!-- /states --><!-- states -->", PAGE + PAGE],
    ids=["no marks", "no end", "no beginning", "the wrong way round", "two places"],
)
@pytest.mark.parametrize("option", ["--check", "--write"])
def test_a_page_without_one_place_for_the_diagram_is_refused(page: Path, text: str, option: str) -> None:
    page.write_text(text, encoding="utf-8")
    assert "is missing" in (main([option, str(page)]) or "")
    assert page.read_text(encoding="utf-8") == text


def test_a_page_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "No such file" in (main(["--check", str(tmp_path / "none.md")]) or "")


def test_the_command_prints_the_diagram_and_fails_on_a_stale_page(page: Path) -> None:
    command = [sys.executable, "-m", "bridge.diagram"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert printed.stdout == f"{mermaid()}\n"
    stale = subprocess.run([*command, "--check", str(page)], capture_output=True, text=True, check=False)
    assert (stale.returncode, stale.stdout) == (1, "")
    assert "stale" in stale.stderr
