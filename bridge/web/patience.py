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
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker

from bridge.edges.deadline import Deadline
from bridge.web import malformed
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
# What no descriptor was free for still waits to be accepted: not to ask for it all the time.
ACCEPT_PAUSE_SECONDS = 0.05

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Gathered:
    """Stands where the parser expects the socket: gives what has been gathered, in pieces as a socket does.

    The parser copies what it holds for every chunk of a body: that must not be the whole request.
    """

    def __init__(self, request: bytearray) -> None:
        self._left = memoryview(request)
        # Whether the parser wanted more than there is.
        self.was_exhausted = False

    def recv(self, size: int) -> bytes:
        piece, self._left = bytes(self._left[:size]), self._left[size:]
        self.was_exhausted = not piece
        return piece

    def rest(self) -> bytes:
        """Give all that is left, and hold nothing any more."""
        rest, self._left = bytes(self._left), memoryview(b"")
        return rest


class _Answer(wsgi.Response):  # type: ignore[misc] # gunicorn has no types
    """Does not tell what serves here."""

    def default_headers(self) -> list[str]:
        return [header for header in super().default_headers() if not header.startswith("Server:")]


class PatientWorker(ThreadWorker):  # type: ignore[misc] # gunicorn has no types
    """gthread, but no thread waits for a client to send.

    Everything but `handle` and what it calls runs in the loop.
    """

    def init_process(self) -> None:
        """Serve until told to stop; there is no setting for the class of answers."""
        self._gatherings: dict[TConn, Gathering] = {}
        # How many bytes of each connection's request a thread has, or will have.
        self._handed: dict[TConn, int] = {}
        wsgi.Response = _Answer
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection, unless the system has no room for it: then a while later."""
        try:
            super().accept(listener)
        except OSError as error:
            self.log.warning("no connection could be taken: %s", error)
            self._close_oldest_idle()
            time.sleep(ACCEPT_PAUSE_SECONDS)

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
        except (OSError, TooMuch) as error:
            self.log.debug("cut an unfinished request: %r", error)
            self._drop(conn)
        else:
            if conn.parser is None or _has_room(conn.sock):
                self._hand_over(conn, gathering.data)
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
        unfinished = sum(len(gathering.data) for gathering in self._gatherings.values())
        return unfinished + sum(self._handed.values())

    def _hand_over(self, conn: TConn, request: bytearray) -> None:
        conn.parser = http.get_parser(self.cfg, _Gathered(request), conn.client)
        conn.initialized = True
        self._handed[conn] = len(request)
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> bool:
        """Answer a request, in a thread; tell whether the connection can be used for another."""
        with Deadline(ANSWER_SECONDS) as deadline:
            deadline.hold(conn.sock)
            kept = super().handle(conn)
        unreader = conn.parser.unreader
        rest = unreader.take_buffered() + unreader.sock.rest()
        # Where the parser wanted more, the rest of a body would be taken for the next request.
        if not kept or unreader.sock.was_exhausted:
            return False
        unreader.unread(rest)
        return True

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer a request whose body is here: nobody must be told to send it."""
        req._expected_100_continue = False  # noqa: SLF001 -- gunicorn has no other way to say so
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer what is no HTTP like all that is refused."""
        if not malformed.is_clients_fault(exc):
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("malformed request from %s: %s", addr[0] if addr else "", type(exc).__name__)
        with suppress(OSError):
            client.sendall(malformed.answer(malformed.problem(exc)))

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:  # noqa: FBT001 -- gunicorn's own
        try:
            return bool(super()._keepalive_after(conn, keepalive))
        except ParseException:
            # What was not read of the body is malformed, and the answer is out: there is no second one.
            return False

    def finish_request(self, conn: TConn, fs: "Future[bool]") -> None:
        """Keep a connection for its next request, or close it without waiting for the client."""
        del self._handed[conn]
        if error := fs.exception():
            self.log.error("a request could not be handled", exc_info=error)
        elif fs.result():
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
        try:
            ended = not client.recv(PIECE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._forget(conn)
            self._drop(conn)

    def murder_keepalived(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 -- gunicorn's own
        """Close the idle connections whose time is over, and the oldest where a new one has no room."""
        if self.nr_conns >= self.worker_connections:
            self._close_oldest_idle()
        super().murder_keepalived(force)

    def _close_oldest_idle(self) -> None:
        if self.keepalived_conns:
            # Each round of the loop ends with a look at the times.
            self.keepalived_conns[0].timeout = 0.0

    def murder_pending(self) -> None:
        """Close the connections whose time is over."""
        now = time.monotonic()
        for conn in [conn for conn in self.pending_conns if conn.timeout <= now]:
            self.log.debug("cut a connection whose time is over")
            self._forget(conn)
            self._drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """At the stop, wait for those who have not sent anything as for the idle ones."""
        super()._cap_keepalive(deadline)
        for conn, gathering in self._gatherings.items():
            if not gathering.data:
                conn.timeout = min(conn.timeout, deadline)

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
