"""The guide lists all options and names, and is at the root and in the help."""

import re
import sys
from subprocess import run

from bridge.sandbox import GUIDE, create_app
from bridge.sandbox.faults import NAMES
from bridge.sandbox.plans import OUTCOMES, PACES
from bridge.sandbox.tasks import Outcome
from tests.sandbox.caller import Caller


def listed(first: str) -> set[str]:
    """The words of the lines in which a table begins with `first`, up to its descriptions."""
    [table] = [part for part in GUIDE.split("\n\n") if part.startswith(f"    {first} ")]
    heads = (line.strip().split("  ", 1)[0] for line in table.splitlines() if line[4:5] != " ")
    return {word for head in heads for word in head.split()}


def test_the_guide_is_the_answer_at_the_root_and_no_request_of_hubspot_s(hubspot: Caller) -> None:
    answer = hubspot.get("/", token=None)
    assert (answer.status_code, answer.text) == (200, GUIDE)
    assert hubspot.state.ledger()["endpoints"] == {}


def test_the_guide_is_the_command_s_help() -> None:
    helped = run(
        [sys.executable, "-m", "bridge", "sandbox", "--help"], capture_output=True, text=True, check=True
    )
    assert GUIDE.strip() in helped.stdout


def test_the_guide_names_every_fault() -> None:
    assert listed("400 404") == NAMES


def test_the_guide_names_every_file_name_that_chooses_an_end() -> None:
    assert {f"{name}.csv" for name in [*OUTCOMES, *PACES]} <= listed("errors.csv")


def test_the_guide_names_every_outcome_of_a_task_made_by_control() -> None:
    assert [outcome for outcome in Outcome if not re.search(rf"\b{outcome}\b", GUIDE)] == []


def test_the_guide_names_every_control_route() -> None:
    rules = create_app().url_map.iter_rules()
    paths = {rule.rule.replace("fault_id", "id") for rule in rules if rule.endpoint.startswith("control.")}
    assert len(paths) > 5
    assert [path for path in paths if path not in GUIDE] == []
