"""Slow clients of the real web process, gunicorn with gunicorn.conf.py: they wait, and nobody else does."""

import errno
import json
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from selectors import DefaultSelector
from typing import NamedTuple

import pytest
import requests
from gunicorn.config import Config
from gunicorn.workers.gthread import TConn, ThreadWorker

from bridge.web.patience import REQUEST_SECONDS, PatientWorker
from tests.reliability.processes import ROOT, WEB, Running, answers, free_port, lines
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


class Web(NamedTuple):
    """The real thing, and where it listens."""

    process: Running
    port: int


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with _served(tmp_path_factory.mktemp("web")) as web:
        yield web


@pytest.fixture
def port(web: Web) -> int:
    return web.port


@contextmanager
def _served(folder: Path, *settings: str, before: str = "", **environ: str) -> Iterator[Web]:
    """Serve with gunicorn.conf.py, and with lines of Python after and before it."""
    conf = folder / "changed.conf.py"
    original = f"exec(open({str(ROOT / 'gunicorn.conf.py')!r}).read())"
    conf.write_text("\n".join([before, original, *settings]))
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


# Seconds of work; minutes where each chunk costs a copy of all that follow.
@pytest.mark.parametrize(("key", "status"), [(ADMIN_KEY, b"400"), ("wrong", b"401")])
def test_many_chunks_cost_no_more_than_their_bytes(port: int, key: str, status: bytes) -> None:
    chunks = b"1\r\n1\r\n" * 340_000 + b"0\r\n\r\n"
    head = BODY.replace(ADMIN_KEY.encode(), key.encode()) + b"Transfer-Encoding: chunked\r\n"
    with connected(port, head + b"Connection: close\r\n\r\n" + chunks) as client:
        assert statuses(all_of(client)) == [status]


def test_the_rest_of_a_large_piece_is_the_next_request(port: int) -> None:
    first = BODY + b"Transfer-Encoding: chunked\r\n\r\n"
    first += b"1000\r\n" + b" " * 4096 + b"\r\n2\r\n{}\r\n0\r\n\r\n"
    with connected(port, first * 10 + LAST) as client:
        assert statuses(all_of(client)) == [b"422"] * 10 + [b"200"]


@pytest.mark.parametrize(("key", "status"), [(ADMIN_KEY, b"400"), ("wrong", b"401")])
@pytest.mark.parametrize(
    "chunks",
    [b"1\r\n{\r\nzz\r\n", b"1\r\n{}\r\n0\r\n\r\n", b"1;\x00\r\n{\r\n0\r\n\r\n", b"0\r\nno trailer\r\n\r\n"],
    ids=["size", "end", "extension", "trailer"],
)
def test_malformed_chunks_are_refused_once(port: int, key: str, status: bytes, chunks: bytes) -> None:
    head = BODY.replace(ADMIN_KEY.encode(), key.encode()) + b"Transfer-Encoding: chunked\r\n\r\n"
    with connected(port, head + chunks + LAST) as client:
        received = all_of(client)
    assert statuses(received) == [status]
    assert b"Content-Type: application/problem+json\r\n" in received


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"sekret\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nAuthorization Bearer sekret\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nX:\x00sekret\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: b\r\n folded sekret\r\n\r\n", 400),
        (b"GET /" + b"sekret" * 1000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /healthz HTTP/1.1\r\nHost: b\r\nExpect: sekret\r\n\r\n", 417),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"sekret" * 1000 + b"\r\n\r\n", 431),
        (b"POST /healthz HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: sekret\r\n\r\n", 501),
    ],
)
def test_what_is_no_http_is_refused_as_a_problem_that_repeats_nothing(
    web: Web, request_: bytes, status: int
) -> None:
    with connected(web.port, request_) as client:
        head, _, body = all_of(client).partition(b"\r\n\r\n")
    assert statuses(head) == [str(status).encode()]
    assert b"\r\nConnection: close" in head
    assert b"\r\nContent-Type: application/problem+json" in head
    assert json.loads(body)["status"] == status
    assert b"sekret" not in head + body
    assert "sekret" not in web.process.log.read_text()


def test_without_free_descriptors_connections_wait_and_the_process_goes_on(tmp_path: Path) -> None:
    few = "__import__('resource').setrlimit(__import__('resource').RLIMIT_NOFILE, (80, 80))"
    with _served(tmp_path, few) as web:
        with ExitStack() as open_clients:
            for _ in range(100):
                open_clients.enter_context(connected(web.port, HALF))
            until(lambda: "no connection could be taken" in web.process.log.read_text())
        assert requests.get(f"http://127.0.0.1:{web.port}/healthz", timeout=20).status_code == 200
        assert web.process.log.read_text().count("Booting worker") == 1


