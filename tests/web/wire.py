"""The real web process, gunicorn with gunicorn.conf.py, and raw sockets as its clients."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.ports import free_port
from tests.reliability.processes import ROOT, WEB, Running, answers
from tests.reliability.waiting import until

ADMIN_KEY = "an-admin-key-of-at-least-32-characters"
HALF = b"GET /healthz HTTP/1.1\r\nHost: bridge\r\nX-Slow: "
BODY = (
    b"POST /v1/watches HTTP/1.1\r\nHost: bridge\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer " + ADMIN_KEY.encode() + b"\r\n"
)
LAST = b"GET /healthz HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n"
# The time-out of slow clients in the tests, and how long an answer may take beside them: longer than on a loaded machine.
REQUEST_TIMEOUT_SECONDS = 120.0
ANSWER_SECONDS = REQUEST_TIMEOUT_SECONDS / 2


class Web(NamedTuple):
    """A running web process and its port."""

    process: Running
    port: int


@contextmanager
def served(folder: Path, *settings: str, before: str = "", **environ: str) -> Iterator[Web]:
    """Serve with gunicorn.conf.py; `before` and `settings` are Python lines that run before and after it.

    `settings` may use `server`, which is bridge.web.server.
    """
    conf = folder / "changed.conf.py"
    original = f"exec(open({str(ROOT / 'gunicorn.conf.py')!r}).read())"
    set_timeout = f"from bridge.web import server; server.REQUEST_TIMEOUT_SECONDS = {REQUEST_TIMEOUT_SECONDS}"
    conf.write_text("\n".join([before, original, set_timeout, *settings]))
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": f"sqlite:///{folder / 'bridge.db'}",
        "BRIDGE_ADMIN_KEY": ADMIN_KEY,
        "BRIDGE_EMBEDDED_WORKER": "false",
        "PORT": str(port),
    }
    process = Running((*WEB, "-c", str(conf)), env | environ, folder / "web.log")
    try:
        until(lambda: answers(process, port))
        yield Web(process, port)
    finally:
        process.end()


def connected(port: int, sent: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
    client.sendall(sent)
    return client


def all_of(client: socket.socket) -> bytes:
    """Return all bytes until the bridge closes or resets the connection."""
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def statuses(received: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.[01] (\d+)", received)
