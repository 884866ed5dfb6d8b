"""Reads the bodies of requests, within a limit of size."""

from functools import lru_cache
from typing import Any

from flask import Request
from werkzeug.http import parse_options_header

from bridge.web.problems import Problem
from bridge.web.strict_json import NotJson, loads

# Werkzeug raises a 413 when Content-Length is larger. waitress sets it for chunked bodies, too.
LARGEST_BYTES = 1024 * 1024
TOO_LARGE = Problem(status=413, detail="The body is larger than 1 MiB.")


def read_json(request: Request) -> Any:
    """Return the JSON body as Python objects (see `strict_json.loads`), or a 400 or 415 Problem."""
    if problem := _problem_with_type(request):
        return problem
    try:
        return loads(request.get_data())
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
