"""Reads the bodies of requests, within a limit of size."""

from functools import lru_cache
from typing import Any

from flask import Request
from werkzeug.http import parse_options_header

from bridge.web.problems import Problem
from bridge.web.strict_json import NotJson, loads

LARGEST_BYTES = 1024 * 1024
# Werkzeug reads this much of a body without Content-Length, and ignores the rest. The one byte over the limit reveals
# that a body is too large.
READ_BYTES = LARGEST_BYTES + 1

TOO_LARGE = Problem(status=413, detail="The body is larger than 1 MiB.")


def body_bytes(request: Request) -> bytes | Problem:
    """Return the request's body, or a 413 Problem if it is too large; Werkzeug may raise a 413 instead."""
    body = request.get_data()
    return TOO_LARGE if len(body) > LARGEST_BYTES else body


def read_json(request: Request) -> Any:
    """Return the request's body as Python objects, as `loads` does, or a 400, 413 or 415 Problem."""
    if problem := _problem_with_type(request):
        return problem
    body = body_bytes(request)
    if isinstance(body, Problem):
        return body
    try:
        return loads(body)
    except NotJson as wrong:
        return Problem(status=400, detail=f"The body cannot be read as JSON: {wrong}.")


def _problem_with_type(request: Request) -> Problem | None:
    encoding = request.headers.get("Content-Encoding", "identity")
    if _is_json(request.headers.get("Content-Type", "")) and encoding.lower() == "identity":
        return None
    return Problem(status=415, detail="The body must be application/json, in UTF-8, not compressed.")


@lru_cache(maxsize=64)  # nearly all requests have one of few values
def _is_json(content_type: str) -> bool:
    media_type, parameters = parse_options_header(content_type)
    charset = parameters.get("charset", "utf-8").lower()
    return media_type.lower() == "application/json" and charset in ("utf-8", "utf8")
