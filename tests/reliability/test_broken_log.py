"""A log that cannot be written: the bridge works on as if it could, and says how many lines are missing."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from bridge.core.counters import LOG_LINES_DROPPED
from bridge.db import counters
from bridge.db.engine import reading
from bridge.sandbox import Sandbox
from tests.ports import free_port
from tests.reliability.conftest import NewInstallation
from tests.reliability.database import Installation
from tests.reliability.processes import ROOT, STOP_SECONDS
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until

ADMIN_KEY = "k" * 32
TASKS = 60  # their lines are more than the pipe and the socket hold


@contextmanager
def reader_that_goes() -> Iterator[int]:
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@contextmanager
def reader_that_does_not_read() -> Iterator[int]:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    yield write
    os.close(write)
    os.close(read)


@contextmanager
def socket_that_nobody_reads() -> Iterator[int]:
    """As systemd's journal is one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        yield theirs.fileno()


@contextmanager
def full_disk() -> Iterator[int]:
    with Path("/dev/full").open("wb") as full:
        yield full.fileno()


@contextmanager
def terminal_that_hung_up() -> Iterator[int]:
    person, terminal = os.openpty()
    os.close(person)
    yield terminal
    os.close(terminal)


BROKEN = [
    reader_that_goes,
    reader_that_does_not_read,
    socket_that_nobody_reads,
    full_disk,
    terminal_that_hung_up,
]

each_broken = pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)


@contextmanager
def running(
    installation: Installation, hubspot: Sandbox, stderr: int, *arguments: str, **env: str
) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", *arguments],
        cwd=ROOT,
        env=installation.env(hubspot.url, BRIDGE_ADMIN_KEY=ADMIN_KEY, **env),
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Web:
    """The API of a web process, for an administrator."""

    def __init__(self) -> None:
        self.port = free_port()

    def call(self, method: str, path: str, **options: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        url = f"http://127.0.0.1:{self.port}{path}"
        return requests.request(method, url, headers=headers, timeout=30, **options)  # type: ignore[arg-type]

    def is_up(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return self.call("GET", "/healthz").ok
        return False

    def dropped(self) -> float:
        text = self.call("GET", "/metrics").text
        [metric] = [m for m in text_string_to_metric_families(text) if m.name == "bridge_log_lines_dropped"]
        return metric.samples[0].value


def tells_everybody(installation: Installation, hubspot: Sandbox, receiver: Receiver) -> bool:
    """Whether new watches are polled and called back."""
    tasks = hubspot.state.add_tasks(tasks=TASKS)
    wanted = set(installation.register(tasks, receiver.url(installation)))
    until(lambda: wanted <= {arrival.watch_id for arrival in receiver.arrivals(installation)})
    return True


@each_broken
def test_a_web_process_whose_log_cannot_be_written_works_on_and_counts(
    broken: Callable[[], AbstractContextManager[int]],
    new_installation: NewInstallation,
    hubspot: Sandbox,
    receiver: Receiver,
) -> None:
    installation, web = new_installation("sqlite"), Web()
    with (
        broken() as stderr,
        running(installation, hubspot, stderr, "serve", "--host", "127.0.0.1", PORT=str(web.port)) as process,
    ):
        until(web.is_up)
        assert web.call("POST", "/v1/clients", json={"name": "cms"}).status_code == 201
        assert tells_everybody(installation, hubspot, receiver)
        until(web.dropped)
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0


@pytest.mark.parametrize("broken", [reader_that_goes, full_disk], ids=lambda broken: broken.__name__)
def test_a_worker_whose_log_cannot_be_written_works_counts_and_stops_with_status_0(
    broken: Callable[[], AbstractContextManager[int]],
    new_installation: NewInstallation,
    hubspot: Sandbox,
    receiver: Receiver,
) -> None:
    installation = new_installation("sqlite")
    with broken() as stderr, running(installation, hubspot, stderr, "worker") as process:
        assert tells_everybody(installation, hubspot, receiver)
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    with reading(installation.engine) as connection:
        # At least a line for each callback.
        assert counters.totals(connection).of(LOG_LINES_DROPPED)[()] >= TASKS
