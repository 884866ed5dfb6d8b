"""An id for each request; a log line and a count for each answer."""

import re
import time
from functools import partial
from http import HTTPMethod
from secrets import token_hex

import structlog
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

from bridge.core.counters import API_DURATION, API_REQUESTS
from bridge.db.counters import Counters

log = structlog.get_logger()

HEADER = "X-Request-Id"
# What a client, or a router on the way, may call its request.
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
# These are asked for every few seconds, by machines.
_UNLOGGED = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = frozenset(HTTPMethod)


def add_request_log(app: Flask, counters: Counters) -> None:
    """Give every request of the application its id, its line and its count.

    To be called before anything else is added.
    """
    app.before_request(_begin)
    app.after_request(partial(_end, counters))


def new_request_id() -> str:
    """Return an id that no other request has."""
    return token_hex(8)


def _begin() -> None:
    given = request.headers.get(HEADER, "")
    g.request_id = given if _VALID_ID.fullmatch(given) else new_request_id()
    g.began_at = time.monotonic()
    # Threads are used again: each line that this request causes has its id, and no other line has.
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)


def _end(counters: Counters, response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    # As the OpenAPI document writes it.
    route = re.sub(r"<\w+:(\w+)>", r"{\1}", request.url_rule.rule) if request.url_rule else None
    seconds = time.monotonic() - g.began_at
    # Clients may make up methods and paths; what they are counted by must stay few.
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
