"""Gives each request an id, and counts and logs the responses.

Responses on the routes for monitoring are counted, but not logged.
"""

import re
import time
from http import HTTPMethod
from secrets import token_hex

import structlog
from flask import Flask, Response, current_app, g, request
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars

from bridge.core.counters import API_DURATION, API_REQUESTS
from bridge.db.counters import Counters

log = structlog.get_logger()

HEADER = "X-Request-Id"
# The form of an id that is accepted from a client or a router.
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
# Routes whose requests are not logged, because monitoring sends one every few seconds.
_UNLOGGED = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = frozenset(HTTPMethod)
# Where the application keeps the counters of its process.
_EXTENSION = "request-log"


def add_request_log(app: Flask, counters: Counters) -> None:
    """Make the application give each request an id, and count and log the responses.

    Responses on the routes for monitoring are counted, but not logged. Call this before other handlers are
    added, because they need the id.
    """
    app.extensions[_EXTENSION] = counters
    app.before_request(_begin)
    app.after_request(_end)


def record_server_response(app: Flask, status: int, sent_id: str) -> str:
    """Log and count a response by the HTTP server itself; return the request's id.

    `sent_id` is the request's header X-Request-Id, '' when the header was not received. If `sent_id` is valid, it is
    the request's id; if not, the request gets a new id.
    """
    request_id = _request_id(sent_id)
    counters: Counters = app.extensions[_EXTENSION]
    # With a 500, the application failed; with any other status, the server refused the request.
    counters.inc(API_REQUESTS, "other", "none" if status == 500 else "unparsed", f"{status // 100}xx")
    with bound_contextvars(request_id=request_id):
        log.info("request", method=None, route=None, status=status, duration_ms=None, client=None)
    return request_id


def _request_id(sent: str) -> str:
    return sent if _VALID_ID.fullmatch(sent) else token_hex(8)


def _begin() -> None:
    g.request_id = _request_id(request.headers.get(HEADER, ""))
    g.began_at = time.monotonic()
    # Every log line of this request gets the id. Threads are reused: what an earlier request has bound is cleared.
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    counters: Counters = current_app.extensions[_EXTENSION]
    response.headers[HEADER] = g.request_id
    # In the form of the OpenAPI document, such as `/v1/watches/{watch_id}`. A converter of Flask may have arguments.
    route = re.sub(r"<[^<>]*?(\w+)>", r"{\1}", request.url_rule.rule) if request.url_rule else None
    seconds = time.monotonic() - g.began_at
    # Clients may send any method and path; the number of label values must stay small.
    counted = (request.method if request.method in _METHODS else "other", route or "none")
    counters.inc(API_REQUESTS, *counted, f"{response.status_code // 100}xx")
    counters.observe(API_DURATION, seconds, *counted)
    if route not in _UNLOGGED:
        log.info(
            "request",
            method=request.method,
            route=route,
            status=response.status_code,
            duration_ms=round(seconds * 1000),
            client=g.get("client"),
        )
    clear_contextvars()
    return response
