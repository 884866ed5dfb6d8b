"""The transport: every way in which the other side may misbehave ends in a value, and in time."""

import gzip
import http.client
import itertools
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.answers import Answer, NoAnswer
from bridge.edges.connections import STALE_WITHIN_SECONDS, certifi_trust
from bridge.edges.transport import Transport
from tests.edges.receiver import OK, Authority, Receiver, Visit, answering, answering_once, dripping

GENEROUS_SECONDS = 5
LIMIT = 65_536
HEADERS = {"User-Agent": "test"}
TIMED_OUT = NoAnswer(reason="timed out after 0.4 s")


@pytest.fixture
def transport() -> Iterator[Transport]:
    """For peers that answer: the deadline only keeps a broken test from hanging."""
    transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT)
    yield transport
    transport.close()


@pytest.fixture
def hasty() -> Iterator[Transport]:
    """For peers that do not end."""
    transport = Transport(timeout_seconds=0.4, body_limit=LIMIT)
    yield transport
    transport.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def send(hasty: Transport) -> Callable[[Receiver], Answer | NoAnswer]:
    """POST to a peer that does not end, and prove that the call did."""

    def send(receiver: Receiver) -> Answer | NoAnswer:
        began = time.monotonic()
        answer = hasty.send("POST", receiver.url(), HEADERS, b"{}")
        assert time.monotonic() - began < GENEROUS_SECONDS
        return answer

    return send


