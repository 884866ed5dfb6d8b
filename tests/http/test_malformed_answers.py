"""The transport: every malformed response becomes a value that says what was wrong."""

import http.client
import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.http_results import HttpResponse, NoResponse
from bridge.http.transport import Transport
from tests.http.receiver import OK, Receiver, Visit, answering, answering_once
from tests.http.transports import HEADERS


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "the server closed the connection without an answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "the server closed the connection without an answer"),
        (b"HTTP/1.1 200", "the server closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\n", "the server closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n", "the server closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: half", "the server closed the connection without an answer"),
        (b"\r\n", "the server's answer is not HTTP/1.1"),
        (b"nonsense\r\n\r\n", "the server's answer is not HTTP/1.1"),
        (b"\0\0\0\0\r\n\0", "the server's answer is not HTTP/1.1"),
        (b"HTTP/1.1\r\n\r\n", "the server's answer is not HTTP/1.1"),
        (b"HTTP/1.1 xyz\r\n\r\n", "the server's answer is not HTTP/1.1"),
        (b"HTTP/1.1 99 Low\r\n\r\n", "the server's answer is not HTTP/1.1"),
        (b"HTTP/1.1 1000 High\r\n\r\n", "the server's answer is not HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "the server's answer is not HTTP/1.1"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the server's answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 " + b"x" * 70_000, "the server's answer has a line of more than 65,536 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
            "the server's answer has a line of more than 65,536 bytes",
        ),
        (
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
            "the server's answer has more than 100 headers",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            "the server's answer has two lengths",
        ),
    ],
)
def test_an_answer_that_is_not_http_says_what_is_wrong(
    transport: Transport, sent: bytes, reason: str
) -> None:
    with Receiver(answering_once(sent)) as receiver:
        assert transport.send("POST", receiver.url(), HEADERS, b"{}") == NoResponse(reason=reason)
    assert len(receiver.requests) == 1


def test_a_hundred_headers_are_not_too_many(transport: Transport) -> None:
    sent = b"HTTP/1.1 204 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(99)) + b"\r\n"
    with Receiver(answering(sent)) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(answer, HttpResponse)
    assert len(answer.headers) == 99


def test_zero_bytes_in_headers_are_survived(transport: Transport) -> None:
    sent = b"HTTP/1.1 200 O\0K\r\nX-Zero: a\0b\r\nno colon\0\r\nContent-Length: 0\r\n\r\n"
    with Receiver(answering_once(sent)) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(answer, HttpResponse)
    assert answer.headers["x-zero"] == "a\0b"


def test_a_peer_that_resets_is_named(transport: Transport) -> None:
    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with Receiver(script) as receiver:
        answer = transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert answer == NoResponse(reason="the server reset the connection")


def test_a_port_where_nobody_listens_refuses(transport: Transport) -> None:
    with Receiver(answering(OK)) as receiver:
        url = receiver.url()
    assert transport.send("GET", url, HEADERS) == NoResponse(reason="connection refused")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"]
    ),
    st.one_of(st.binary(max_size=200), st.text("01:;,\r\n\0 aHTP/", max_size=100).map(str.encode)),
)
def test_no_answer_makes_an_exception(transport: Transport, beginning: bytes, rest: bytes) -> None:
    with Receiver(answering_once(beginning + rest)) as receiver:
        assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), HttpResponse | NoResponse)


def test_the_standard_library_still_limits_headers_and_lines() -> None:
    assert (http.client._MAXHEADERS, http.client._MAXLINE) == (100, 65_536)  # type: ignore[attr-defined]  # private
