"""The real commands as processes of a test: started, watched, stopped, and surely ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.forks import Fork
from tests.reliability.waiting import until

ROOT = Path(__file__).parents[2]
WORKER = ("-m", "bridge", "worker")
WEB = ("-m", "gunicorn", "app:app")
# A worker may take 25 s to stop; what takes longer hangs.
STOP_SECONDS = 40.0


def children(pid: int) -> list[int]:
    """Return the processes that a process has started. Raises OSError when it has ended."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Running:
    """A Python command in a process group of its own, with its log lines in a file.

    It is a fork of a process that has imported the bridge, unless `interpreter` says that it has one of its own.
    """

    def __init__(
        self, arguments: Sequence[str], env: Mapping[str, str], log: Path, *, interpreter: bool = False
    ) -> None:
        self.log = log
        self._process = (
            _interpreted(arguments, env, log) if interpreter else Fork(arguments, env, stdout=log, stderr=log)
        )
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command itself."""
        self._process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Return the exit status; one that was killed has minus the signal's number."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            # It writes into its log where each of its threads is.
            self.send(signal.SIGABRT)
            self._process.wait(seconds)
            raise AssertionError(f"it does not stop:\n{self.log.read_text()[-10_000:]}") from None

    def stop(self) -> int:
        """Stop it as an operator does; returns the exit status."""
        self.send(signal.SIGTERM)
        return self.wait()

    def send_to_all(self, number: signal.Signals) -> None:
        """Send a signal to the command and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> None:
        """Leave nothing of it, whatever state it is in."""
        self.send_to_all(signal.SIGKILL)
        # A fork that has just begun has no group of its own yet.
        self._process.kill()
        self._process.wait()

    def has_logged(self, event: str) -> Callable[[], bool]:
        """Return a question for `until`; it fails at once when the process has died."""

        def seen() -> bool:
            assert self.alive, self.log.read_text()
            return bool(lines(self.log, event))

        return seen

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used so far; its children's is not in it."""
        fields = _stat(self.pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """Return how much memory it has in use now."""
        return _status_bytes(self.pid, "VmRSS")

    def peak_memory_bytes(self) -> int:
        """Return the most memory that it ever had in use."""
        return _status_bytes(self.pid, "VmHWM")


def _interpreted(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**env, "PYTHONFAULTHANDLER": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def lines(log: Path, event: str) -> list[dict[str, Any]]:
    """Return the lines of one event in a process's log."""
    return [line for line in _lines(log) if line["event"] == event]


def errors(log: Path) -> list[dict[str, Any]]:
    """Return what a process has logged as an error."""
    return [line for line in _lines(log) if line["level"] in {"error", "critical"}]


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def process_state(pid: int) -> str:
    """Return one letter: R running, S sleeping, T stopped, Z dead (proc_pid_stat(5))."""
    return _stat(pid)[0]


def _stat(pid: int) -> list[str]:
    # The name in front is in brackets, and may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _status_bytes(pid: int, name: str) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields[name].split()[0]) * 1024


class Processes:
    """Starts commands with one environment, each with a log of its own in `folder`."""

    def __init__(self, env: Mapping[str, str], folder: Path, *, interpreter: bool = False) -> None:
        self._env = env
        self._folder = folder
        self._interpreter = interpreter
        self.started: list[Running] = []

    def start(self, *arguments: str, **changes: str) -> Running:
        """Start a command, with some changes to the environment; returns at once."""
        log = self._folder / f"{len(self.started)}.log"
        running = Running(arguments, {**self._env, **changes}, log, interpreter=self._interpreter)
        self.started.append(running)
        return running

    def worker(self, **changes: str) -> Running:
        """Start `python -m bridge worker`; returns when it works."""
        worker = self.start(*WORKER, **changes)
        until(worker.has_logged("worker_started"))
        return worker

    def web(self, port: int, workers: int = 1) -> Running:
        """Start `gunicorn app:app` with so many processes; returns when it answers."""
        web = self.start(*WEB, PORT=str(port), WEB_CONCURRENCY=str(workers))
        until(lambda: answers(web, port))
        return web

    def end(self) -> None:
        for running in self.started:
            running.end()


@contextmanager
def running(env: Mapping[str, str], log: Path, *arguments: str) -> Iterator[Running]:
    """Run a command until the block ends."""
    command = Running(arguments, env, log)
    try:
        yield command
    finally:
        command.end()


def answers(web: Running, port: int) -> bool:
    """Tell whether a web process serves; fails at once when it has died."""
    assert web.alive, web.log.read_text()
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=10).ok
    return False


@contextmanager
def processes(env: Mapping[str, str], folder: Path, *, interpreter: bool = False) -> Iterator[Processes]:
    """Processes that are all gone when the block ends; `interpreter` as for `Running`."""
    started = Processes(env, folder, interpreter=interpreter)
    try:
        yield started
    finally:
        started.end()
