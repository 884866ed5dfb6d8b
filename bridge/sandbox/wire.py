"""Sends replies: an HTTP/1.1 server with keep-alive, and the ways in which a response can be broken."""

import io
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn
from threading import Event
from typing import Any, assert_never
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from flask import Flask, Response, request

from bridge.sandbox.replies import Reply, SendMode

MAX_BODY_BYTES = 1024 * 1024
# Python's http.client stops reading after a hundred headers.
DRIPPED_HEADERS = 90
# Where a request's environ has its connection.
SOCKET = "sandbox.socket"


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
            _drip_headers(reply, environ[SOCKET], stopping)
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
    """An HTTP handler that calls a WSGI application, and keeps connections open, as HubSpot does."""

    server: "Server"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # buffered, so that head and body are sent in one packet

    # wsgiref's own method answers one request, and closes the connection.
    handle = BaseHTTPRequestHandler.handle

    def do_GET(self) -> None:  # noqa: N802 - http.server calls the method of this name
        """Answer a request; raise ClosedOnPurposeError after breaking a response on purpose."""
        # A client of a proxy sends the scheme and the host, too (RFC 9112, 3.2.2).
        self.path = re.sub(r"^https?://[^/?]*", "", self.path, flags=re.IGNORECASE)
        environ = self.get_environ() | {
            "wsgi.url_scheme": "http",
            "wsgi.errors": self.get_stderr(),
            "wsgi.input": io.BytesIO(self._body()),
            "wsgi.input_terminated": True,
            SOCKET: self.connection,
        }
        parts = self.server.app(environ, self._start)
        try:
            for part in parts:
                self._send_head()
                self.wfile.write(part)
                self.wfile.flush()
            self._send_head()
        finally:
            parts.close()  # type: ignore[attr-defined]  # Flask's iterables have it.

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - as above

    def _body(self) -> bytes:
        self.wfile.flush()  # sends 100 Continue, if the caller has asked for it
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            return self._chunks()
        if length.isdecimal() and int(length) <= MAX_BODY_BYTES:
            return self.rfile.read(int(length))
        # Unread bytes would be parsed as the next request.
        self.close_connection = True
        return b""

    def _chunks(self) -> bytes:
        body = b""
        try:
            while (
                len(body) <= MAX_BODY_BYTES
                and (size := int(self.rfile.readline(100).partition(b";")[0], 16)) > 0
            ):
                body += self.rfile.read(min(size, MAX_BODY_BYTES + 1))
                self.rfile.readline(2)
        except ValueError as error:
            raise ClosedOnPurposeError from error
        return body

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

    def log_message(self, *_arguments: object) -> None:
        """Log nothing: the ledger counts requests."""


class Server(ThreadingMixIn, WSGIServer):
    """A threaded server that knows its open connections, so that `end_connections` can close them."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, app: Flask) -> None:
        self._open: set[socket.socket] = set()
        self.app = app
        super().__init__((host, port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection's requests, until a fault breaks off a response or the caller hangs up."""
        try:
            with suppress(ConnectionError):
                super().finish_request(request, client_address)
        finally:
            self._open.discard(request)

    def end_connections(self) -> None:
        """Close all open connections."""
        for connection in tuple(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
