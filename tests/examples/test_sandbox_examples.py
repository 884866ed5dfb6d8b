"""The examples of tests against the sandbox pass, as they are run in other projects."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.sandbox import Sandbox
from tests.examples.receivers import EXAMPLES
from tests.npm_packages import needs_node, npm_folder


def passed(command: list[str], hubspot: Sandbox, folder: Path) -> str:
    """Run a test runner to its end; what it printed."""
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "SANDBOX": hubspot.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def test_the_example_for_pytest_passes(hubspot: Sandbox, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "test_with_sandbox.py", tmp_path)
    assert "4 passed" in passed([sys.executable, "-m", "pytest", "test_with_sandbox.py"], hubspot, tmp_path)


@needs_node
def test_the_example_for_node_passes(hubspot: Sandbox, request: pytest.FixtureRequest) -> None:
    folder = npm_folder(request.config)
    shutil.copy(EXAMPLES / "with_sandbox.test.mjs", folder)
    command = [shutil.which("node") or "", "--test", "--test-reporter=tap", "with_sandbox.test.mjs"]
    assert "\n# pass 4\n" in passed(command, hubspot, folder)
