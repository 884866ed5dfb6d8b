"""Slow clients of the real web process, gunicorn with gunicorn.conf.py: they wait, and nobody else does."""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from bridge.web.patience import REQUEST_SECONDS
from tests.reliability.processes import ROOT, WEB, Running, answers, free_port
from tests.reliability.waiting import until

ADMIN_KEY = "an-admin-key-of-at-least-32-characters"
# The process has eight threads: with a client more than that for each way to be slow, none would be left.
MANY = 9
HALF = b"GET /healthz HTTP/1.1\r\nHost: bridge\r\nX-Slow: "
BODY = (
    b"POST /v1/watches HTTP/1.1\r\nHost: bridge\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer " + ADMIN_KEY.encode() + b"\r\n"
)
SLOW = {
    "silent": b"",
    "half a request line": b"GET /hea",
    "half a head": HALF,
    "half a body": BODY + b"Content-Length: 100\r\n\r\n{",
    "half a chunk": BODY + b"Transfer-Encoding: chunked\r\n\r\n64\r\n{",
    "no last chunk": BODY + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "a promise": BODY + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
}
LAST = b"GET /healthz HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n"
# Long enough for a loaded machine, and shorter than a slow client is waited for.
ANSWER_SECONDS = REQUEST_SECONDS / 2


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the real thing listens."""
    with _served(tmp_path_factory.mktemp("web"), WEB) as port:
        yield port


@contextmanager
def _served(folder: Path, command: tuple[str, ...]) -> Iterator[int]:
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": f"sqlite:///{folder / 'bridge.db'}",
        "BRIDGE_ADMIN_KEY": ADMIN_KEY,
        "BRIDGE_EMBEDDED_WORKER": "false",
        "PORT": str(port),
    }
    web = Running(command, env, folder / "web.log")
    try:
        until(lambda: answers(web, port))
        yield port
    finally:
        web.end()


def connected(port: int, sent: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(sent)
    return client


def all_of(client: socket.socket) -> bytes:
    """What comes until the bridge closes the connection; a reset is as good an end."""
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def statuses(received: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 (\d+)", received)


def healthz(port: int) -> int:
    return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=ANSWER_SECONDS).status_code


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
        clients = [open_clients.enter_context(_slow_reader(port, request)) for _ in range(MANY)]
        for client in clients:
            assert client.recv(1)
        for _ in range(MANY):
            assert healthz(port) == 200


def test_a_request_may_come_in_pieces_and_the_next_before_the_answer(port: int) -> None:
    whole = BODY + b"Content-Length: 2\r\n\r\n{}" + BODY + b"Transfer-Encoding: chunked\r\n\r\n"
    whole += b"1\r\n{\r\n1;x=y\r\n}\r\n0\r\nT: x\r\n\r\n"
    whole += LAST
    with connected(port, b"") as client:
        for at in range(0, len(whole), 40):
            client.sendall(whole[at : at + 40])
            time.sleep(0.001)
        assert statuses(all_of(client)) == [b"422", b"422", b"200"]


def test_who_asks_for_leave_to_send_a_body_gets_it_once(port: int) -> None:
    head = BODY + b"Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with connected(port, head) as client:
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"{}")
        assert all_of(client).startswith(b"HTTP/1.1 422 ")


def test_a_body_that_is_one_byte_too_long_is_refused_and_the_next_request_served(port: int) -> None:
    with connected(port, BODY + b"Content-Length: 1048577\r\n\r\n" + b" " * 1048577 + LAST) as client:
        assert statuses(all_of(client)) == [b"413", b"200"]


@pytest.mark.parametrize(
    "sent",
    [
        BODY + b"Content-Length: 99999999999\r\n\r\n",
        BODY + b"Transfer-Encoding: chunked\r\n\r\n200000\r\n" + b" " * 0x110000,
    ],
    ids=["by its length", "chunked"],
)
def test_what_follows_too_large_a_body_is_not_taken_for_a_request(port: int, sent: bytes) -> None:
    with connected(port, sent + LAST) as client:
        assert statuses(all_of(client)) == [b"413"]


@pytest.mark.parametrize("body", [b"\x00" * 400_000, b"1\r\n1\r\n" * 500_000], ids=["head", "chunks"])
def test_what_never_ends_is_cut(port: int, body: bytes) -> None:
    with connected(port, BODY + (b"Transfer-Encoding: chunked\r\n\r\n" if b"\r" in body else b"")) as client:
        try:
            client.sendall(body)
        except OSError:
            return
        assert not all_of(client).startswith(b"HTTP/1.1 2")


def test_no_answer_tells_what_serves(port: int) -> None:
    for request in (b"GET /healthz HTTP/1.1\r\nHost: b\r\n", b"GET /none HTTP/1.1\r\nHost: b\r\n", b"no\r\n"):
        with connected(port, request + b"Connection: close\r\n\r\n") as client:
            received = all_of(client).lower()
        assert received.startswith(b"http/1.1 ")
        assert b"server:" not in received
        assert b"gunicorn" not in received


@pytest.fixture(scope="module")
def hasty_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the real thing listens, but waits for a second only."""
    folder = tmp_path_factory.mktemp("hasty")
    conf = folder / "hasty.conf.py"
    conf.write_text(
        f"exec(open({str(ROOT / 'gunicorn.conf.py')!r}).read())\n"
        "from bridge.web import patience\n"
        "patience.REQUEST_SECONDS = patience.ANSWER_SECONDS = 1.0\n"
    )
    with _served(folder, (*WEB, "-c", str(conf))) as port:
        yield port


def test_slow_clients_are_cut_and_idle_ones_may_go_on(hasty_port: int) -> None:
    with ExitStack() as open_clients:
        idle = HTTPConnection("127.0.0.1", hasty_port, timeout=20)
        open_clients.callback(idle.close)
        idle.request("GET", "/healthz")
        assert idle.getresponse().read()
        standing = idle.sock
        for client in [open_clients.enter_context(connected(hasty_port, sent)) for sent in SLOW.values()]:
            assert statuses(all_of(client)) in ([], [b"100"])
        idle.request("GET", "/healthz")
        assert idle.getresponse().status == 200
        assert idle.sock is standing


def test_who_does_not_read_a_large_answer_is_cut(hasty_port: int) -> None:
    metadata = {"note": "x" * 4000}
    for first in (0, 125):
        watches = [
            {"task_id": f"t{first + n}", "callback_url": "https://example.com", "metadata": metadata}
            for n in range(125)
        ]
        registered = requests.post(
            f"http://127.0.0.1:{hasty_port}/v1/watches/batch",
            json={"watches": watches},
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
            timeout=20,
        )
        assert registered.status_code == 200
    request = f"GET /v1/watches?limit=250 HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n"
    with ExitStack() as open_clients:
        clients = [
            open_clients.enter_context(_slow_reader(hasty_port, request.encode())) for _ in range(MANY)
        ]
        for client in clients:
            assert client.recv(1)
        assert requests.get(f"http://127.0.0.1:{hasty_port}/healthz", timeout=20).status_code == 200


def _slow_reader(port: int, sent: bytes) -> socket.socket:
    client = socket.socket()
    client.settimeout(20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # As on a network: loopback takes 64 KiB at a time.
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    client.connect(("127.0.0.1", port))
    client.sendall(sent)
    return client
