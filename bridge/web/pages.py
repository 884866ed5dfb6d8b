"""Serves `/openapi.json`, its page `/docs`, and `/problems/<name>`, a page for each type of problem."""

import json
from collections.abc import Sequence
from functools import cache

from flask import Flask, Response, abort, render_template, send_from_directory

from bridge import __version__
from bridge.web.openapi import document
from bridge.web.operations import Operation
from bridge.web.problems import PROBLEM_TYPES

# Scripts come from this server only, and connect to this server only. Inline styles are allowed, because the editor
# in `/docs` writes some.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CACHED = "public, max-age=300"


def add_pages(app: Flask, operations: Sequence[Operation], public_url: str | None) -> None:
    """Add the routes of this module to the application.

    `operations` are those that the OpenAPI document describes. `public_url` is the URL of this bridge; None when it
    is not known.
    """
    text = cache(lambda: json.dumps(document(operations, public_url)))

    @app.get("/openapi.json")
    def openapi_json() -> Response:
        return Response(text(), headers={"Cache-Control": CACHED}, content_type="application/json")

    @app.get("/docs")
    def docs() -> Response:
        # The version is part of the scripts' URLs, so that browsers load them anew after an upgrade.
        return _page("docs.html", version=__version__)

    @app.get("/docs/scalar.js")
    def scalar() -> Response:
        # The file is stored compressed, because compressing it takes a tenth of a second.
        script = send_from_directory(
            app.static_folder or "", "scalar/standalone.js.gz", mimetype="text/javascript", max_age=86_400
        )
        script.headers["Content-Encoding"] = "gzip"
        return script

    @app.get("/problems/<name>")
    def problem(name: str) -> Response:
        cause = PROBLEM_TYPES.get(name)
        return _page("problem.html", name=name, cause=cause) if cause else abort(404)


def _page(template: str, **values: object) -> Response:
    headers = {"Cache-Control": CACHED, "Content-Security-Policy": PAGE_POLICY}
    return Response(
        render_template(template, **values), headers=headers, content_type="text/html; charset=utf-8"
    )
