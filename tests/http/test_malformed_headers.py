"""The transport: malformed lines among a response's headers are skipped, and the rest of it is read."""

import pytest

from bridge.core.http_results import HttpResponse, NoResponse
from bridge.core.instants import retry_after_seconds
from bridge.http.transport import Transport
from tests.http.receiver import Receiver, answering, answering_once
from tests.http.transports import HEADERS
from tests.makers import NOW

NO_HEADERS = [
    pytest.param(b"no colon", id="no colon"),
    pytest.param(b"X-Frame-Options : DENY", id="space before the colon"),
    pytest.param(b"X-Frame-Options\t: DENY", id="tab before the colon"),
    pytest.param(b": no name", id="no name"),
    pytest.param("Größe: 17".encode(), id="UTF-8 name"),
    pytest.param(b"\xff\xfe: 17", id="name that is no text"),
    pytest.param(b"X\0Y: 17", id="NUL in the name"),
    pytest.param(b"\0", id="NUL alone"),
    pytest.param(b"two words: 17", id="space in the name"),
    pytest.param(b"X(y): 17", id="bracket in the name"),
    pytest.param(b'"X": 17', id="quoted name"),
    pytest.param(b"X: a\rY", id="CR in the value"),
    pytest.param(b"X: a\rContent-Length: 9", id="header behind a CR"),
    pytest.param(b"From nobody", id="mailbox line"),
    pytest.param(b"HTTP/1.1 200 OK", id="second status line"),
    pytest.param(b"<html>", id="HTML"),
    pytest.param(b"no colon\r\n and more: 1\r\n\tand more", id="continued"),
    pytest.param(b"Content-Length : 9\r\nTransfer-Encoding : chunked", id="framing with spaces"),
    pytest.param(b"=\r\n==\r\n=====", id="several"),
]
LENGTH = (b"Content-Length: 2", b"ok")
CHUNKS = (b"Transfer-Encoding: chunked", b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n")


def head(*lines: bytes, status: bytes = b"HTTP/1.1 503 Busy", end: bytes = b"\r\n") -> bytes:
    return end.join((status, *lines, b"", b""))


def read(transport: Transport, sent: bytes) -> HttpResponse:
    """Return the answer to the second request on a connection, which reading the first one must leave in order."""
    with Receiver(answering(sent)) as receiver:
        [_, answer] = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
        assert isinstance(answer, HttpResponse)
        assert receiver.connections == 1
    return answer


@pytest.mark.parametrize("framing", [LENGTH, CHUNKS], ids=["length", "chunked"])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "between", "last"])
@pytest.mark.parametrize("line", NO_HEADERS)
def test_a_line_that_is_no_header_is_skipped(
    transport: Transport, line: bytes, place: int, framing: tuple[bytes, bytes]
) -> None:
    length, body = framing
    lines = [length, b"Retry-After: 90"]
    lines.insert(place, line)
    answer = read(transport, head(*lines) + body)
    assert (answer.status_code, answer.body, answer.complete) == (503, b"ok", True)
    name, _, value = length.decode().partition(": ")
    assert answer.headers == {name.lower(): value, "retry-after": "90"}


@pytest.mark.parametrize("lines", [[b"Retry-After: 100", b"Retry-After: 90"], [b"Retry-After: 100, 90"]])
def test_two_values_of_a_header_are_the_same_in_one_line_or_in_two(
    transport: Transport, lines: list[bytes]
) -> None:
    answer = read(transport, head(b"Content-Length: 2", *lines) + b"ok")
    assert retry_after_seconds(answer.headers["retry-after"], now=NOW) == 90


@pytest.mark.parametrize("line", NO_HEADERS)
def test_an_interim_answer_s_lines_are_skipped_too(transport: Transport, line: bytes) -> None:
    interim = head(line, b"Link: </a.css>", status=b"HTTP/1.1 103 Early Hints")
    answer = read(transport, interim + head(b"Content-Length: 2", status=b"HTTP/1.1 200 OK") + b"ok")
    assert answer == HttpResponse(status_code=200, headers={"content-length": "2"}, body=b"ok")


@pytest.mark.parametrize("end", [b"\n", b"\r\r\n"], ids=["LF", "CR CR LF"])
def test_lines_that_end_in_another_way_are_read(transport: Transport, end: bytes) -> None:
    answer = read(transport, head(b"Content-Length: 2", b"no colon", b"Retry-After: 90", end=end) + b"ok")
    assert (answer.headers["retry-after"], answer.body, answer.complete) == ("90", b"ok", True)


def test_what_continues_no_header_is_skipped(transport: Transport) -> None:
    answer = read(
        transport, head(b"  of nothing: 1", b"\tat all", b"Content-Length: 2", b"Retry-After: 90") + b"ok"
    )
    assert (answer.headers, answer.body) == ({"content-length": "2", "retry-after": "90"}, b"ok")


def test_a_header_on_several_lines_is_one(transport: Transport) -> None:
    answer = read(transport, head(b"X-Long: one", b"  two", b"Content-Length: 2", b"Retry-After: 90") + b"ok")
    assert answer.headers["x-long"].split() == ["one", "two"]
    assert (answer.headers["retry-after"], answer.body) == ("90", b"ok")


@pytest.mark.parametrize(
    "value", ["Größe".encode(), b"\xff\xfe", b"a\0b", b"a:b: c", b"", b"\x7f", b'"', b"\t a \t"]
)
def test_a_header_s_value_may_be_anything(transport: Transport, value: bytes) -> None:
    answer = read(transport, head(b"X-Value: " + value, b"Content-Length: 2", b"Retry-After: 90") + b"ok")
    assert answer.headers["x-value"].strip() == value.decode("latin-1").strip()
    assert (answer.headers["retry-after"], answer.body) == ("90", b"ok")


def test_an_answer_that_is_cut_behind_such_a_line_is_none(transport: Transport) -> None:
    with Receiver(answering_once(b"HTTP/1.1 200 OK\r\nno colon\r\nX: y\r\n")) as receiver:
        answer = transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert answer == NoResponse(reason="the server closed the connection without an answer")


def test_lines_without_end_are_not_read_for_ever(transport: Transport) -> None:
    with Receiver(answering_once(b"HTTP/1.1 200 OK\r\n" + b"no colon\r\n" * 5_000)) as receiver:
        answer = transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert answer == NoResponse(reason="the server's answer has more than 100 headers")
