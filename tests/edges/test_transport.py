"""The transport: whatever the other side answers, it ends in a value of bounded size."""

import gzip
import http.client
import itertools
import socket
import struct
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.answers import Answer, NoAnswer
from bridge.edges.transport import Transport
from tests.edges.receiver import OK, Receiver, Visit, answering, answering_once

GENEROUS_SECONDS = 5
LIMIT = 65_536
HEADERS = {"User-Agent": "test"}


@pytest.fixture
def transport() -> Iterator[Transport]:
    """For peers that answer: the deadline only keeps a broken test from hanging."""
    transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT)
    yield transport
    transport.close()


# What is sent


def test_a_request_arrives_as_it_was_given(transport: Transport) -> None:
    with Receiver(answering(OK)) as receiver:
        transport.send("POST", receiver.url(path="/a//b/../c%2Fd?x=%20&y"), {"X-One": "1"}, b"\x00body")
    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert line == "POST /a//b/../c%2Fd?x=%20&y HTTP/1.1"
    assert body == b"\x00body"
    assert f"Host: 127.0.0.1:{receiver.port}" in headers
    assert {"X-One: 1", "Content-Length: 5", "Accept-Encoding: identity"} <= set(headers)


def test_a_request_without_a_body_has_no_length(transport: Transport) -> None:
    with Receiver(answering(OK)) as receiver:
        transport.send("GET", receiver.url(), HEADERS)
    assert b"content-length" not in receiver.requests[0].lower()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "ftp://example.com/",
        "http://",
        "http://[::1",
        "http://a..b/",
        "http://exa mple/",
        "http://exa%mple/",
        "http://example.com:x/",
        "http://example.com:99999/",
        "http://" + "a" * 64 + "/",
        "http://\u2603\ufe0f/",
        "http://ex\u2100mple/",
        "http://a\0b/",
        "http://%00/",
        "http://\ud800/",
    ],
)
def test_a_url_that_cannot_be_sent_to_is_no_exception(transport: Transport, url: str) -> None:
    assert isinstance(transport.send("POST", url, HEADERS, b""), NoAnswer)


@pytest.mark.parametrize("value", ["two\r\nlines: x", "\u2603", "a\0b\n"])
def test_a_header_that_cannot_be_sent_is_not_repeated(transport: Transport, value: str) -> None:
    with Receiver(answering(OK)) as receiver:
        answer = transport.send("POST", receiver.url(), {"Authorization": value}, b"")
    assert answer == NoAnswer(reason="the URL or a header of the request is not valid")


# What is answered


def test_an_answer_is_told_as_it_came(transport: Transport) -> None:
    head = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-Twice: a\r\nx-twice: b\r\nContent-Length: 4\r\n\r\n"
    with Receiver(answering(head + b"\xff\x00no")) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert answer == Answer(
        status_code=503,
        headers={"retry-after": "7", "x-twice": "b", "content-length": "4"},
        body=b"\xff\x00no",
    )


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nT: x\r\n\r\n",
            b"ok",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)
