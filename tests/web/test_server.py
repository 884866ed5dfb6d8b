"""The real web process under a full database, large bodies, and SIGTERM in the middle of requests."""

import json
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from select import select

import pytest
import requests

from bridge.web.thread_limits import THREADS
from tests.reliability.waiting import until
from tests.web.wire import ADMIN_KEY, ANSWER_SECONDS, BODY, LAST, Web, all_of, connected, served, statuses

# One more than there are threads.
MANY = THREADS + 1


@pytest.fixture
def own_web(tmp_path: Path) -> Iterator[Web]:
    """A process for one test alone."""
    with served(tmp_path) as web:
        yield web


@contextmanager
def locked(folder: Path) -> Iterator[sqlite3.Connection]:
    """Lock the database for other writers until the block, or its transaction, ends."""
    connection = sqlite3.connect(folder / "bridge.db", isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
    finally:
        connection.close()


def registration(number: int) -> bytes:
    content = json.dumps({"task_id": f"t{number}", "callback_url": "https://app.example.com/"}).encode()
    return BODY + b"Content-Length: %d\r\n\r\n" % len(content) + content


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_process_says_that_it_lives_while_every_thread_waits_for_the_database(
    own_web: Web, tmp_path: Path
) -> None:
    with ExitStack() as open_clients, locked(tmp_path):
        waiting = [
            open_clients.enter_context(connected(own_web.port, registration(number)))
            for number in range(MANY)
        ]
        url = f"http://127.0.0.1:{own_web.port}/healthz"
        for _ in range(3):
            assert requests.get(url, timeout=ANSWER_SECONDS).status_code == 200
        # No thread has given up waiting, and so been free for /healthz.
        assert not select(waiting, (), (), 0)[0]


def test_at_a_stop_whoever_has_asked_is_answered_and_nobody_else_is_taken(
    own_web: Web, tmp_path: Path
) -> None:
    with ExitStack() as open_clients:
        idle = open_clients.enter_context(connected(own_web.port, b""))
        with locked(tmp_path) as writer:
            asking = [
                open_clients.enter_context(connected(own_web.port, registration(number)))
                for number in range(MANY)
            ]
            begun = open_clients.enter_context(connected(own_web.port, LAST[:20]))
            own_web.process.send(signal.SIGTERM)
            until(lambda: is_refused(own_web.port))
            begun.sendall(LAST[20:])
            writer.rollback()
        for client in asking:
            received = all_of(client)
            assert statuses(received) == [b"201"]
            assert b"\r\nConnection: close\r\n" in received
        assert statuses(all_of(begun)) == [b"200"]
        assert all_of(idle) == b""
    assert own_web.process.wait() == 0


def test_a_stop_does_not_wait_for_clients_that_are_idle_or_never_end(tmp_path: Path) -> None:
    few = "server.REQUEST_TIMEOUT_SECONDS = 1.0"
    with served(tmp_path, few) as web, ExitStack() as open_clients:
        for sent in (b"", LAST[:-2], LAST.replace(b"close", b"keep-alive")):
            open_clients.enter_context(connected(web.port, sent))
        assert web.process.stop() == 0


def test_a_request_has_its_time_from_when_the_one_before_is_answered(tmp_path: Path) -> None:
    few = "server.REQUEST_TIMEOUT_SECONDS = 1.0"
    with served(tmp_path, few) as web:
        with locked(tmp_path):
            client = connected(web.port, registration(0) + LAST[:20])
            for _ in range(2):
                with connected(web.port, b"") as silent:
                    # Until it is cut, because its own time is over.
                    all_of(silent)
        with client:
            client.sendall(LAST[20:])
            assert statuses(all_of(client)) == [b"201", b"200"]


@pytest.mark.parametrize("mebibytes", [1.5, 3, 30])
def test_a_client_that_sends_all_of_too_large_a_body_still_reads_the_refusal(
    port: int, mebibytes: float
) -> None:
    # Not requests, which reads the answer even if it could not send the whole body.
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as client:
        body = b" " * int(mebibytes * 1024 * 1024)
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
        client.request("POST", "/v1/watches", body, headers)
        refused = client.getresponse()
        assert refused.status == 413
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert json.load(refused)["detail"]
        assert "Content-Security-Policy" in refused.headers


def test_a_client_that_goes_away_is_not_logged_as_an_error(web: Web, port: int) -> None:
    before = web.process.log.read_text()
    for sent in (b"", LAST[:20], LAST, registration(0) * 50):
        with suppress(OSError), connected(port, sent) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=20).ok
    said = web.process.log.read_text().removeprefix(before)
    assert "Traceback" not in said
    assert '"level": "error"' not in said


def test_a_proxy_may_come_by_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "bridge.sock"
    with served(tmp_path, f"bind = [bind, 'unix:{path}']"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        key = b"Authorization: Bearer hib_unknown\r\n\r\n"
        client.sendall(LAST.replace(b"/healthz", b"/v1/watches").replace(b"\r\n\r\n", b"\r\n" + key))
        assert statuses(all_of(client)) == [b"401"]


def test_a_proxys_word_that_it_speaks_https_makes_the_session_cookie_secure(port: int) -> None:
    forwarded = {"X-Forwarded-Proto": "https"}
    answer = requests.get(f"http://127.0.0.1:{port}/admin/sign-in", headers=forwarded, timeout=20)
    assert "Secure" in answer.headers["Set-Cookie"]