def test_who_is_idle_makes_room_for_who_is_new(tmp_path: Path) -> None:
    with _served(tmp_path, "worker_connections = 12") as web, ExitStack() as open_clients:
        standing = [open_clients.enter_context(connected(web.port, b"")) for _ in range(3)]
        for client in standing:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        for _ in range(9):
            open_clients.enter_context(connected(web.port, HALF))
        assert healthz(web.port) == 200
        # It ends, and so it was closed.
        all_of(standing[0])


def test_leases_are_given_back_before_the_arbiter_kills_whoever_is_slow(tmp_path: Path) -> None:
    before = "from bridge import scheduler; scheduler.STOP_SECONDS = 1.0"
    slow = ("from bridge.web import patience", "patience.REQUEST_SECONDS = graceful_timeout = 600")
    given = {"BRIDGE_EMBEDDED_WORKER": "true"}
    with _served(tmp_path, *slow, before=before, **given) as web, connected(web.port, HALF):
        until(web.process.has_logged("worker_started"))
        assert healthz(web.port) == 200
        web.process.send(signal.SIGTERM)
        until(lambda: bool(lines(web.process.log, "worker_stopped")))


@pytest.fixture
def patient() -> Iterator[PatientWorker]:
    """A worker as the arbiter makes it, without a loop."""
    worker = PatientWorker(0, os.getppid(), [], None, 30, Config(), logging.getLogger())
    worker._gatherings, worker._handed = {}, {}
    worker.poller = DefaultSelector()
    worker.method_queue.init()
    yield worker
    worker.method_queue.close()
    worker.poller.close()
    worker.tmp.close()


def test_at_the_stop_those_who_have_sent_nothing_are_hardly_waited_for(patient: PatientWorker) -> None:
    with ExitStack() as open_clients:
        conns = []
        for sent in (b"", HALF):
            client, ours = (open_clients.enter_context(end) for end in socket.socketpair())
            client.sendall(sent)
            conns.append(TConn(patient.cfg, ours, "", ""))
            patient.enqueue_req(conns[-1])
        silent, half = conns
        promised = half.timeout
        patient._cap_keepalive(1.0)
        assert silent.timeout == 1.0
        assert half.timeout == promised > 1.0


class Unreachable(socket.socket):
    """A client whose network went away."""

    def recv(self, *_: int) -> bytes:
        raise OSError(errno.EHOSTUNREACH, "No route to host")


def test_a_client_whose_network_goes_away_after_its_answer_is_forgotten(patient: PatientWorker) -> None:
    client, other = socket.socketpair()
    ours = Unreachable(fileno=client.detach())
    with ours, other:
        conn = TConn(patient.cfg, ours, "", "")
        patient.nr_conns = 1
        patient._handed[conn] = 0
        answered: Future[bool] = Future()
        answered.set_result(False)
        patient.finish_request(conn, answered)
        patient._lingering(conn, ours)
        assert patient.nr_conns == len(patient.pending_conns) == 0


def test_a_failure_outside_of_requests_is_logged(
    patient: PatientWorker, caplog: pytest.LogCaptureFixture
) -> None:
    client, other = socket.socketpair()
    with client, other:
        conn = TConn(patient.cfg, client, "", "")
        patient._handed[conn] = 0
        failed: Future[bool] = Future()
        failed.set_exception(OSError("Too many open files"))
        patient.finish_request(conn, failed)
    assert "Too many open files" in caplog.text


def test_whole_requests_that_wait_for_a_thread_count_as_held(patient: PatientWorker) -> None:
    client, ours = socket.socketpair()
    with client, ours, ThreadPoolExecutor(1) as patient.tpool:
        answering = threading.Event()
        patient.tpool.submit(answering.wait)
        client.sendall(LAST)
        patient.enqueue_req(TConn(patient.cfg, ours, "", ""))
        held = patient._held_bytes()
        answering.set()
    assert held == len(LAST)


def test_gunicorn_still_calls_what_the_worker_puts_in_its_place() -> None:
    replaced = {name for name in vars(PatientWorker) if not name.startswith("_")}
    for name in replaced | {"_keepalive_after", "_cap_keepalive"}:
        assert callable(getattr(ThreadWorker, name))


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
    hasty = "patience.REQUEST_SECONDS = patience.ANSWER_SECONDS = 1.0"
    with _served(tmp_path_factory.mktemp("hasty"), "from bridge.web import patience", hasty) as web:
        yield web.port


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
