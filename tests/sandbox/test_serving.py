"""Connections, threads and processes."""

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress

import pytest
import requests
from pydantic import ValidationError

from bridge import sandbox
from bridge.sandbox import Kind, Reply, SandboxOptions, SendMode
from tests.ports import free_port
from tests.sandbox.caller import START_PATH, STATUS_PATHS, Caller

HEADERS = {"Authorization": "Bearer sandbox-token"}
STATUS_PATH = STATUS_PATHS[Kind.FILE_IMPORT].format("AAAAEZ6whGI")


def connection_to(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)


def ask(connection: http.client.HTTPConnection, method: str = "GET", path: str = STATUS_PATH) -> int:
    connection.request(method, path, headers=HEADERS)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_many_requests_go_over_one_connection(hubspot: Caller) -> None:
    with closing(connection_to(hubspot.url)) as connection:
        ask(connection)
        first = connection.sock
        assert [ask(connection) for _ in range(3)] == [404, 404, 404]
        assert connection.sock is first


@pytest.mark.parametrize("path", [START_PATH, STATUS_PATH, "/nowhere"])
def test_the_body_of_a_refused_request_is_not_taken_for_the_next_request(hubspot: Caller, path: str) -> None:
    with closing(connection_to(hubspot.url)) as connection:
        connection.request("POST", path, body=b"GET / HTTP/1.1\r\n\r\n" * 50)
        connection.getresponse().read()
        assert ask(connection) == 404


def test_a_head_request_keeps_the_connection_in_step(hubspot: Caller) -> None:
    with closing(connection_to(hubspot.url)) as connection:
        assert [ask(connection, method) for method in ("HEAD", "GET")] == [404, 404]


def test_a_body_in_chunks_is_read(hubspot: Caller) -> None:
    document = b'{"access":"PRIVATE","url":"https://files.example.com/a.csv","folderPath":"/"}'
    headers = {**HEADERS, "Content-Type": "application/json"}
    answer = hubspot.call("POST", START_PATH, data=iter([document[:9], document[9:]]), headers=headers)
    assert answer.status_code == 202


def test_a_body_over_a_mebibyte_is_refused_and_the_connection_closed(hubspot: Caller) -> None:
    headers = {**HEADERS, "Content-Type": "application/json", "Content-Length": str(2 * 1024 * 1024)}
    with closing(connection_to(hubspot.url)) as connection:
        connection.request("POST", START_PATH, headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (413, "close")


def test_a_caller_that_asks_for_leave_to_send_its_body_gets_it(hubspot: Caller) -> None:
    document = b'{"access":"PRIVATE","url":"https://files.example.com/a.csv","folderPath":"/"}'
    host, _, port = hubspot.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST {START_PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer sandbox-token\r\nContent-Length: {len(document)}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 100 ")
        connection.sendall(document)
        assert connection.recv(64).startswith(b"HTTP/1.1 202 ")


def test_a_chunk_may_have_an_extension(hubspot: Caller) -> None:
    document = b'{"access":"PRIVATE","url":"https://files.example.com/a.csv","folderPath":"/"}'
    host, _, port = hubspot.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST {START_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += "Authorization: Bearer sandbox-token\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(document), document))
        assert connection.recv(64).startswith(b"HTTP/1.1 202 ")


def test_a_request_may_name_the_scheme_and_the_host(hubspot: Caller) -> None:
    with closing(connection_to(hubspot.url)) as connection:
        connection.request("GET", f"{hubspot.url}/sandbox/ledger")
        assert connection.getresponse().status == 200


def test_a_stopped_sandbox_answers_nobody_not_even_on_open_connections() -> None:
    with sandbox.running() as running:
        connection = connection_to(running.url)
        ask(connection)
    with closing(connection), pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(connection)
    with pytest.raises(requests.ConnectionError):
        requests.get(running.url, timeout=30)


@pytest.mark.parametrize("fault", ["hang", "drip", "drip-headers"])
def test_a_slow_answer_holds_up_neither_other_callers_nor_the_stop(fault: str) -> None:
    ended, before = threading.Event(), set(threading.enumerate())
    with sandbox.running() as running, closing(connection_to(running.url)) as connection:
        running.state.set_fault(fault, times=1)
        caller = threading.Thread(target=_wait_for_the_end, args=(running.url, ended))
        caller.start()
        while running.state.ledger()["status_codes"] == {}:
            time.sleep(0.01)
        assert ask(connection) == 404
        assert not ended.is_set()
    assert ended.wait(30)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def _wait_for_the_end(url: str, ended: threading.Event) -> None:
    with closing(connection_to(url)) as connection:
        # How the answer breaks off is the fault's matter; here it counts when.
        with suppress(http.client.HTTPException, ConnectionError):
            ask(connection)
        ended.set()


def test_a_caller_that_hangs_up_is_no_error_of_the_sandbox(capfd: pytest.CaptureFixture[str]) -> None:
    with sandbox.running() as running:
        running.state.set_fault(Reply(body=b"slow" * 50, send_mode=SendMode.DRIP, seconds=0.01), times=1)
        before = set(threading.enumerate())
        with closing(connection_to(running.url)) as connection:
            connection.request("GET", STATUS_PATH, headers=HEADERS)
            connection.sock.recv(1)
            answering = set(threading.enumerate()) - before
        for thread in answering:
            thread.join(10)
            assert not thread.is_alive()
    assert answering
    assert capfd.readouterr().err == ""


def test_sandboxes_do_not_share_anything() -> None:
    with sandbox.running() as one, sandbox.running() as other:
        one.state.set_fault("500")
        assert requests.get(f"{one.url}{STATUS_PATH}", headers=HEADERS, timeout=30).status_code == 500
        assert requests.get(f"{other.url}{STATUS_PATH}", headers=HEADERS, timeout=30).status_code == 404


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(ValidationError):
        SandboxOptions(burst_requests=0)


def test_hundreds_of_requests_per_second_are_answered_from_many_threads(hubspot: Caller) -> None:
    hubspot.state.change_options({"burst_requests": 1_000_000})
    threads = [threading.Thread(target=_ask_often, args=(hubspot.url, 100)) for _ in range(8)]
    before = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hubspot.state.ledger()["status_codes"] == {"404": 800}
    # It takes half a second on an idle machine, and many times as long on a loaded one.
    assert time.monotonic() - before < 30


def _ask_often(url: str, times: int) -> None:
    with closing(connection_to(url)) as connection:
        for _ in range(times):
            ask(connection)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_on_loopback_until_it_is_told_to_stop(number: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-m", "bridge", "sandbox", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            with closing(_answering(port)) as connection:
                assert ask(connection) == 404
                process.send_signal(number)
                output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, output) == (0, b"")
    assert b"sandbox_started" in errors
    assert STATUS_PATH.encode() not in errors


def _answering(port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + 30
    while True:
        connection = connection_to(f"http://127.0.0.1:{port}")
        try:
            connection.connect()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "the sandbox did not start"
            time.sleep(0.05)
        else:
            return connection
