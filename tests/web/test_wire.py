"""HTTP on the socket of the real web process: requests in pieces, chunked bodies, limits, malformed requests."""

import json
import time

import pytest

from tests.reliability.processes import lines
from tests.reliability.waiting import until
from tests.web.wire import ADMIN_KEY, BODY, LAST, Web, all_of, connected, statuses


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


def test_a_body_that_is_a_little_too_long_is_refused_and_the_next_request_served(port: int) -> None:
    with connected(port, BODY + b"Content-Length: 1048577\r\n\r\n" + b" " * 1048577 + LAST) as client:
        assert statuses(all_of(client)) == [b"413", b"200"]


@pytest.mark.parametrize(
    "sent",
    [
        BODY + b"Content-Length: 99999999999\r\n\r\n",
        BODY + b"Transfer-Encoding: chunked\r\n\r\n400000\r\n" + b" " * 0x400000,
    ],
    ids=["by its length", "chunked"],
)
def test_what_follows_too_large_a_body_is_not_taken_for_a_request(port: int, sent: bytes) -> None:
    with connected(port, sent + LAST) as client:
        assert statuses(all_of(client)) == [b"413"]


@pytest.mark.parametrize(("size", "status"), [(1048576, b"400"), (1048577, b"413")])
def test_a_body_whose_length_nobody_told_is_too_large_too(port: int, size: int, status: bytes) -> None:
    sent = b"%x\r\n" % size + b" " * size + b"\r\n0\r\n\r\n"
    with connected(port, BODY + b"Transfer-Encoding: chunked\r\n\r\n" + sent + LAST) as client:
        assert statuses(all_of(client)) == [status, b"200"]


# Seconds of work; minutes where each chunk costs a copy of all that follow.
def test_many_chunks_cost_no_more_than_their_bytes(port: int) -> None:
    chunks = b"1\r\n1\r\n" * 340_000 + b"0\r\n\r\n"
    head = BODY + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with connected(port, head + chunks) as client:
        assert statuses(all_of(client)) == [b"400"]


def test_the_rest_of_a_large_piece_is_the_next_request(port: int) -> None:
    first = BODY + b"Transfer-Encoding: chunked\r\n\r\n"
    first += b"1000\r\n" + b" " * 4096 + b"\r\n2\r\n{}\r\n0\r\n\r\n"
    with connected(port, first * 10 + LAST) as client:
        assert statuses(all_of(client)) == [b"422"] * 10 + [b"200"]


@pytest.mark.parametrize(
    "chunks",
    [b"1\r\n{\r\nzz\r\n", b"1\r\n{}\r\n0\r\n\r\n", b"1;\x00\r\n{\r\n0\r\n\r\n"],
    ids=["size", "end", "extension"],
)
def test_malformed_chunks_are_refused_once(port: int, chunks: bytes) -> None:
    with connected(port, BODY + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + LAST) as client:
        received = all_of(client)
    assert statuses(received) == [b"400"]
    assert b"Content-Type: application/problem+json\r\n" in received


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"sekret\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nAuthorization Bearer sekret\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nX:\x00sekret\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n folded sekret\r\n\r\n", 400),
        (b"sekret /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"sekret" * 6000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"sekret" * 6000 + b"\r\n\r\n", 431),
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
    assert b"\r\nX-Request-Id: " in head
    told = json.loads(body)
    assert told["status"] == status
    assert told["type"].startswith("/problems/")
    assert b"sekret" not in head + body
    assert "sekret" not in web.process.log.read_text()


@pytest.mark.parametrize(
    ("start", "rest", "status", "keeps_id"),
    [
        (b"sekret", b"", 400, True),
        (b"GET / HTTP/1.1", b"Host b\r\n", 400, True),
        (b"POST / HTTP/1.1", b"Content-Length: sekret\r\n", 400, True),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: sekret\r\n", 501, True),
        (b"POST / HTTP/1.1", b"Content-Length: 99999999\r\n", 413, True),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\r\n\r\nsekret\r\n", 400, True),
        (b"GET / HTTP/1.1", b"X-Request-Id: twice\r\nHost b\r\n", 400, False),
        (b"GET / HTTP/1.1", b"X: " + b"sekret" * 6000 + b"\r\n", 431, False),
    ],
)
def test_what_the_server_refuses_by_itself_is_a_line_with_the_id_of_its_answer(
    web: Web, start: bytes, rest: bytes, status: int, *, keeps_id: bool
) -> None:
    sent_id = f"of-{status}-{len(start + rest)}"
    with connected(
        web.port, start + b"\r\nX-Request-Id: " + sent_id.encode() + b"\r\n" + rest + b"\r\n"
    ) as client:
        request_id = json.loads(all_of(client).partition(b"\r\n\r\n")[2])["request_id"]
    assert (request_id == sent_id) is keeps_id
    [line] = [line for line in lines(web.process.log, "request") if line["request_id"] == request_id]
    assert line.pop("timestamp")
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "bridge",
        "method": None,
        "route": None,
        "status": status,
        "duration_ms": None,
        "client": None,
        "request_id": request_id,
    }


def test_what_the_server_refuses_by_itself_is_counted(web: Web) -> None:
    with connected(web.port, b"no\r\n\r\n") as client:
        all_of(client)

    def is_counted() -> bool:
        scrape = f"GET /metrics HTTP/1.0\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n"
        with connected(web.port, scrape.encode()) as client:
            line = b'bridge_api_requests_total{method="other",route="unparsed",status="4xx"} '
            return line in all_of(client)

    until(is_counted)


@pytest.mark.parametrize(
    ("head", "piece", "status"),
    [
        (b"", b"\x00" * 400_000, b"431"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n1\r\n" * 400_000, b"413"),
    ],
    ids=["head", "chunks"],
)
def test_what_never_ends_is_refused_for_its_size_and_not_only_cut_when_its_time_is_over(
    port: int, head: bytes, piece: bytes, status: bytes
) -> None:
    with connected(port, BODY + head) as client:
        client.settimeout(60)
        client.sendall(piece)
        assert statuses(all_of(client)) == [status]


def test_no_answer_tells_what_serves(port: int) -> None:
    for request in (b"GET /healthz HTTP/1.1\r\nHost: b\r\n", b"GET /none HTTP/1.1\r\nHost: b\r\n", b"no\r\n"):
        with connected(port, request + b"Connection: close\r\n\r\n") as client:
            received = all_of(client).lower()
        assert received.startswith(b"http/1.")
        assert b"server:" not in received
        assert b"gunicorn" not in received
        assert b"waitress" not in received
