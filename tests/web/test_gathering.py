"""Where a request ends, in whatever pieces it comes."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.web.bodies import READ_BYTES
from bridge.web.gathering import BODY_BYTES, HEAD_BYTES, LINE_BYTES, Gathering, TooMuch

HEAD = b"POST / HTTP/1.1\r\nHost: b\r\n"
CHUNKED = HEAD + b"transfer-encoding : Chunked\r\n\r\n"
WHOLE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n",
    HEAD + b"Content-Length: 0\r\n\r\n",
    HEAD + b"content-LENGTH:7\r\n\r\n\r\n\r\nabc",
    HEAD + b"Content-Length: \t7 \t \r\n\r\n\r\n\r\nabc",
    CHUNKED + b"0\r\n\r\n",
    CHUNKED + b"A;name=value\r\n0\r\n\r\n01234\r\n3 \r\nabc\r\n00\r\n\r\n",
    CHUNKED + b"1\r\na\r\n0\r\nTrailer: 0\r\n\r\n",
    CHUNKED + b"1;" + b"x" * (LINE_BYTES - 4) + b"\r\na\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("request_", WHOLE)
@given(cuts=st.sets(st.integers(0, 100)))
def test_a_request_is_whole_with_its_last_byte(request_: bytes, cuts: set[int]) -> None:
    gathering = Gathering()
    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(request_)), len(request_)]
    for start, end in pairwise(edges):
        assert not gathering.is_whole
        gathering.add(request_[start:end])
    assert gathering.is_whole
    assert gathering.data == request_


@pytest.mark.parametrize(
    "wrong",
    [
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1, 1\r\n\r\n",
        HEAD + f"Content-Length: {READ_BYTES + 1}\r\n\r\n".encode(),
        CHUNKED + b"no size\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"123456789\r\n",
        CHUNKED + b"1\r\na\r\n" + b"0" * LINE_BYTES,
    ],
)
def test_what_is_refused_anyhow_is_not_waited_for(wrong: bytes) -> None:
    gathering = Gathering()
    gathering.add(wrong)
    assert gathering.is_whole


def test_a_chunked_body_is_gathered_until_it_is_too_large() -> None:
    gathering = Gathering()
    gathering.add(CHUNKED + b"800000\r\n" + b" " * (READ_BYTES - 1))
    assert not gathering.is_whole
    gathering.add(b" ")
    assert gathering.is_whole


@pytest.mark.parametrize(
    ("start", "filler", "most"),
    [(HEAD, b"x", HEAD_BYTES), (CHUNKED + b"0\r\n", b"x", HEAD_BYTES + BODY_BYTES)],
    ids=["head", "trailers"],
)
def test_what_has_no_end_is_too_much(start: bytes, filler: bytes, most: int) -> None:
    gathering = Gathering()
    gathering.add(start + filler * (most - len(start)))
    assert not gathering.is_whole
    with pytest.raises(TooMuch):
        gathering.add(filler)


class Counting(bytearray):
    """Counts the bytes that may be looked through for an end."""

    looked_through = 0

    def find(self, sought: Any, start: Any = 0, end: Any = None) -> int:
        self.looked_through += max(min(len(self), len(self) if end is None else end) - start, 0)
        return super().find(sought, start, end)


@pytest.mark.parametrize(
    ("start", "filler"),
    [(HEAD, b"x"), (CHUNKED + b"1;", b"x"), (CHUNKED + b"2000\r\n", b"x"), (CHUNKED + b"0\r\n", b"x")],
    ids=["head", "chunk's line", "chunk", "trailers"],
)
def test_what_drips_is_not_looked_through_again_and_again(start: bytes, filler: bytes) -> None:
    gathering = Gathering()
    gathering.data = Counting()
    gathering.add(start + filler * 100_000)
    before = gathering.data.looked_through
    for _ in range(100):
        gathering.add(filler)
    assert gathering.data.looked_through - before <= 100 * 2 * LINE_BYTES


@pytest.mark.parametrize(
    ("version", "expect", "awaits"),
    [
        (b"1.1", b"100-Continue", True),
        (b"1.1", b"100-continue \t", True),
        (b"1.1", b"100-continues", False),
        (b"1.0", b"100-continue", False),
    ],
)
def test_a_client_may_wait_for_leave_to_send_the_body(version: bytes, expect: bytes, *, awaits: bool) -> None:
    gathering = Gathering()
    line = b"\r\nPOST / HTTP/" + version + b"\r\n"
    gathering.add(line + b"Expect: " + expect + b"\r\nContent-Length: 2\r\n\r\n")
    assert gathering.awaits_leave is awaits
    assert not gathering.is_whole