Send = Callable[[Receiver], Answer | NoAnswer]


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
    ["", "nonsense", "ftp://example.com/", "http://", "http://[::1", "http://a..b/", "http://exa mple/"]
    + ["http://example.com:x/", "http://example.com:99999/", "http://" + "a" * 64 + "/", "http://\u2603\ufe0f/"]
    + ["http://ex\u2100mple/", "http://a\0b/", "http://%00/", "http://\ud800/", "http://exa%mple/"],
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
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nT: x\r\n\r\n", b"ok"),
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
    with Receiver(answering(interim + interim + OK, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert [answer.status_code for answer in answers if isinstance(answer, Answer)] == [200, 404]


def test_cookies_are_not_kept(transport: Transport) -> None:
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n"
    with Receiver(answering(answer)) as receiver:
        for _ in range(2):
            transport.send("GET", receiver.url(), HEADERS)
    assert b"cookie" not in receiver.requests[1].lower()


# Time


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
def test_a_drip_ahead_of_the_body_is_cut(send: Send, beginning: bytes, pieces: list[bytes]) -> None:
    with Receiver(dripping(beginning, *pieces)) as receiver:
        assert send(receiver) == TIMED_OUT


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
def test_a_drip_of_the_body_is_cut_and_the_status_counts(send: Send, head: bytes, pieces: list[bytes]) -> None:
    end = b"" if b"\r\n\r\n" in head else b"\r\n\r\n"
    with Receiver(dripping(b"HTTP/1.1 200 OK\r\n" + head + end, *pieces)) as receiver:
        answer = send(receiver)
    assert isinstance(answer, Answer)
    assert (answer.status_code, answer.complete) == (200, False)
    assert set(answer.body) <= set(b"x")


def test_what_came_of_a_dripping_body_is_kept(send: Send) -> None:
    head = b"HTTP/1.1 500 Oops\r\nContent-Length: 1000\r\n\r\nwhy: "
    with Receiver(dripping(head, b".")) as receiver:
        answer = send(receiver)
    assert isinstance(answer, Answer)
    assert answer.body.startswith(b"why: ..")


@pytest.mark.parametrize("beginning", [b"", b"\x16\x03\x03\x3f\xff"], ids=["silence", "drip"])
def test_a_tls_handshake_that_does_not_end_is_cut(hasty: Transport, beginning: bytes) -> None:
    def script(receiver: Receiver, visit: Visit) -> None:
        visit.send(beginning)
        visit.drip(itertools.repeat(b"\0" if beginning else b""))

    with Receiver(script) as receiver:
        began = time.monotonic()
        answer = hasty.send("GET", f"https://127.0.0.1:{receiver.port}/", HEADERS)
    assert answer == TIMED_OUT
    assert time.monotonic() - began < GENEROUS_SECONDS


def test_a_drip_inside_tls_is_cut(authority: Authority) -> None:
    hasty = Transport(timeout_seconds=0.4, body_limit=LIMIT, tls=authority.trust())
    scripts = [dripping(b"", b"H"), dripping(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x")]
    answers = []
    for script in scripts:
        with Receiver(script, tls=authority.server("127.0.0.1")) as receiver:
            answers.append(hasty.send("GET", receiver.url(), HEADERS))
    assert answers[0] == TIMED_OUT
    assert isinstance(answers[1], Answer)
    assert not answers[1].complete
    hasty.close()


def test_a_peer_that_accepts_and_hangs_is_left(send: Send) -> None:
    with Receiver(lambda _, visit: visit.hang()) as receiver:
        assert send(receiver) == TIMED_OUT


def test_a_peer_that_never_reads_the_request_is_left(hasty: Transport) -> None:
    with Receiver(lambda _, visit: visit.hang()) as receiver:
        assert hasty.send("POST", receiver.url(), HEADERS, b"x" * 50_000_000) == TIMED_OUT


def test_a_flood_of_interim_answers_is_cut(send: Send) -> None:
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.drip(itertools.repeat(flood), every_seconds=0)

    with Receiver(script) as receiver:
        assert send(receiver) == TIMED_OUT


def test_a_kept_connection_has_a_deadline_too(send: Send) -> None:
    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(OK)
        receiver.read(visit)
        visit.drip(itertools.repeat(b"H"))

    with Receiver(script) as receiver:
        assert isinstance(send(receiver), Answer)
        assert send(receiver) == TIMED_OUT
    assert receiver.connections == 1


def test_a_lookup_that_hangs_is_left() -> None:
    over = threading.Event()
    hasty = Transport(timeout_seconds=0.3, body_limit=LIMIT, lookup=lambda host: [str(over.wait(60))])
    assert hasty.send("GET", "http://slow.example/", HEADERS) == NoAnswer(reason="DNS timed out after 0.3 s")
    over.set()


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
    heads = {"length": b"Content-Length: 10000000", "chunks": b"Transfer-Encoding: chunked", "to the end": b"X: y"}
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
    assert answer == Answer(status_code=200, headers=getattr(answer, "headers", {}), body=b"x" * LIMIT, complete=False)
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
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % size + body + b"\r\n0\r\n\r\n"
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
        (b"", "the connection was closed without an answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "the connection was closed without an answer"),
        (b"\r\n", "the answer is not HTTP/1.1"),
        (b"nonsense\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"\0\0\0\0\r\n\0", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 xyz\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 99 Low\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 1000 High\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "the answer is not HTTP/1.1"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 " + b"x" * 70_000, "the answer has a line of more than 65,536 bytes"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "the answer has a line of more than 65,536 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5_000 + b"\r\n", "the answer has more than 100 headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "the answer has two lengths"),
    ],
)
def test_an_answer_that_is_not_http_says_what_is_wrong(transport: Transport, sent: bytes, reason: str) -> None:
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
    assert answer == NoAnswer(reason="the connection was reset")


def test_a_port_where_nobody_listens_refuses(transport: Transport) -> None:
    with Receiver(answering(OK)) as receiver:
        url = receiver.url()
    assert transport.send("GET", url, HEADERS) == NoAnswer(reason="connection refused")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"]),
    st.one_of(st.binary(max_size=200), st.text("01:;,\r\n\0 aHTP/", max_size=100).map(str.encode)),
)
def test_no_answer_makes_an_exception(transport: Transport, beginning: bytes, rest: bytes) -> None:
    with Receiver(answering_once(beginning + rest)) as receiver:
        assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), Answer | NoAnswer)


# Kept connections


def test_a_connection_is_kept_for_the_next_request(transport: Transport) -> None:
    with Receiver(answering(OK)) as receiver:
        for _ in range(5):
            assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), Answer)
    assert (receiver.connections, len(receiver.requests)) == (1, 5)


def test_a_tls_connection_is_kept_for_the_next_request(authority: Authority) -> None:
    transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT, tls=authority.trust())
    with Receiver(answering(OK), tls=authority.server("127.0.0.1")) as receiver:
        for _ in range(5):
            assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), Answer)
        transport.close()
    assert (receiver.connections, len(receiver.requests)) == (1, 5)


def test_a_connection_whose_answer_was_not_read_whole_is_not_kept(transport: Transport) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with Receiver(answering(head + b"x" * 100_000)) as receiver:
        for _ in range(2):
            transport.send("GET", receiver.url(), HEADERS)
    assert receiver.connections == 2


def test_each_thread_has_its_own_connection(transport: Transport) -> None:
    barrier = threading.Barrier(4)

    def send(url: str) -> Answer | NoAnswer:
        barrier.wait()
        return transport.send("GET", url, HEADERS)

    with Receiver(answering(OK)) as receiver, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(send, [receiver.url()] * 40))
        assert all(isinstance(answer, Answer) for answer in answers)
        assert receiver.connections == 4
        transport.close()


