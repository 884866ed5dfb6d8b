"""An id for each request, and a log line for each answer."""

import re
import time
from secrets import token_hex

import structlog
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

log = structlog.get_logger()

HEADER = "X-Request-Id"
# What a client, or a router on the way, may call its request.
_SANE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
# These are asked for every few seconds, by machines.
_UNLOGGED = frozenset({"/healthz", "/readyz", "/metrics"})


def add_request_log(app: Flask) -> None:
    """Give every request of the application its id and its line. To be called before anything else is added."""
    app.before_request(_begin)
    app.after_request(_end)


def new_request_id() -> str:
    """Return an id that no other request has."""
    return token_hex(8)


def _begin() -> None:
    given = request.headers.get(HEADER, "")
    g.request_id = given if _SANE.fullmatch(given) else new_request_id()
    g.began_at = time.monotonic()
    # Threads are used again: each line that this request causes has its id, and no other line has.
    clear_contextvars()
    bind_contextvars(request_id=g.request_id)


def _end(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    # As the OpenAPI document writes it.
    route = re.sub(r"<\w+:(\w+)>", r"{\1}", request.url_rule.rule) if request.url_rule else None
    if route not in _UNLOGGED:
        log.info(
            "request",
            method=request.method,
            route=route,
            status=response.status_code,
            duration_ms=round((time.monotonic() - g.began_at) * 1000),
            client=g.get("client"),
        )
    clear_contextvars()
    return response
