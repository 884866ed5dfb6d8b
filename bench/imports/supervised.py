"""A worker process with a supervisor: killed, it is started again."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.processes import ROOT, family_cpu_seconds


class Supervised:
    """One worker of a tool, with whatever processes it starts."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str]) -> None:
        self._command, self._log, self._env = command, log, env
        self._cpu_seconds_of_dead = 0.0
        self._process = self._started()

    @property
    def cpu_seconds(self) -> float:
        """CPU time so far, that of the killed ones too."""
        return self._cpu_seconds_of_dead + family_cpu_seconds(self._process.pid)

    def kill(self) -> None:
        """Kill it and its children without a warning, as the end of a container does; start it again."""
        self._cpu_seconds_of_dead = self.cpu_seconds
        self.end()
        self._process = self._started()

    def end(self) -> None:
        """Kill it and its children, if it has not ended by itself."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def has_ended(self) -> bool:
        """Tell whether it has ended by itself, which no worker should."""
        return self._process.poll() is not None

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            return subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=output, stderr=output, start_new_session=True
            )


@contextmanager
def supervised(
    commands: Sequence[Sequence[str]], log: Path, env: Mapping[str, str]
) -> Iterator[list[Supervised]]:
    """Run a worker for each command until the block ends."""
    workers: list[Supervised] = []
    try:
        # Not at once: those that have started must be ended when the next one cannot be.
        for command in commands:
            workers.append(Supervised(command, log, env))  # noqa: PERF401 -- see above
        yield workers
    finally:
        for worker in workers:
            worker.end()