def test_closing_lets_every_idle_connection_go(transport: Transport) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Receiver(answering(OK)) as receiver:
        transport.send("GET", receiver.url(), HEADERS)
        transport.close()
        assert isinstance(transport.send("GET", receiver.url(), HEADERS), Answer)
        transport.close()
    assert receiver.connections == 2
    assert len(os.listdir("/proc/self/fd")) <= before


def stale(second: bytes = b"", *, after_seconds: float = 0, then: bytes = OK) -> Callable[[Receiver, Visit], None]:
    """A peer that answers once, takes the second request, and closes after `second`; later visits get `then`."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        if visit.number > 1:
            visit.send(then)
            return
        visit.send(OK)
        receiver.read(visit)
        time.sleep(after_seconds)
        visit.send(second)

    return script


def test_a_stale_connection_is_worth_one_more_try(transport: Transport) -> None:
    with Receiver(stale()) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert all(isinstance(answer, Answer) for answer in answers)
    assert (receiver.connections, len(receiver.requests)) == (2, 3)
    assert receiver.requests[1] == receiver.requests[2]


def test_a_stale_connection_is_worth_no_third_try(transport: Transport) -> None:
    with Receiver(stale(then=b"")) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert answers[1] == NoAnswer(reason="the connection was closed without an answer")
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("second", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: y\r\n"])
def test_there_is_no_second_try_once_an_answer_began(transport: Transport, second: bytes) -> None:
    with Receiver(stale(second)) as receiver:
        for _ in range(2):
            transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert len(receiver.requests) == 2


def test_there_is_no_second_try_when_the_failure_took_its_time(transport: Transport) -> None:
    with Receiver(stale(after_seconds=STALE_WITHIN_SECONDS + 0.2)) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert isinstance(answers[1], NoAnswer)
    assert len(receiver.requests) == 2


def test_there_is_no_second_try_on_a_new_connection(transport: Transport) -> None:
    with Receiver(answering_once(b"")) as receiver:
        assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), NoAnswer)
    assert len(receiver.requests) == 1


def test_a_connection_that_the_peer_closed_while_idle_is_replaced(transport: Transport) -> None:
    with Receiver(answering_once(OK)) as receiver:
        for _ in range(3):
            assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), Answer)
            time.sleep(0.05)
    assert len(receiver.requests) == 3


def test_a_forked_child_opens_its_own_connection() -> None:
    script = """
import os, sys
from bridge.core.answers import Answer
from bridge.edges.transport import Transport
transport = Transport(timeout_seconds=5, body_limit=100)
assert isinstance(transport.send("GET", sys.argv[1], {}), Answer)
child = os.fork()
assert isinstance(transport.send("GET", sys.argv[1], {}), Answer)
if child == 0:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    with Receiver(answering(OK)) as receiver:
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", script, receiver.url()], timeout=30, check=False)
    assert done.returncode == 0
    assert (receiver.connections, len(receiver.requests)) == (2, 3)


# Trust


def refused(authority: Authority, host: str, *, days: int = 1, tls: ssl.SSLContext | None = None) -> str:
    transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT, tls=tls)
    with Receiver(answering(OK), tls=authority.server(host, days=days)) as receiver:
        answer = transport.send("POST", receiver.url("localhost"), HEADERS, b"{}")
    transport.close()
    assert receiver.requests == []
    return answer.reason if isinstance(answer, NoAnswer) else ""


def test_an_unknown_authority_is_refused(authority: Authority) -> None:
    assert refused(authority, "localhost") == "TLS: unable to get local issuer certificate"


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    assert refused(authority, "localhost", days=-1, tls=authority.trust()) == "TLS: certificate has expired"


def test_a_certificate_for_another_host_is_refused(authority: Authority) -> None:
    reason = refused(authority, "other.example", tls=authority.trust())
    assert reason.startswith("TLS: Hostname mismatch")


def test_a_peer_that_does_not_speak_tls_is_refused(transport: Transport) -> None:
    with Receiver(answering_once(b"HTTP/1.1 400 Bad\r\n\r\n")) as receiver:
        answer = transport.send("GET", f"https://127.0.0.1:{receiver.port}/", HEADERS)
    assert answer == NoAnswer(reason="TLS: wrong version number")


def test_the_name_is_asked_for_and_verified_though_an_address_is_dialled(authority: Authority) -> None:
    transport = Transport(
        timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT, tls=authority.trust(), lookup=lambda _: ["127.0.0.1"]
    )
    asked: list[str | None] = []
    server = authority.server("app.example")
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    with Receiver(answering(OK), tls=server) as receiver:
        assert isinstance(transport.send("GET", receiver.url("app.example"), HEADERS), Answer)
        transport.close()
    assert asked == ["app.example"]
    assert f"Host: app.example:{receiver.port}".encode() in receiver.requests[0]


