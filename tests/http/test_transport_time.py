"""The transport: a request ends in time, however slowly the server answers."""

import http.client
import itertools
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from bridge.core.http_results import HttpResponse, NoResponse
from bridge.http.deadline import Deadline
from bridge.http.transport import Transport
from tests.http.receiver import OK, Authority, Receiver, Visit, dripping
from tests.http.transports import GENEROUS_SECONDS, HEADERS, LIMIT, a_transport

TIMED_OUT = NoResponse(reason="timed out after 0.4 s")
TIMED_OUT_LATER = NoResponse(reason="timed out after 2 s")
TOO_MANY_INTERIM = NoResponse(reason="the server sent more than 100 interim answers")


@pytest.fixture
def quick_transport() -> Iterator[Transport]:
    """A transport with a short time-out, for peers that never finish their answer."""
    transport = a_transport(timeout_seconds=0.4)
    yield transport
    transport.close()


@pytest.fixture
def slow_transport() -> Iterator[Transport]:
    """A transport that times out later, for peers whose beginning must arrive first, on a slow machine too."""
    transport = a_transport(timeout_seconds=2)
    yield transport
    transport.close()


def send(transport: Transport, receiver: Receiver) -> HttpResponse | NoResponse:
    """POST to a peer that never finishes, and assert that the call ended in time."""
    began = time.monotonic()
    answer = transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert time.monotonic() - began < GENEROUS_SECONDS
    return answer


@pytest.mark.parametrize("kept", [False, True], ids=["a new connection", "a kept connection"])
def test_after_a_suspension_beyond_the_deadline_nothing_is_sent(
    quick_transport: Transport, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    """Somebody else may have sent the same meanwhile."""
    suspended = Deadline.attach

    def suspend(deadline: Deadline, connection: socket.socket) -> None:
        deadline._ends -= 1
        suspended(deadline, connection)

    def script(receiver: Receiver, visit: Visit) -> None:
        while receiver.read(visit):
            visit.send(OK)

    with Receiver(script) as receiver:
        if kept:
            assert isinstance(send(quick_transport, receiver), HttpResponse)
        monkeypatch.setattr(Deadline, "attach", suspend)
        assert send(quick_transport, receiver) == TIMED_OUT
    assert len(receiver.requests) == kept


@pytest.mark.parametrize(
    ("beginning", "pieces"),
    [
        (b"", [b"H"]),
        (b"HTTP/1.1 200 OK\r\n", [b"X-Drip: 1\r\n"]),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", [b"x"]),
        (b"", [b"HTTP/1.1 100 Continue\r\n\r\n"]),
        (b"", [b"HTTP/1.1 103 Early Hints\r\n\r\n"]),
    ],
    ids=["status line", "headers", "one header", "100 Continue", "103 Early Hints"],
)
def test_a_drip_ahead_of_the_body_is_cut(
    quick_transport: Transport, beginning: bytes, pieces: list[bytes]
) -> None:
    with Receiver(dripping(beginning, *pieces)) as receiver:
        assert send(quick_transport, receiver) == TIMED_OUT


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (b"Content-Length: 1000", [b"x"]),
        (b"Connection: close", [b"x"]),
        (b"Transfer-Encoding: chunked", [b"1\r\nx\r\n"]),
        (b"Transfer-Encoding: chunked", [b"1"]),
        (b"Transfer-Encoding: chunked\r\n\r\n0", [b"\r\nT: x"]),
    ],
    ids=["length", "to the end", "chunks", "one chunk's size", "trailers"],
)
def test_a_drip_of_the_body_is_cut_and_the_status_counts(
    slow_transport: Transport, head: bytes, pieces: list[bytes]
) -> None:
    end = b"" if b"\r\n\r\n" in head else b"\r\n\r\n"
    with Receiver(dripping(b"HTTP/1.1 200 OK\r\n" + head + end, *pieces)) as receiver:
        answer = send(slow_transport, receiver)
    assert isinstance(answer, HttpResponse)
    assert (answer.status_code, answer.complete) == (200, False)
    assert set(answer.body) <= set(b"x")


