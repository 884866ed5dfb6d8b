"""Commands as forks of one process that has imported the bridge: the imports alone take a second."""

import atexit
import faulthandler
import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from signal import Signals

from bridge import cli

NOTHING = Path(os.devnull)
# The modules of the commands.
FAMILIES = ("accounts", "clients", "doctor", "processes", "sandbox", "status", "watches")

# The fork server is one for the whole run, and so is the list of what it imports first.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *(f"bridge.commands.{family}" for family in FAMILIES),
        "tests.reliability.fault_points",
    ]
)
# Whoever starts a process asks for the status of all others, and a status can be read only once.
_STATUSES = threading.Lock()


class Fork:
    """A command that runs as `python -m` runs it, in a session of its own; its methods are those of `Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        *,
        stdout: Path,
        stderr: Path,
        stdin: Path = NOTHING,
        user: int | None = None,
    ) -> None:
        """Run `arguments`: "-m", the module, and what it is given. What it writes is appended to the files.

        With the number of a `user`, the command must be one of the bridge; only root can choose another user.
        """
        for output in (stdout, stderr):
            output.touch()
        given = (arguments, dict(env), (stdin, stdout, stderr), user)
        self._process = _FORKS.Process(target=_run, args=given, daemon=True)
        with _STATUSES:
            self._process.start()
        self.pid = self._process.pid or 0
        self.sentinel = self._process.sentinel

    def poll(self) -> int | None:
        """Return the exit status, minus the signal's number if one has killed it, or None while it runs."""
        with _STATUSES:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status; TimeoutExpired when the command does not end within so many seconds."""
        wait([self.sentinel], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("the fork", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        # Once it has ended, the fork server may have taken it away at any moment.
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(Signals.SIGKILL)


def _run(arguments: Sequence[str], env: Mapping[str, str], files: Sequence[Path], user: int | None) -> None:
    os.setsid()
    os.chdir(Path(__file__).parents[1])
    os.environ.clear()
    os.environ.update(env)
    for number, file in enumerate(files):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND if number else os.O_RDONLY), number)
    sys.stdin = os.fdopen(0)
    faulthandler.enable()
    _, module, *given = arguments
    sys.argv = [module, *given]
    if user not in (None, os.geteuid()):
        # That user may not be allowed to import what is not imported yet, nor to write what coverage has counted.
        importlib.import_module("sqlalchemy.dialects.sqlite")
        os.setgroups([])
        os.setuid(user)
        os._exit(cli.main(given))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        # A fork ends without them. Among others, one writes what coverage has counted.
        atexit._run_exitfuncs()
