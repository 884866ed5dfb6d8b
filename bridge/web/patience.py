"""The web process's gunicorn worker: a thread gets a request when all of it has come.

gunicorn's own `gthread` lets a thread read from the client. As many slow clients as there are threads, and
nobody else is served. Here the loop that accepts connections gathers each request, and waits for nobody;
threads read from memory.
"""

import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from select import POLLOUT, poll
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

from gunicorn import http
from gunicorn.http import wsgi
from gunicorn.workers.gthread import TConn, ThreadWorker

from bridge.edges.deadline import Deadline
from bridge.web.gathering import Gathering, TooMuch

# A request is at most 1 MiB, and comes from a server: this is plenty for one.
REQUEST_SECONDS = 10.0
# The longest answers wait for HubSpot or a receiver; Heroku's router waits for none longer than 30 s.
ANSWER_SECONDS = 60.0
# After the last answer, until the client closes too: else it may lose the answer's end (RFC 9112, 9.6).
LINGER_SECONDS = 2.0
# The kernel takes an ordinary answer as a whole, and the thread need not wait until the client has read it.
# No more than Linux allows by default (net.core.wmem_max).
SEND_BYTES = 212_992
# What all unfinished requests may hold beyond their first pieces.
HELD_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 64 * 1024

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Nothing:
    """Stands where the parser expects the socket: what has been gathered is all there is."""

    def __init__(self) -> None:
        self.was_asked = False

    def recv(self, _: int) -> bytes:
        self.was_asked = True
        return b""


class _Answer(wsgi.Response):  # type: ignore[misc] # gunicorn has no types
    """Does not tell what serves here."""

    def default_headers(self) -> list[str]:
        return [header for header in super().default_headers() if not header.startswith("Server:")]


class PatientWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """gthread, but no thread waits for a client to send.

    Everything but `handle` and `handle_request` runs in the loop.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._gatherings: dict[TConn, Gathering] = {}

    def init_process(self) -> None:
        """Serve until told to stop; there is no setting for the class of answers."""
        wsgi.Response = _Answer
        super().init_process()

    def enqueue_req(self, conn: TConn) -> None:
        """Go on with a connection that is new, or has sent something: give a whole request to a thread."""
        gathering = self._gatherings.pop(conn, None)
        if gathering is None:
            gathering = Gathering()
            conn.timeout = time.monotonic() + REQUEST_SECONDS
        try:
            self._gather(conn, gathering)
        except BlockingIOError:
            self._gather_on(conn, gathering, EVENT_READ)
        except (OSError, TooMuch):
            self._drop(conn)
        else:
            if conn.parser is None or _has_room(conn.sock):
                self._hand_over(conn, bytes(gathering.data))
            else:
                self._gather_on(conn, gathering, EVENT_WRITE)

    def _gather_on(self, conn: TConn, gathering: Gathering, when: int) -> None:
        self._gatherings[conn] = gathering
        self._wait(conn, when, self.on_pending_socket_readable)

    def _gather(self, conn: TConn, gathering: Gathering) -> None:
        if not gathering.data:
            self._begin(conn, gathering)
        while not gathering.is_whole:
            if len(gathering.data) > PIECE_BYTES and self._held_bytes() > HELD_BYTES:
                raise TooMuch
            piece = conn.sock.recv(PIECE_BYTES, socket.MSG_DONTWAIT)
            if not piece:
                raise ConnectionResetError
            gathering.add(piece)
            if gathering.awaits_leave and not gathering.is_whole:
                gathering.awaits_leave = False
                conn.sock.send(_CONTINUE, socket.MSG_DONTWAIT)

    def _begin(self, conn: TConn, gathering: Gathering) -> None:
        if conn.parser is None:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        elif left := conn.parser.unreader.read():
            # A client need not wait for the answer before it sends its next request.
            gathering.add(left)

    def _held_bytes(self) -> int:
        return sum(len(gathering.data) for gathering in self._gatherings.values())

    def _hand_over(self, conn: TConn, request: bytes) -> None:
        conn.parser = http.get_parser(self.cfg, _Nothing(), conn.client)
        conn.parser.unreader.unread(request)
        conn.initialized = True
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> bool:
        """Answer a request, in a thread; tell whether the connection can be used for another."""
        with Deadline(ANSWER_SECONDS) as deadline:
            deadline.hold(conn.sock)
            kept = super().handle(conn)
        # Where the parser wanted more, the rest of a body would be taken for the next request.
        return bool(kept) and not conn.parser.unreader.sock.was_asked

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request whose body is here: nobody must be told to send it."""
        req._expected_100_continue = False  # noqa: SLF001 -- gunicorn has no other way to say so
        return super().handle_request(req, conn)

    def finish_request(self, conn: TConn, fs: "Future[bool]") -> None:
        """Keep a connection for its next request, or close it without waiting for the client."""
        if not fs.cancelled() and fs.exception() is None and fs.result():
            super().finish_request(conn, fs)
            return
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
        else:
            conn.timeout = time.monotonic() + LINGER_SECONDS
            self._wait(conn, EVENT_READ, self._lingering)

    def _lingering(self, conn: TConn, client: socket.socket) -> None:
        with suppress(BlockingIOError):
            try:
                ended = not client.recv(PIECE_BYTES, socket.MSG_DONTWAIT)
            except ConnectionError:
                ended = True
            if ended:
                self._forget(conn)
                self._drop(conn)

    def murder_pending(self) -> None:
        """Close the connections whose time is over."""
        now = time.monotonic()
        for conn in [conn for conn in self.pending_conns if conn.timeout <= now]:
            self._forget(conn)
            self._drop(conn)

    def _wait(self, conn: TConn, when: int, then: Callable[[TConn, socket.socket], None]) -> None:
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, when, partial(then, conn))

    def _forget(self, conn: TConn) -> None:
        self.pending_conns.remove(conn)
        self.poller.unregister(conn.sock)
        self._gatherings.pop(conn, None)

    def _drop(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()


def _has_room(client: socket.socket) -> bool:
    """Tell whether an answer can be sent: not while the client leaves the ones before it unread."""
    room = poll()
    room.register(client, POLLOUT)
    return bool(room.poll(0))
