"""The commands of docs/sandbox.md do what the page says."""

import json

from bridge.sandbox import GUIDE, Sandbox
from tests.docs.markdown import blocks, page
from tests.docs.reader import environment, printed

START, CI, *CONTROLS = [block.text for block in blocks(page("docs/sandbox.md"), "sh")]


def run(hubspot: Sandbox, command: str) -> str:
    return printed(command.replace("http://127.0.0.1:8001", hubspot.url), environment())


def test_the_command_that_waits_prints_the_guide(hubspot: Sandbox) -> None:
    assert run(hubspot, CI.splitlines()[-1]) == GUIDE


def test_the_control_commands_do_what_they_say(hubspot: Sandbox) -> None:
    reset, options, fault, ledger = CONTROLS
    hubspot.state.add_tasks(tasks=3)
    assert run(hubspot, reset) == ""
    shown = json.loads(run(hubspot, options))
    assert (shown["pending_seconds"], shown["processing_seconds"]) == (0, 0)
    assert json.loads(run(hubspot, fault))["id"]
    assert json.loads(run(hubspot, ledger))["endpoints"] == {}


def test_the_sandbox_is_started_by_the_same_command_everywhere() -> None:
    assert START in CI.replace("(cd bridge && ", "").replace(") &", "")
