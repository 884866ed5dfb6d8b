"""Reads the bodies of requests, within a limit of size."""

from typing import Any

from flask import Request

from bridge.web.problems import Problem
from bridge.web.strict_json import NotJson, loads

# Werkzeug raises a 413 when Content-Length is larger. waitress sets it for chunked bodies, too.
LARGEST_BYTES = 1024 * 1024
TOO_LARGE = "The body is larger than 1 MiB."


def read_json(request: Request) -> Any:
    """Return the JSON body as Python objects (see `strict_json.loads`), or return a Problem.

    The Problem is a 415 when the body's type, charset or encoding is wrong, and a 400 when the body is not valid
    JSON.
    """
    if problem := _problem_with_type(request):
        return problem
    try:
        return loads(request.get_data())
    except NotJson as wrong:
        return Problem(status=400, detail=f"The body cannot be read as JSON: {wrong}.")


def _problem_with_type(request: Request) -> Problem | None:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if request.mimetype == "application/json" and charset in ("utf-8", "utf8") and encoding == "identity":
        return None
    return Problem(status=415, detail="The body must be application/json, in UTF-8, not compressed.")
