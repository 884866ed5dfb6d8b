"""Slow clients of the real web process do not delay other clients."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from bridge.web.thread_limits import THREADS
from tests.reliability.processes import lines
from tests.reliability.waiting import until
from tests.web.wire import ADMIN_KEY, ANSWER_SECONDS, BODY, HALF, all_of, connected, served, statuses

# With one client more than there are threads, for each way to be slow, no thread would be left.
MANY = THREADS + 1
SLOW = {
    "silent": b"",
    "half a request line": b"GET /hea",
    "half a head": HALF,
    "half a body": BODY + b"Content-Length: 100\r\n\r\n{",
    "half a chunk": BODY + b"Transfer-Encoding: chunked\r\n\r\n64\r\n{",
    "no last chunk": BODY + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "a promise": BODY + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
}
LARGE = {"note": "x" * 4000}


def healthz(port: int) -> int:
    return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=ANSWER_SECONDS).status_code


def readyz(port: int) -> int:
    return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=ANSWER_SECONDS).status_code


def slow_reader(port: int, sent: bytes) -> socket.socket:
    client = socket.socket()
    client.settimeout(20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # As on a network: loopback takes 64 KiB at a time.
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    client.connect(("127.0.0.1", port))
    client.sendall(sent)
    return client


def test_nobody_waits_for_clients_that_send_slowly(port: int) -> None:
    with ExitStack() as open_clients:
        for sent in SLOW.values():
            for _ in range(MANY):
                open_clients.enter_context(connected(port, sent))
        assert healthz(port) == 200


def test_nobody_waits_for_clients_that_drip(port: int) -> None:
    with ExitStack() as open_clients:
        dripping = [
            open_clients.enter_context(connected(port, sent)) for sent in SLOW.values() for _ in range(MANY)
        ]
        for _ in range(3):
            for client in dripping:
                client.sendall(b"x")
            assert healthz(port) == 200


@pytest.mark.parametrize("requests_each", [1, 50])
def test_nobody_waits_for_clients_that_do_not_read_or_close(port: int, requests_each: int) -> None:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: bridge\r\n\r\n" * (requests_each - 1)
    request += b"GET /openapi.json HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n"
    with ExitStack() as open_clients:
        clients = [open_clients.enter_context(slow_reader(port, request)) for _ in range(MANY)]
        for client in clients:
            assert client.recv(1)
        for _ in range(MANY):
            assert healthz(port) == 200


def test_without_free_descriptors_connections_wait_and_the_process_goes_on(tmp_path: Path) -> None:
    few = "__import__('resource').setrlimit(__import__('resource').RLIMIT_NOFILE, (80, 80))"
    with served(tmp_path, few) as web:
        with ExitStack() as open_clients:
            for _ in range(100):
                open_clients.enter_context(connected(web.port, HALF))
            until(lambda: "reached the connection limit" in web.process.log.read_text())
        assert requests.get(f"http://127.0.0.1:{web.port}/healthz", timeout=20).status_code == 200
        assert web.process.log.read_text().count("Booting worker") == 1


def test_who_is_idle_makes_room_for_who_is_new(tmp_path: Path) -> None:
    with served(tmp_path, "worker_connections = 14") as web, ExitStack() as open_clients:
        kept_open = [open_clients.enter_context(connected(web.port, b"")) for _ in range(3)]
        for client in kept_open:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        for _ in range(9):
            open_clients.enter_context(connected(web.port, HALF))
        assert healthz(web.port) == 200
        # It ends, and so it was closed.
        all_of(kept_open[0])


def test_leases_are_given_back_before_the_arbiter_kills_whoever_is_slow(tmp_path: Path) -> None:
    before = "from bridge.worker import scheduler; scheduler.STOP_SECONDS = 1.0"
    slow = "server.REQUEST_TIMEOUT_SECONDS = graceful_timeout = 600"
    given = {"BRIDGE_EMBEDDED_WORKER": "true"}
    with served(tmp_path, slow, before=before, **given) as web, connected(web.port, HALF):
        until(web.process.has_logged("worker_started"))
        assert healthz(web.port) == 200
        web.process.send(signal.SIGTERM)
        until(lambda: bool(lines(web.process.log, "worker_stopped")))


@pytest.fixture(scope="module")
def short_timeout_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web process with time-outs of one second."""
    short_timeouts = "server.REQUEST_TIMEOUT_SECONDS = server.SEND_TIMEOUT_SECONDS = 1.0"
    with served(tmp_path_factory.mktemp("short_timeouts"), short_timeouts) as web:
        yield web.port


