"""Sends replies: an HTTP/1.1 server with keep-alive, and the ways in which a response can be broken."""

import contextlib
import io
import socket
from collections.abc import Callable, Iterator, Mapping
from threading import Event
from typing import Any, assert_never

from flask import Response, request
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from bridge.sandbox.replies import Reply, SendMode

MAX_BODY_BYTES = 1024 * 1024
# Python's http.client stops reading after a hundred headers.
DRIPPED_HEADERS = 90


class ClosedOnPurposeError(ConnectionError):
    """The sandbox closes the connection on purpose."""


def to_response(reply: Reply, stopping: Event) -> Response:
    """Return a reply as a Flask response; once `stopping` is set, the reply's delays end."""
    parts = _parts(reply, request.environ, stopping)
    response = Response(parts, status=reply.status_code, headers=dict(reply.headers))
    # Connections stay open, so every complete response tells its length.
    response.headers["Content-Length"] = str(len(reply.body))
    return response


def _parts(reply: Reply, environ: Mapping[str, Any], stopping: Event) -> Iterator[bytes]:
    match reply.send_mode:
        case SendMode.WHOLE:
            yield reply.body
        case SendMode.DRIP:
            yield from _dripped(reply, stopping)
        case SendMode.DRIP_HEADERS:
            _drip_headers(reply, environ["werkzeug.socket"], stopping)
            raise ClosedOnPurposeError
        case SendMode.SHORT:
            yield reply.body[: len(reply.body) // 2]
            raise ClosedOnPurposeError
        case SendMode.HANG:
            stopping.wait(reply.seconds)
            raise ClosedOnPurposeError
        case SendMode.DROP:
            raise ClosedOnPurposeError
        case _:
            assert_never(reply.send_mode)


def _dripped(reply: Reply, stopping: Event) -> Iterator[bytes]:
    for byte in reply.body:
        yield bytes([byte])
        if stopping.wait(reply.seconds):
            raise ClosedOnPurposeError


def _drip_headers(reply: Reply, connection: socket.socket, stopping: Event) -> None:
    connection.sendall(f"HTTP/1.1 {reply.status_code} OK\r\n".encode())
    for number in range(DRIPPED_HEADERS):
        connection.sendall(f"X-Drip-{number}: drip\r\n".encode())
        if stopping.wait(reply.seconds):
            return


class Handler(WSGIRequestHandler):
    """An HTTP handler that keeps connections open, as HubSpot does."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # buffered, so that head and body are sent in one packet

    def run_wsgi(self) -> None:
        """Answer a request; end the connection after a broken response or an unread body."""
        # werkzeug's own method closes the connection after each answer, and waits 10 ms to do so.
        self.wfile.flush()
        environ = self.make_environ()
        self._take_body(environ)
        try:
            self._answer(environ)
        except ConnectionError:
            self.close_connection = True

    def _take_body(self, environ: dict[str, Any]) -> None:
        # Unread bytes would be parsed as the next request.
        length = environ.get("CONTENT_LENGTH") or "0"
        if "HTTP_TRANSFER_ENCODING" in environ or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
        else:
            environ["wsgi.input"] = io.BytesIO(self.rfile.read(int(length)))

    def _answer(self, environ: dict[str, Any]) -> None:
        parts = self.server.app(environ, self._start)
        try:
            for part in parts:
                self._send_head()
                self.wfile.write(part)
                self.wfile.flush()
            self._send_head()
        finally:
            parts.close()  # type: ignore[attr-defined]  # Flask's iterables have it.

    def _start(
        self, status: str, headers: list[tuple[str, str]], _exc_info: object = None
    ) -> Callable[[bytes], object]:
        self._head: tuple[str, list[tuple[str, str]]] | None = (status, headers)
        return self.wfile.write

    def _send_head(self) -> None:
        if self._head is None:
            return
        (status, headers), self._head = self._head, None
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def finish(self) -> None:
        """Send what is still buffered and close the connection's files; ignore a ConnectionError."""
        with contextlib.suppress(ConnectionError):
            super().finish()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: the ledger counts requests."""


class Server(ThreadedWSGIServer):
    """A threaded server that knows its open connections, so that `end_connections` can close them."""

    def __init__(self, host: str, port: int, app: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(host, port, app, handler=Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """Close all open connections."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
