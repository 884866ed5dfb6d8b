"""The connections that requests are sent over: dialled by us, watched by a deadline, kept per thread."""

import functools
import re
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from io import BufferedReader
from socket import socket
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

from bridge.http.deadline import Blocked, Deadline, Resolver, SocketOptions, connect

# Says why an address must not be dialled, as a sentence; None when it may be.
Guard: TypeAlias = Callable[[str], str | None]

# Hosts to which a thread keeps an idle connection, unless it is told otherwise.
HOSTS_PER_THREAD = 4

# A server that had closed a kept connection says so within a round trip, half a second at the most.
STALE_WITHIN_SECONDS = 1.0


@dataclass(slots=True)
class Try:
    """One try at a request, as its connection sees it.

    `sent` is true from when there is a connection that the request may have gone through.
    """

    deadline: Deadline
    resolver: Resolver
    guard: Guard | None
    opened: bool = False
    reused: bool = False
    sent: bool = False
    answered: bool = False

    def open(self, host: str, port: int, options: SocketOptions) -> socket:
        addresses = self._allowed(self.resolver.addresses(host, self.deadline))
        connection = connect(addresses, port, options, self.deadline)
        self.deadline.hold(connection)
        self.opened = True
        return connection

    def reuse(self, connection: socket) -> None:
        self.deadline.hold(connection)
        self.reused = self.sent = True

    def was_stale(self) -> bool:
        """Whether it failed because the server had closed a kept connection before it was used again."""
        at_once = self.deadline.spent_seconds < STALE_WITHIN_SECONDS and not self.deadline.passed
        return self.reused and not self.answered and at_once

    def _allowed(self, addresses: Sequence[str]) -> Sequence[str]:
        if self.guard is None:
            return addresses
        refusals = {address: self.guard(address) for address in addresses}
        allowed = [address for address, refusal in refusals.items() if refusal is None]
        if not allowed:
            raise Blocked(refusals[addresses[0]])
        return allowed


class _InProgress(threading.local):
    """The try that this thread is at: urllib3 has no other way to tell its connections."""

    attempt: Try


in_progress = _InProgress()


# A header (RFC 9110, 5.1 and 5.5) or the next line of one, and the end of a head. Some servers send CR CR LF.
_FIELD = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:|[ \t])[^\r\n]*\r*\n")
_END = re.compile(rb"\r*\n")
MOST_SKIPPED = 100  # lines of a head, as many as http.client takes headers


class _Head:
    """An answer's status line and headers, without the lines that are no headers.

    http.client takes the first such line for the end of the headers, and a cut among them too.
    """

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self._begins = True
        self._skipped = 0

    def readline(self, limit: int) -> bytes:
        line = self._line(limit)
        if self._begins or len(line) >= limit:
            self._begins = False
            return line
        skips = False
        while not _END.fullmatch(line) and (not _FIELD.fullmatch(line) or (skips and line[0] in b" \t")):
            skips = True
            self._skip()
            line = self._line(limit)
        # Behind an interim answer another one begins.
        self._begins = _END.fullmatch(line) is not None
        return line.rstrip(b"\r\n") + b"\r\n"

    def _line(self, limit: int) -> bytes:
        line = self._stream.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit:
            raise RemoteDisconnected("The connection ended among the headers.")
        return line

    def _skip(self) -> None:
        self._skipped += 1
        if self._skipped > MOST_SKIPPED:
            raise HTTPException("More lines than headers there may be.")

    def flush(self) -> None:
        """Do nothing: whoever closes an answer flushes it first."""

    def close(self) -> None:
        self._stream.close()


class _Response(HTTPResponse):
    """Notes that an answer began, and skips every interim answer, not only 100 (RFC 9110 §15.2).

    Taken for the answer, a 103 would leave the real one on the kept connection, for the next request.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stream = self.fp
        self.fp = _Head(self._stream)  # type: ignore[assignment]  # it has all that a head needs

    def begin(self) -> None:
        in_progress.attempt.answered = bool(self._stream.peek(1))
        super().begin()
        while self.status < 200:
            self.headers = self.msg = None  # type: ignore[assignment]  # begin() reads anew only then
            super().begin()
        self.fp = self._stream


class _Connection(HTTPConnection):
    """Dials through the try in progress, so that the deadline and the guard apply."""

    response_class = _Response

    def _new_conn(self) -> socket:
        return in_progress.attempt.open(self._dns_host, self.port, self.socket_options or ())

    def connect(self) -> None:
        super().connect()
        in_progress.attempt.sent = True

    def putrequest(self, *arguments: Any, **options: Any) -> None:
        if self.sock is not None and not in_progress.attempt.opened:
            in_progress.attempt.reuse(self.sock)
        super().putrequest(*arguments, **options)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Adapter(HTTPAdapter):
    """One thread's connections."""

    def __init__(self, tls: ssl.SSLContext, hosts: int = HOSTS_PER_THREAD) -> None:
        self._tls = tls
        super().__init__(pool_connections=hosts, pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=self._tls, **options)
        _use_own_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        options |= {"ssl_context": self._tls, "proxy_ssl_context": self._tls}
        manager = super().proxy_manager_for(proxy, **options)
        _use_own_pools(manager)
        return manager

    def cert_verify(self, conn: Any, url: str, verify: object, cert: object) -> None:
        """Load nothing: the TLS context has its roots, and to load certifi's takes 15 ms each time."""

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """The host's connections. Without a proxy, a URL is taken apart once, where requests does it four times."""
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        parts = urlsplit(request.url or "")
        return self.poolmanager.connection_from_host(parts.hostname, parts.port, parts.scheme)

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """What stands in the request's first line."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """The bare answer: no cookie or charset of a stranger is parsed."""
        response = Response()
        response.raw = resp
        return response


def _use_own_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


@functools.cache
def certifi_trust() -> ssl.SSLContext:
    """Verify servers by certifi's roots, as requests does, whatever the environment names."""
    context = create_urllib3_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context
