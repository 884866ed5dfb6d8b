"""Answers that nobody should send, as bytes on a socket: for HubSpot and for receivers alike."""

import gzip
import itertools
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.http.receiver import Receiver, Visit

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
PIECE = b"x" * 65_536
COMPLETE = b'{"status":"COMPLETE","result":{"id":"17"}}'
SEND_AT_ONCE = 0.0


def whole(body: bytes, head: bytes = OK) -> bytes:
    """An answer with a length and a body."""
    return head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True, kw_only=True, slots=True)
class Poison:
    """`send` writes the answer; `accepted` when a receiver that says so has taken the callback."""

    send: Callable[[Visit], None]
    accepted: bool = False


def _once(data: bytes, *, accepted: bool = False) -> Poison:
    return Poison(send=lambda visit: visit.send(data), accepted=accepted)


def _for_ever(beginning: bytes, piece: bytes, *, accepted: bool = False) -> Poison:
    def send(visit: Visit) -> None:
        visit.send(beginning)
        visit.drip(itertools.repeat(piece), SEND_AT_ONCE)

    return Poison(send=send, accepted=accepted)


def _then_silent(beginning: bytes, *, accepted: bool = False) -> Poison:
    def send(visit: Visit) -> None:
        visit.send(beginning)
        visit.hang()

    return Poison(send=send, accepted=accepted)


def _reset(visit: Visit) -> None:
    visit.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _gzip_bomb(visit: Visit) -> None:
    visit.send(whole(gzip.compress(bytes(50_000_000), 1), OK + b"Content-Encoding: gzip\r\n"))


def _json(text: bytes) -> Poison:
    return _once(whole(text), accepted=True)


POISONS = {
    "5,000 headers": _once(
        OK + b"".join(b"X-%d: y\r\n" % number for number in range(5_000)) + whole(COMPLETE, b"")
    ),
    "endless headers": _for_ever(OK, b"X: y\r\n"),
    "endless status line": _for_ever(b"HTTP/1.1 200 ", PIECE),
    "endless interim answers": _for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "endless chunks": _for_ever(
        OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + PIECE + b"\r\n", accepted=True
    ),
    "endless body": _for_ever(OK + b"\r\n", PIECE, accepted=True),
    "broken chunk": _once(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", accepted=True),
    "lying length": _then_silent(OK + b"Content-Length: 1000000000000\r\n\r\n{", accepted=True),
    "negative length": _once(OK + b"Content-Length: -5\r\n\r\n{", accepted=True),
    "two lengths": _once(OK + b"Content-Length: 5, 7\r\n\r\n{"),
    "binary headers": _once(whole(b"{", OK + b"X-Binary: \xff\xfe\x00\r\n"), accepted=True),
    "no HTTP": _once(b"\x00\xff" * 10_000),
    "half of a status line": _once(b"HTTP/1.1 2"),
    "nothing": _once(b""),
    "silence": _then_silent(b""),
    "silence among the headers": _then_silent(OK),
    "a reset connection": Poison(send=_reset),
    "an odd Retry-After": _once(whole(b"", b"HTTP/1.1 503 No\r\nRetry-After: \xb2\xb3\r\n")),
    "a large and binary error": _once(whole(b"\x00\xff\xfe" * 3_000_000, b"HTTP/1.1 500 No\r\n")),
    "a gzip bomb": Poison(send=_gzip_bomb, accepted=True),
    "deep JSON": _json(b"[" * 500_000),
    "a number of 5,000 digits": _json(b'{"status":"COMPLETE","result":{"id":%s}}' % (b"9" * 5_000)),
    "a status that is no text": _json(b'{"status":"\\ud800"}'),
    "a status with NUL in it": _json(b'{"status":"\\u0000COMPLETE"}'),
    "a status of a megabyte": _json(b'{"status":"%s"}' % (b"x" * 1_000_000)),
}


def poisonous(poison: Poison) -> Callable[[Receiver, Visit], None]:
    """A script for a peer that is HubSpot and receiver in one: the first GET and the first POST get the poison."""
    met: set[bytes] = set()

    def script(receiver: Receiver, visit: Visit) -> None:
        if not receiver.read(visit):
            return
        method = receiver.requests[-1].partition(b" ")[0]
        if method in met:
            visit.send(whole(COMPLETE))
        else:
            met.add(method)
            poison.send(visit)

    return script
