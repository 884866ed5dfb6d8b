"""Sends HTTP requests, each within one deadline from start to end, and explains failures in words.

Environment variables (proxies, CA bundles) and `.netrc` are not read, no redirect is followed, no cookie is kept.
"""

import re
import ssl
import threading
import weakref
from collections.abc import Callable, Mapping
from http.client import (
    BadStatusLine,
    HTTPException,
    InvalidURL,
    LineTooLong,
    RemoteDisconnected,
    UnknownProtocol,
)
from math import inf
from typing import Any

from requests import PreparedRequest
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, InvalidHeader

from bridge.core.http_results import HttpResponse, NoResponse
from bridge.http.connections import HOSTS_PER_THREAD, Adapter, Exchange, Guard, certifi_trust, in_progress
from bridge.http.deadline import Blocked, Deadline, Lookup, Resolver, Unreachable, system_lookup

_PIECE_BYTES = 16_384
_FAILURES = (OSError, HTTPError, HTTPException, ValueError, Unreachable)


class Transport:
    """Sends HTTP requests, each within `timeout_seconds` from the name look-up to the end of the body.

    At most `body_limit` bytes of a body are kept. `guard` may refuse addresses; without a guard, every address is
    allowed. `proxy` is the http or https URL of a proxy for all requests; if there is a proxy, `guard` is not called.
    Thread-safe, but a process that has sent a request must not fork: the child's requests could take longer than
    `timeout_seconds`.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        body_limit: int,
        proxy: str | None = None,
        guard: Guard | None = None,
        lookup: Lookup = system_lookup,
        tls: ssl.SSLContext | None = None,
        hosts_per_thread: int = HOSTS_PER_THREAD,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._body_limit = body_limit
        self._proxies = {"all": proxy} if proxy else None
        self._guard = None if proxy else guard
        self._tls = tls or certifi_trust()
        self._hosts_per_thread = hosts_per_thread
        self._lock = threading.Lock()
        self._own = threading.local()
        self._adapters: weakref.WeakSet[Adapter] = weakref.WeakSet()
        self._resolver = Resolver(lookup)

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        repeatable: bool = True,
        within_seconds: float = inf,
    ) -> HttpResponse | NoResponse:
        """Send one request and return the response; without a response, return a NoResponse with the reason.

        The time limit is the shorter of `timeout_seconds` and `within_seconds`. `headers` must hold neither
        `Content-Length` nor `Accept-Encoding`. By default, a kept connection may be used. The server may have closed
        a kept connection already; when this is the likely reason for a failure, the request is sent a second time,
        within the same time limit. With `repeatable=False`, a new connection is used, and the request is sent at most
        once. Raises RuntimeError when a thread that is needed cannot be started.
        """
        if not repeatable:
            self._adapter().close()
        request = _prepared(method, url, headers, body)
        with Deadline(min(self._timeout_seconds, within_seconds)) as deadline:
            exchange = Exchange(deadline, self._resolver, self._guard)
            answer = self._send_once(request, exchange)
            if isinstance(answer, NoResponse) and exchange.was_stale():
                answer = self._send_once(request, Exchange(deadline, self._resolver, self._guard, sent=True))
        return answer

    def close(self) -> None:
        """Close the idle connections of every thread. Requests in flight go on."""
        with self._lock:
            adapters = tuple(self._adapters)
        for adapter in adapters:
            adapter.close()

    def _adapter(self) -> Adapter:
        adapter: Adapter | None = getattr(self._own, "adapter", None)
        if adapter is None:
            adapter = self._own.adapter = Adapter(self._tls, self._hosts_per_thread)
            with self._lock:
                self._adapters.add(adapter)
        return adapter

    def _send_once(self, request: PreparedRequest, exchange: Exchange) -> HttpResponse | NoResponse:
        in_progress.exchange = exchange
        try:
            response = self._adapter().send(
                request, stream=True, timeout=self._timeout_seconds, proxies=self._proxies
            )
        except _FAILURES as error:
            reason = self._proxy_prefix(error) + _reason(error, exchange.deadline)
            return NoResponse(reason=reason, blocked=isinstance(error, Blocked), sent=exchange.sent)
        return _answer(response.raw, self._body_limit, exchange.deadline)

    def _proxy_prefix(self, error: Exception) -> str:
        if self._proxies is None:
            return ""
        return "the proxy: " if isinstance(error, Unreachable) else "through the proxy: "


def _prepared(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> PreparedRequest:
    """Return a PreparedRequest, built directly: `Request.prepare` would parse more than is needed.

    `url` is not changed; urllib3 encodes it later. The PreparedRequest gets `headers`, an `Accept-Encoding` and, with
    a body, a `Content-Length`.
    """
    request = PreparedRequest()
    request.method, request.url, request.body = method, url, body
    own = {"Accept-Encoding": "identity"}
    if body is not None:
        own["Content-Length"] = str(len(body))
    request.headers = {**headers, **own}  # type: ignore[assignment]  # a dict serves urllib3 and is faster
    return request


def _answer(raw: BaseHTTPResponse, body_limit: int, deadline: Deadline) -> HttpResponse:
    body = bytearray()
    complete = _read_into(body, raw, body_limit) and not deadline.passed
    if not complete:
        raw.close()
    headers = {name.lower(): value for name, value in raw.headers.iteritems()}
    return HttpResponse(
        status_code=raw.status, headers=headers, body=bytes(body[:body_limit]), complete=complete
    )


def _read_into(body: bytearray, raw: BaseHTTPResponse, limit: int) -> bool:
    """Read a response into `body`; return whether the whole response body has at most `limit` bytes.

    At most `limit` + 1 bytes are read. An error while reading is not raised; the result is then False.
    """
    try:
        while not raw.closed:
            if len(body) > limit:
                return False
            body += raw.read1(min(_PIECE_BYTES, limit + 1 - len(body)), decode_content=False)
    except _FAILURES:
        return False
    return len(body) <= limit


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    return f"TLS: {(error.reason or 'the connection failed').replace('_', ' ').lower()}"


def _too_many_reason(error: HTTPException) -> str:
    """Return why a request failed: too many headers, or too many interim (1xx) responses.

    `error` is an HTTPException itself, not one of its subclasses.
    """
    if "interim" in str(error):
        return "the server sent more than 100 interim answers"
    return "the server's answer has more than 100 headers"


# The reason for each class of error; the first class that fits the error or one of its causes decides.
_REASONS: tuple[tuple[type[BaseException], str | Callable[[Any], str]], ...] = (
    (ssl.SSLError, _tls_reason),
    (RemoteDisconnected, "the server closed the connection without an answer"),
    (ConnectionError, "the server reset the connection"),
    (LineTooLong, "the server's answer has a line of more than 65,536 bytes"),
    (BadStatusLine, "the server's answer is not HTTP/1.1"),
    (UnknownProtocol, "the server's answer is not HTTP/1.1"),
    (InvalidHeader, "the server's answer has two lengths"),
    (InvalidURL, "the URL or a header of the request is not valid"),
    (HTTPException, _too_many_reason),
    (ValueError, "the URL or a header of the request is not valid"),
)


def _wrapped(error: BaseException) -> BaseException | None:
    # urllib3 hands on some errors of a proxy's tunnel as an argument alone.
    return next((argument for argument in error.args if isinstance(argument, BaseException)), None)


def _reason(error: BaseException, deadline: Deadline) -> str:
    """Return why a request failed; most errors' own texts are left out, as they may hold a secret or an address."""
    if isinstance(error, Unreachable):
        return str(error)
    if deadline.passed:
        return str(deadline)
    if tunnel := re.search(r"Tunnel connection failed: (\d{3})", str(error)):
        return f"CONNECT was answered with {tunnel[1]}"
    causes = [error]
    while (
        cause := causes[-1].__cause__ or causes[-1].__context__ or _wrapped(causes[-1])
    ) and cause not in causes:
        causes.append(cause)
    found = ((words, cause) for kind, words in _REASONS for cause in causes if isinstance(cause, kind))
    words, cause = next(found, ("the request failed", error))
    return words if isinstance(words, str) else words(cause)