def test_every_framing_is_read_whole(transport: Transport, head: bytes, body: bytes) -> None:
    with Receiver(answering_once(head)) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(answer, Answer)
    assert (answer.body, answer.complete) == (body, True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(transport: Transport, status: int) -> None:
    with Receiver(answering(OK)) as other:
        location = f"Location: {other.url()}\r\nContent-Length: 0\r\n\r\n".encode()
        with Receiver(answering(b"HTTP/1.1 %d Moved\r\n" % status + location)) as receiver:
            answer = transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert isinstance(answer, Answer)
    assert answer.status_code == status
    assert (len(receiver.requests), other.connections) == (1, 0)


def test_a_status_that_asks_to_come_back_is_not_answered_by_coming_back(transport: Transport) -> None:
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
    with Receiver(answering(answer)) as receiver:
        transport.send("GET", receiver.url(), HEADERS)
    assert len(receiver.requests) == 1


def test_interim_answers_are_skipped(transport: Transport) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with Receiver(
        answering(interim + interim + OK, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
    ) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert [answer.status_code for answer in answers if isinstance(answer, Answer)] == [200, 404]


def test_cookies_are_not_kept(transport: Transport) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    with Receiver(answering(answer)) as receiver:
        for _ in range(2):
            transport.send("GET", receiver.url(), HEADERS)
    assert b"cookie" not in receiver.requests[1].lower()


# Size


def test_a_compressed_body_is_not_decoded(transport: Transport) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with Receiver(answering(head + bomb)) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(answer, Answer)
    assert (answer.body, answer.complete) == (bomb, True)


@pytest.mark.parametrize("framing", ["length", "chunks", "to the end"])
def test_a_huge_body_is_cut_at_the_limit_and_not_held_in_memory(transport: Transport, framing: str) -> None:
    heads = {
        "length": b"Content-Length: 10000000",
        "chunks": b"Transfer-Encoding: chunked",
        "to the end": b"X: y",
    }
    pieces = {"chunks": [b"989680\r\n"]}

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(b"HTTP/1.1 200 OK\r\n", heads[framing], b"\r\n\r\n", *pieces.get(framing, []))
        for _ in range(10_000):
            visit.send(b"x" * 1_000)

    with Receiver(script) as receiver:
        tracemalloc.start()
        answer = transport.send("GET", receiver.url(), HEADERS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert answer == Answer(
        status_code=200, headers=getattr(answer, "headers", {}), body=b"x" * LIMIT, complete=False
    )
    assert peak < 1_000_000


@pytest.mark.parametrize(("size", "complete"), [(LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_of_just_the_limit_is_complete(
    transport: Transport, framing: str, size: int, *, complete: bool
) -> None:
    body = b"x" * size
    if framing == "length":
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body
    else:
        answer = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size + body + b"\r\n0\r\n\r\n"
        )
    with Receiver(answering(answer)) as receiver:
        got = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(got, Answer)
    assert (len(got.body), got.complete) == (LIMIT, complete)


def test_chunks_without_end_are_cut_at_the_limit(transport: Transport) -> None:
    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        visit.drip(itertools.repeat(b"4\r\nwave\r\n" * 500), every_seconds=0)

    with Receiver(script) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(answer, Answer)
    assert (len(answer.body), answer.complete) == (LIMIT, False)


@pytest.mark.parametrize("size", [b"-1", b"-5", b"", b"xyz", b"f" * 70_000, b"1_0"])
def test_a_chunk_size_that_lies_is_survived(transport: Transport, size: bytes) -> None:
    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", size, b"\r\n")
        for _ in range(1_000):
            visit.send(b"x" * 1_000)

    with Receiver(script) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(answer, Answer)
    assert len(answer.body) <= LIMIT
    assert not answer.complete


def test_a_body_cut_short_by_the_peer_is_not_complete(transport: Transport) -> None:
    with Receiver(answering_once(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert answer == Answer(status_code=200, headers={"content-length": "10"}, body=b"half", complete=False)


# Nonsense


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
        assert transport.send("POST", receiver.url(), HEADERS, b"{}") == NoAnswer(reason=reason)
    assert len(receiver.requests) == 1


def test_a_hundred_headers_are_not_too_many(transport: Transport) -> None:
    sent = b"HTTP/1.1 204 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(99)) + b"\r\n"
    with Receiver(answering(sent)) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(answer, Answer)
    assert len(answer.headers) == 99


def test_zero_bytes_in_headers_are_survived(transport: Transport) -> None:
    sent = b"HTTP/1.1 200 O\0K\r\nX-Zero: a\0b\r\nno colon\0\r\nContent-Length: 0\r\n\r\n"
    with Receiver(answering_once(sent)) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(answer, Answer)
    assert answer.headers["x-zero"] == "a\0b"


def test_a_url_is_not_logged_when_an_answer_is_malformed(
    transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(answering_once(b"HTTP/1.1 200 OK\r\nno colon\r\nX: y\r\n\r\n")) as receiver:
        transport.send("GET", receiver.url(path="/?token=hush"), HEADERS)
    assert "hush" not in caplog.text


def test_a_peer_that_resets_is_named(transport: Transport) -> None:
    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with Receiver(script) as receiver:
        answer = transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert answer == NoAnswer(reason="the server reset the connection")


def test_a_port_where_nobody_listens_refuses(transport: Transport) -> None:
    with Receiver(answering(OK)) as receiver:
        url = receiver.url()
    assert transport.send("GET", url, HEADERS) == NoAnswer(reason="connection refused")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"]
    ),
    st.one_of(st.binary(max_size=200), st.text("01:;,\r\n\0 aHTP/", max_size=100).map(str.encode)),
)
def test_no_answer_makes_an_exception(transport: Transport, beginning: bytes, rest: bytes) -> None:
    with Receiver(answering_once(beginning + rest)) as receiver:
        assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), Answer | NoAnswer)


def test_the_standard_library_still_limits_headers_and_lines() -> None:
    assert (http.client._MAXHEADERS, http.client._MAXLINE) == (100, 65_536)  # type: ignore[attr-defined]  # private
