"""The transport: requests are sent unchanged, and responses returned unchanged, up to a limit."""

import gzip
import itertools
import tracemalloc

import pytest

from bridge.core.http_results import HttpResponse, NoResponse
from bridge.http.transport import Transport
from tests.http.receiver import OK, Receiver, Visit, answering, answering_once
from tests.http.transports import HEADERS, LIMIT

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
    assert isinstance(transport.send("POST", url, HEADERS, b""), NoResponse)


@pytest.mark.parametrize("value", ["two\r\nlines: x", "\u2603", "a\0b\n"])
def test_a_header_that_cannot_be_sent_is_not_repeated(transport: Transport, value: str) -> None:
    with Receiver(answering(OK)) as receiver:
        answer = transport.send("POST", receiver.url(), {"Authorization": value}, b"")
    assert answer == NoResponse(reason="the URL or a header of the request is not valid")


# What is answered


def test_an_answer_is_told_as_it_came(transport: Transport) -> None:
    head = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-Twice: a\r\nx-twice: b\r\nContent-Length: 4\r\n\r\n"
    with Receiver(answering(head + b"\xff\x00no")) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert answer == HttpResponse(
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
    assert isinstance(answer, HttpResponse)
    assert (answer.body, answer.complete) == (body, True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(transport: Transport, status: int) -> None:
    with Receiver(answering(OK)) as other:
        location = f"Location: {other.url()}\r\nContent-Length: 0\r\n\r\n".encode()
        with Receiver(answering(b"HTTP/1.1 %d Moved\r\n" % status + location)) as receiver:
            answer = transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert isinstance(answer, HttpResponse)
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
    assert [answer.status_code for answer in answers if isinstance(answer, HttpResponse)] == [200, 404]


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
    assert isinstance(answer, HttpResponse)
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
    assert answer == HttpResponse(
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
    assert isinstance(got, HttpResponse)
    assert (len(got.body), got.complete) == (LIMIT, complete)


def test_chunks_without_end_are_cut_at_the_limit(transport: Transport) -> None:
    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        visit.drip(itertools.repeat(b"4\r\nwave\r\n" * 500), every_seconds=0)

    with Receiver(script) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert isinstance(answer, HttpResponse)
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
    assert isinstance(answer, HttpResponse)
    assert len(answer.body) <= LIMIT
    assert not answer.complete


def test_a_body_cut_short_by_the_peer_is_not_complete(transport: Transport) -> None:
    with Receiver(answering_once(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as receiver:
        answer = transport.send("GET", receiver.url(), HEADERS)
    assert answer == HttpResponse(
        status_code=200, headers={"content-length": "10"}, body=b"half", complete=False
    )
