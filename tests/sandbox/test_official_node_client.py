"""HubSpot's official Node client works with the sandbox as with HubSpot."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge import sandbox
from bridge.sandbox import SandboxOptions
from tests.npm_packages import needs_node, npm_folder

PROGRAM = Path(__file__).with_name("official_client.mjs")


@needs_node
def test_the_client_starts_a_task_of_each_kind_and_reads_its_end(request: pytest.FixtureRequest) -> None:
    # Node looks for packages in the folders above a program.
    program = shutil.copy(PROGRAM, npm_folder(request.config))
    with sandbox.running(SandboxOptions(pending_seconds=0, processing_seconds=0)) as hubspot:
        ran = subprocess.run(
            [shutil.which("node") or "", program],
            env={**os.environ, "SANDBOX": hubspot.url},
            stdout=subprocess.PIPE,
            check=True,
            timeout=60,
        )
    assert json.loads(ran.stdout) == {
        "file-import": {"status": "COMPLETE", "name": "report", "file": "report"},
        "folder-update": {"status": "COMPLETE", "name": "reports"},
        "crm-export": {"status": "COMPLETE"},
        "crm-import": {"state": "DONE"},
        "source-code-extract": {"status": "COMPLETE"},
        "refused": {"code": 400, "category": "VALIDATION_ERROR"},
    }
