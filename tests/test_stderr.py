"""Standard error: a write never fails or blocks for long, and writing resumes by itself."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from bridge.stderr import StandardError

# Standard error belongs to a whole process: each case runs in its own, and prints its result to standard output.
PROGRAM = """
import logging, os, resource, sys, threading, warnings
import structlog
from bridge import logs
from bridge.stderr import STDERR
log = structlog.get_logger()
library = logging.getLogger("library")
logs.configure({log_format!r})
{lines}
"""
FULL = Path("/dev/full")


def run(lines: str, stderr: int | IO[Any] | None, log_format: str = "json", **env: str) -> str:
    program = PROGRAM.format(log_format=log_format, lines=lines)
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | env,
    )
    return done.stdout


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "line",
    [
        "log.warning('ours')",
        "library.warning('a library')",
        "warnings.warn('a warning')",
        "print('a print', file=sys.stderr)",
        "sys.stderr.write('no line end')",
        "threading.Thread(target=lambda: 1 / 0).start()",
    ],
)
def test_whatever_is_written_to_a_full_disk_is_dropped_and_the_process_ends_well(
    line: str, log_format: str
) -> None:
    ended = "[t.join() for t in threading.enumerate()[1:]]; sys.stderr.flush(); print(STDERR.dropped > 0)"
    with FULL.open("w") as full:
        assert run(f"{line}\n{ended}", full, log_format) == "True\n"


def test_a_command_that_is_called_wrongly_ends_with_2_though_nobody_can_be_told() -> None:
    with FULL.open("w") as full:
        done = subprocess.run([sys.executable, "-m", "bridge", "sing"], stderr=full, timeout=60, check=False)
    assert done.returncode == 2


def test_a_process_without_standard_error_writes_into_nobody_else_s_file(tmp_path: Path) -> None:
    """The next file that the process opens gets the descriptor 2."""
    other = tmp_path / "other"
    script = f"file = os.open({str(other)!r}, os.O_RDWR | os.O_CREAT)\nlog.warning('x')\nprint(file, STDERR.dropped)"
    program = PROGRAM.format(log_format="json", lines=script)
    shell = ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program]
    done = subprocess.run(shell, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout == "2 1\n"
    assert other.read_bytes() == b""


def test_a_standard_error_that_was_closed_is_survived() -> None:
    assert run("os.close(2)\nlog.warning('x')\nprint(STDERR.dropped)", subprocess.DEVNULL) == "1\n"
    assert run("sys.stderr.close()\nlog.warning('x')\nprint(STDERR.dropped)", subprocess.DEVNULL) == "0\n"


def test_when_the_disk_has_room_again_lines_come_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as file:
        told = run(
            """
import signal
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
log.warning('first')
resource.setrlimit(resource.RLIMIT_FSIZE, (os.fstat(2).st_size + 10, hard))
log.warning('cut')
log.warning('lost')
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.warning('last')
print(STDERR.dropped)
""",
            file,
        )
    assert told == "2\n"
    first, cut, last = path.read_text().splitlines()
    assert ('"first"' in first, len(cut), '"last"' in last) == (True, 10, True)


def test_a_reader_that_stops_is_waited_for_once_and_served_again_when_it_reads() -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    lines = f"""
def blocked():
    before = STDERR.dropped
    log.warning('x' * 1000)
    return STDERR.dropped > before

while not blocked():
    pass
assert all(blocked() for _ in range(10_000))
os.read({read}, 4096)
log.warning('last')
print(STDERR.dropped)
"""
    program = PROGRAM.format(log_format="json", lines=lines)
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=write,
        pass_fds=[read],
        text=True,
        timeout=60,
        check=True,
    )
    # Others who have the pipe, a shell perhaps, do not find it changed.
    assert not fcntl.fcntl(write, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(write)
    with os.fdopen(read) as rest:
        assert '"last"' in rest.read().splitlines()[-1]
    assert done.stdout == "10001\n"


def test_a_slow_reader_gets_every_line_however_long() -> None:
    program = PROGRAM.format(
        log_format="json", lines="for n in range(200): log.warning('x' * 5000)\nprint(STDERR.dropped)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stderr
        assert process.stdout
        read = b""
        while piece := process.stderr.read(1000):
            read += piece
        assert process.stdout.read() == b"0\n"
    assert len(read.splitlines()) == 200


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("type('Odd', (), {'__repr__': lambda self: 1 / 0})()", id="a repr that raises"),
        pytest.param("10 ** 5000", id="too long a number"),
        pytest.param("{('a', 1): object()}", id="keys that JSON has not"),
        pytest.param("(lambda held: held.append(held) or held)([])", id="a list that holds itself"),
        pytest.param("'\\udc80'", id="half a character"),
        pytest.param("{'token': type('Odd', (), {'__repr__': lambda self: 1 / 0})()}", id="deep inside"),
    ],
)
def test_a_line_is_told_whatever_its_fields_hold(value: str, log_format: str, tmp_path: Path) -> None:
    lines = f"""
log.warning('ours', held={value}, access_token='hush')
library.warning('a library: %s', 'said', exc_info=ValueError({value!r}))
try:
    1 / 0
except ZeroDivisionError:
    log.exception('crashed', held={value})
print(STDERR.dropped)
"""
    with (tmp_path / "log").open("w") as file:
        assert run(lines, file, log_format, LC_ALL="C", PYTHONIOENCODING="ascii:strict") == "0\n"
    told = (tmp_path / "log").read_text()
    assert all(
        event in told for event in ("ours", "a library: said", "crashed", "ZeroDivisionError: division by")
    )
    assert "hush" not in told


@pytest.mark.parametrize(
    "given", ["'%d', 'x'", "'%s', type('Endless', (), {'__str__': lambda self: str(self)})()"]
)
def test_a_library_s_line_that_cannot_be_made_is_dropped(given: str) -> None:
    assert run(f"library.warning({given})\nprint(STDERR.dropped)", subprocess.DEVNULL) == "1\n"


def test_what_was_dropped_is_taken_once() -> None:
    stderr = StandardError()
    for times in (2, 0, 1):
        for _ in range(times):
            stderr.write(b"nowhere to go\n")
        assert stderr.take_dropped() == times


def test_a_child_counts_for_itself_and_does_not_wait_for_its_parent_s_threads() -> None:
    lines = """
STDERR.drop()
held = threading.Event()
def hold():
    with STDERR._lock:
        held.set()
        threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
STDERR.drop()
os._exit(STDERR.take_dropped() - 1)
"""
    assert run(lines, subprocess.DEVNULL, PYTHONWARNINGS="ignore") == ""
