"""Each thread's HTTP connections: opened within a deadline, and kept; a guard may refuse addresses."""

import functools
import re
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, LineTooLong, RemoteDisconnected
from io import BufferedReader
from socket import socket
from typing import Any, TypeAlias

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

from bridge.http.deadline import Blocked, Deadline, Resolver, SocketOptions, Unreachable, connect

# Returns why a connection to an address is refused, as a sentence; None when it is allowed.
Guard: TypeAlias = Callable[[str], str | None]

# By default, a thread keeps idle connections to at most this many hosts.
HOSTS_PER_THREAD = 4

# A request on a kept connection that the server has closed fails within a round trip: half a second at the most.
STALE_WITHIN_SECONDS = 1.0


@dataclass(slots=True)
class Exchange:
    """One try to send a request, and what happened to its connection.

    `opened` is true when a new connection was opened for the request, `reused` when a kept connection was used.
    `sent` is true as soon as the request may have reached the server, `answered` as soon as a response has begun.
    Without a `guard`, every address is allowed.
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
        self.deadline.attach(connection)
        self.opened = True
        return connection

    def reuse(self, connection: socket) -> None:
        self.deadline.attach(connection)
        self.reused = True
        self.begin_sending()

    def begin_sending(self) -> None:
        """Record that the request may reach the server from now on; raise Unreachable if the time is over."""
        # The process may have been suspended while it connected, and somebody else may have sent the same since.
        if self.deadline.passed:
            raise Unreachable(str(self.deadline))
        self.sent = True

    def was_stale(self) -> bool:
        """Return whether this try, which failed, used a kept connection that the server had likely closed."""
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
    """The Exchange of the current thread: urllib3 gives no way to pass it to the connections as an argument."""

    exchange: Exchange


in_progress = _InProgress()


# _FIELD is a header line (RFC 9110, 5.1 and 5.5) or a header's continuation line, _END the empty line after the
# headers. Some servers end lines with CR CR LF. _INTERIM is how an interim response begins (RFC 9110, 15.2).
_FIELD = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:|[ \t])[^\r\n]*\r*\n")
_END = re.compile(rb"\r*\n")
_INTERIM = re.compile(rb"(HTTP/1\S*\s+)1\d\d\b")
MOST_SKIPPED = 100  # malformed lines; http.client accepts as many headers


class _Reader(BufferedReader):
    """Reads one response: skips malformed lines among the headers, and gives each interim response the status 100.

    http.client skips a 100 by itself, but would return another interim response, such as a 103, as the final one. The
    first byte of any response, interim or final, sets `Exchange.answered`.
    """

    def __init__(self, connection: socket) -> None:
        super().__init__(connection.makefile("rb", buffering=0))
        self._begins = self._in_head = True
        self._interim = False
        self._skipped = 0

    def readline(self, limit: int | None = -1, /) -> bytes:
        if not self._in_head:
            return super().readline(limit)
        line = self._line(limit)
        if self._begins:
            self._begins, self._interim = False, _INTERIM.match(line) is not None
            return _INTERIM.sub(rb"\g<1>100", line)
        skips = False
        # http.client would take a malformed line for the end of the headers.
        while not _END.fullmatch(line) and (not _FIELD.fullmatch(line) or (skips and line[0] in b" \t")):
            skips = True
            self._skip()
            line = self._line(limit)
        if _END.fullmatch(line):
            self._begins = self._in_head = self._interim
        return line.rstrip(b"\r\n") + b"\r\n"

    def _line(self, limit: int | None) -> bytes:
        in_progress.exchange.answered |= bool(self.peek(1))
        line = super().readline(limit)
        if line.endswith(b"\n"):
            return line
        if len(line) == limit:
            raise LineTooLong("a line of the response")
        raise RemoteDisconnected("The connection ended among the headers.")

    def _skip(self) -> None:
        self._skipped += 1
        if self._skipped > MOST_SKIPPED:
            raise HTTPException("More lines than headers there may be.")


class _Incoming:
    """Stands in for a socket: has the only method of a socket that HTTPResponse calls."""

    def __init__(self, connection: socket) -> None:
        self._connection = connection

    def makefile(self, _mode: str) -> _Reader:
        return _Reader(self._connection)


class _Response(HTTPResponse):
    """An HTTPResponse that reads its socket through a _Reader."""

    def __init__(self, sock: socket, *arguments: Any, **options: Any) -> None:
        super().__init__(_Incoming(sock), *arguments, **options)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    """An HTTPConnection that lets the current thread's Exchange open its socket, under the Exchange's deadline."""

    response_class = _Response

    def __init__(self, host: str, *arguments: Any, **options: Any) -> None:
        super().__init__(host, *arguments, **options)
        # Unlike `self.host`, this keeps a final dot, with which no search domain is tried.
        self._name = host.strip("[]")

    def _new_conn(self) -> socket:
        return in_progress.exchange.open(self._name, self.port, self.socket_options or ())

    def connect(self) -> None:
        super().connect()
        in_progress.exchange.begin_sending()

    def putrequest(self, *arguments: Any, **options: Any) -> None:
        if self.sock is not None and not in_progress.exchange.opened:
            in_progress.exchange.reuse(self.sock)
        super().putrequest(*arguments, **options)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Adapter(HTTPAdapter):
    """A `requests` adapter for one thread; keeps an idle connection to each of up to `hosts` hosts."""

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
        """Load no root certificates: the TLS context, which verifies the server, has them already."""

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """Return the target that stands in the request's first line (RFC 9112, 3.2)."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """Return a Response with only `raw` set: cookies and charsets from untrusted servers are not parsed."""
        response = Response()
        response.raw = resp
        return response


def _use_own_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


@functools.cache
def certifi_trust() -> ssl.SSLContext:
    """Return a TLS context that trusts certifi's root certificates, whatever REQUESTS_CA_BUNDLE says."""
    context = create_urllib3_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context
