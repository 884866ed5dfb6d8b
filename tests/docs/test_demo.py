"""`python -m demo`: what it leaves behind, and what it says when it cannot run."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT
from tests.docs.reader import (
    TIMEOUT_SECONDS,
    environment,
    wait_until,
)
from tests.reliability.processes import children


@contextmanager
def demo_until(event: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int], Path]]:
    """A demo in a process group of its own that has printed an event, what it has started, and its output."""
    output = folder / "output"
    (folder / "temporary").mkdir()
    with output.open("w") as file:
        process = subprocess.Popen(
            # `nohup` and a shell's background have the tests ignore some signals, and with them what they start.
            ["/usr/bin/env", "--default-signal", sys.executable, "-m", "demo"],
            cwd=ROOT,
            env=environment() | {"TMPDIR": str(folder / "temporary")},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    started: list[int] = []
    try:
        wait_until(
            lambda: event in output.read_text() or process.poll() is not None,
            lambda: "\n".join(file.read_text() for file in [output, *folder.glob("temporary/*/*.log")]),
        )
        assert process.poll() is None, output.read_text()
        started = descendants(process.pid)
        yield process, started, output
    finally:
        for pid in {*started, *descendants(process.pid)}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have."""
    try:
        started = children(pid)
    except OSError:
        return []
    return started + [each for child in started for each in descendants(child)]


def caught(pid: int) -> set[int]:
    """Return the signals that a process has handlers for."""
    [mask] = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return {number for number in signal.valid_signals() if int(mask, 16) >> (number - 1) & 1}


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGINT, True), (signal.SIGHUP, True), (signal.SIGTERM, False)],
)
def test_a_demo_that_is_stopped_leaves_nothing_behind_and_says_nothing_of_it(
    tmp_path: Path,
    number: signal.Signals,
    whole_group: bool,  # noqa: FBT001 -- pytest hands it in
) -> None:
    with demo_until("registered", tmp_path) as (process, started, output):
        # It has the same handler as SIGTERM.
        assert signal.SIGQUIT in caught(process.pid)
        # A terminal that is closed signals twice: its shell does, and so does the kernel.
        for _ in range(2):
            (os.killpg if whole_group else os.kill)(process.pid, number)
        assert process.wait(TIMEOUT_SECONDS) == 128 + number
        # The sandbox, gunicorn and its worker.
        assert len(started) >= 3
        assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
        started.clear()  # the numbers may soon be others'
    assert list((tmp_path / "temporary").iterdir()) == []
    assert "Traceback" not in output.read_text()


def test_a_demo_whose_bridge_is_refused_says_why() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=environment() | {"WEB_CONCURRENCY": "many"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert ended.returncode == 1
    assert "WEB_CONCURRENCY" in ended.stderr