def test_slow_clients_are_cut_and_idle_ones_may_go_on(short_timeout_port: int) -> None:
    with ExitStack() as open_clients:
        idle = HTTPConnection("127.0.0.1", short_timeout_port, timeout=20)
        open_clients.callback(idle.close)
        idle.request("GET", "/healthz")
        assert idle.getresponse().read()
        kept_open = idle.sock
        for client in [
            open_clients.enter_context(connected(short_timeout_port, sent)) for sent in SLOW.values()
        ]:
            assert statuses(all_of(client)) in ([], [b"100"])
        idle.request("GET", "/healthz")
        assert idle.getresponse().status == 200
        assert idle.sock is kept_open


def asking(path: str) -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {ADMIN_KEY}\r\nConnection: close\r\n\r\n"
    return head.encode()


def fill(port: int) -> None:
    """Register 250 watches of 4 KB each."""
    for first in (0, 125):
        watches = [
            {"task_id": f"t{first + n}", "callback_url": "https://example.com", "metadata": LARGE}
            for n in range(125)
        ]
        registered = requests.post(
            f"http://127.0.0.1:{port}/v1/watches/batch",
            json={"watches": watches},
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            timeout=20,
        )
        assert registered.status_code == 200


def test_nobody_waits_for_clients_that_do_not_read_an_export(tmp_path: Path) -> None:
    small = "server.ANSWER_FILE_BYTES = server.ANSWER_IN_MEMORY_BYTES = 65536"
    pages = ("from bridge.web.api import exports", "exports.ROWS = 10")
    with served(tmp_path, small, *pages) as web, ExitStack() as open_clients:
        fill(web.port)
        clients: list[socket.socket] = []

        def begins() -> bool:
            clients.append(open_clients.enter_context(slow_reader(web.port, asking("/v1/watches.csv"))))
            return clients[-1].recv(12) == b"HTTP/1.1 200"

        for _ in range(MANY):
            until(begins)  # a few are made at a time
            assert readyz(web.port) == 503  # no worker runs
        whole = all_of(clients[0])
    assert whole.count(b"https://example.com") == 250
    assert whole.endswith(b"\r\n0\r\n\r\n")


def test_when_clients_leave_too_much_unread_the_one_that_leaves_most_is_cut(tmp_path: Path) -> None:
    small = "server.MAX_UNSENT_BYTES, server.REQUEST_TIMEOUT_SECONDS = 500_000, 1.0"
    with served(tmp_path, small) as web, ExitStack() as open_clients:
        fill(web.port)
        little, much = (
            open_clients.enter_context(slow_reader(web.port, asking(f"/v1/watches?limit={limit}")))
            for limit in (50, 250)
        )
        assert little.recv(1)
        assert much.recv(1)
        with connected(web.port, b"") as silent:
            # Until it is cut: connections were checked since.
            all_of(silent)
        assert not is_whole(all_of(much))
        assert is_whole(all_of(little))


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    return f"Content-Length: {len(body)}\r\n".encode() in head


def test_who_does_not_read_a_large_answer_is_cut(short_timeout_port: int) -> None:
    fill(short_timeout_port)
    with ExitStack() as open_clients:
        path = "/v1/watches?limit=250"
        clients = [
            open_clients.enter_context(slow_reader(short_timeout_port, asking(path))) for _ in range(MANY)
        ]
        for client in clients:
            assert client.recv(1)
        assert requests.get(f"http://127.0.0.1:{short_timeout_port}/healthz", timeout=20).status_code == 200
        for _ in range(2):
            with connected(short_timeout_port, b"") as silent:
                # Until it is cut: their time is over, too.
                all_of(silent)
        assert all(len(all_of(client)) < 250 * len(LARGE["note"]) for client in clients)