def test_certifis_roots_are_trusted() -> None:
    assert len(certifi_trust().get_ca_certs()) > 50


def test_nothing_of_the_environment_is_used(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(Receiver(answering(OK)))
        receiver = stack.enter_context(Receiver(answering(OK)))
        secure = stack.enter_context(Receiver(answering(OK), tls=authority.server("127.0.0.1")))
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password hush\n")
        (tmp_path / ".netrc").chmod(0o600)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(authority.path))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        certifi_trust.cache_clear()
        transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT)
        assert isinstance(transport.send("GET", receiver.url(), HEADERS), Answer)
        assert isinstance(transport.send("GET", secure.url(), HEADERS), NoAnswer)
        transport.close()
    assert proxy.connections == 0
    assert b"authorization" not in receiver.requests[0].lower()
    assert secure.requests == []


def test_no_proxy_of_the_environment_does_not_go_around_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with Receiver(answering(OK)) as proxy:
        transport = Transport(
            timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT, proxy=f"http://127.0.0.1:{proxy.port}"
        )
        assert isinstance(transport.send("GET", "http://app.example/", HEADERS), Answer)
        transport.close()
    assert len(proxy.requests) == 1


# A proxy of our own


def test_a_proxy_is_given_the_whole_url_and_the_name_is_not_looked_up() -> None:
    with Receiver(answering(OK)) as proxy:
        transport = Transport(
            timeout_seconds=GENEROUS_SECONDS,
            body_limit=LIMIT,
            proxy=f"http://user:hush@127.0.0.1:{proxy.port}",
            guard=lambda address: f"{address} is refused",
            lookup=lambda host: pytest.fail(f"{host} was looked up"),
        )
        assert isinstance(transport.send("POST", "http://app.example:81/x?y", HEADERS, b"{}"), Answer)
        transport.close()
    assert proxy.requests[0].startswith(b"POST http://app.example:81/x?y HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpodXNo" in proxy.requests[0]


def tunnel(answer: bytes, authority: Authority) -> Callable[[Receiver, Visit], None]:
    """A proxy that answers CONNECT, then is the server itself."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(answer)
        with authority.server("app.example").wrap_socket(visit.connection, server_side=True) as inside:
            answering(OK)(receiver, Visit(inside, visit.number, visit.over))

    return script


def test_https_goes_through_a_tunnel_and_the_server_is_verified(authority: Authority) -> None:
    with Receiver(tunnel(b"HTTP/1.1 200 OK\r\n\r\n", authority)) as proxy:
        transport = Transport(
            timeout_seconds=GENEROUS_SECONDS,
            body_limit=LIMIT,
            proxy=f"http://127.0.0.1:{proxy.port}",
            tls=authority.trust(),
        )
        assert isinstance(transport.send("GET", "https://app.example/x", HEADERS), Answer)
        assert transport.send("GET", "https://other.example/x", HEADERS) != Answer(status_code=200)
        transport.close()
    assert proxy.requests[0].startswith(b"CONNECT app.example:443 HTTP/1.")
    assert proxy.requests[1].startswith(b"GET /x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (answering_once(b"HTTP/1.1 407 Who are you\r\n\r\n"), "the proxy: it refused the connection"),
        (answering_once(b""), "the proxy: the connection was closed without an answer"),
        (dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "the proxy: timed out after 0.4 s"),
    ],
    ids=["refusal", "silence", "drip"],
)
def test_a_proxy_that_fails_is_named(script: Callable[[Receiver, Visit], None], reason: str) -> None:
    with Receiver(script) as proxy:
        hasty = Transport(timeout_seconds=0.4, body_limit=LIMIT, proxy=f"http://user:hush@127.0.0.1:{proxy.port}")
        assert hasty.send("GET", "https://app.example/x", HEADERS) == NoAnswer(reason=reason)
        hasty.close()


def test_a_proxy_that_is_away_is_named() -> None:
    with Receiver(answering(OK)) as gone:
        proxy = f"http://127.0.0.1:{gone.port}"
    transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT, proxy=proxy)
    for url in ("http://app.example/", "https://app.example/"):
        assert transport.send("GET", url, HEADERS) == NoAnswer(reason="the proxy: connection refused")


def test_the_standard_library_still_limits_headers_and_lines() -> None:
    assert (http.client._MAXHEADERS, http.client._MAXLINE) == (100, 65_536)  # type: ignore[attr-defined]  # private
