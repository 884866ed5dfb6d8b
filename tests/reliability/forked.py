"""Many commands at once: forks of one process that has imported the bridge, which takes a second each."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from bridge import cli
from tests.forks import FORKS
from tests.reliability import fault_points


@contextmanager
def running(env: Mapping[str, str], log: Path, *boundary: str) -> Iterator[BaseProcess]:
    """Run a worker, or what `boundary` names as the command line of `dying` would, until the block ends."""
    child = FORKS.Process(target=_run, args=(dict(env), log, boundary))
    child.start()
    try:
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid or 0, signal.SIGKILL)
        child.kill()
        child.join()


def has_ended(child: BaseProcess, within_seconds: float) -> bool:
    """Tell whether it ends within so long.

    How it ended is not known: `multiprocessing` mixes up what it tells two threads that ask at once.
    """
    return bool(wait([child.sentinel], within_seconds))


def _run(env: Mapping[str, str], log: Path, boundary: Sequence[str]) -> None:
    # gunicorn's own children end with it.
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    with log.open("ab") as output:
        for standard in (1, 2):
            os.dup2(output.fileno(), standard)
    sys.exit(fault_points.run(*boundary) if boundary else cli.main(["worker"]))