def test_what_came_of_a_dripping_body_is_kept(slow_transport: Transport) -> None:
    head = b"HTTP/1.1 500 Oops\r\nContent-Length: 1000\r\n\r\nwhy: "
    with Receiver(dripping(head, b".")) as receiver:
        answer = send(slow_transport, receiver)
    assert isinstance(answer, HttpResponse)
    assert answer.body.startswith(b"why: ..")


@pytest.mark.parametrize("beginning", [b"", b"\x16\x03\x03\x3f\xff"], ids=["silence", "drip"])
def test_a_tls_handshake_that_does_not_end_is_cut(quick_transport: Transport, beginning: bytes) -> None:
    def script(_: Receiver, visit: Visit) -> None:
        visit.send(beginning)
        visit.drip(itertools.repeat(b"\0" if beginning else b""))

    with Receiver(script) as receiver:
        began = time.monotonic()
        answer = quick_transport.send("GET", f"https://127.0.0.1:{receiver.port}/", HEADERS)
    assert answer == TIMED_OUT
    assert time.monotonic() - began < GENEROUS_SECONDS


def test_a_drip_inside_tls_is_cut(authority: Authority) -> None:
    slow_transport = a_transport(timeout_seconds=2, tls=authority.trust())
    scripts = [dripping(b"", b"H"), dripping(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x")]
    answers = []
    for script in scripts:
        with Receiver(script, tls=authority.server("127.0.0.1")) as receiver:
            answers.append(slow_transport.send("GET", receiver.url(), HEADERS))
    assert answers[0] == TIMED_OUT_LATER
    assert isinstance(answers[1], HttpResponse)
    assert not answers[1].complete
    slow_transport.close()


def test_a_peer_that_accepts_and_hangs_is_left(quick_transport: Transport) -> None:
    with Receiver(lambda _, visit: visit.hang()) as receiver:
        assert send(quick_transport, receiver) == TIMED_OUT


def test_a_peer_that_never_reads_the_request_is_left(quick_transport: Transport) -> None:
    with Receiver(lambda _, visit: visit.hang()) as receiver:
        assert quick_transport.send("POST", receiver.url(), HEADERS, b"x" * 50_000_000) == TIMED_OUT


def test_a_flood_of_interim_answers_is_cut(quick_transport: Transport, slow_transport: Transport) -> None:
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.drip(itertools.repeat(flood), every_seconds=0)

    limited = hasattr(http.client, "_MAXINTERIMRESPONSES")  # since 3.13.18 and 3.14.10
    with Receiver(script) as receiver:
        if limited:
            assert send(slow_transport, receiver) == TOO_MANY_INTERIM
        else:
            assert send(quick_transport, receiver) == TIMED_OUT


def test_a_kept_connection_has_a_deadline_too(slow_transport: Transport) -> None:
    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(OK)
        receiver.read(visit)
        visit.drip(itertools.repeat(b"H"))

    with Receiver(script) as receiver:
        assert isinstance(send(slow_transport, receiver), HttpResponse)
        assert send(slow_transport, receiver) == TIMED_OUT_LATER
    assert receiver.connections == 1


def test_a_kept_connection_that_hangs_is_not_tried_again(slow_transport: Transport) -> None:
    def script(receiver: Receiver, visit: Visit) -> None:
        while receiver.read(visit):
            if len(receiver.requests) == 1:
                visit.send(OK)

    with Receiver(script) as receiver:
        assert isinstance(send(slow_transport, receiver), HttpResponse)
        assert send(slow_transport, receiver) == TIMED_OUT_LATER
    assert (receiver.connections, len(receiver.requests)) == (1, 2)


def test_a_lookup_that_hangs_is_left() -> None:
    over = threading.Event()
    quick_transport = Transport(timeout_seconds=0.3, body_limit=LIMIT, lookup=lambda _: [str(over.wait(60))])
    assert quick_transport.send("GET", "http://slow.example/", HEADERS) == NoResponse(
        reason="DNS timed out after 0.3 s"
    )
    over.set()
