"""The OpenAPI document as `/openapi.json`, the page for people that is made from it, and what problems mean."""

import json
from collections.abc import Sequence
from functools import cache

from flask import Flask, Response, abort, render_template, send_from_directory

from bridge import __version__
from bridge.web.openapi import document
from bridge.web.operations import Operation
from bridge.web.problems import CAUSES

# No script but the bridge's own files runs, and none asks anybody but this bridge. Styles are let in, because the
# editor in the page writes its own.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CACHED = "public, max-age=300"


def add_pages(app: Flask, operations: Sequence[Operation], public_url: str | None) -> None:
    """Add the document and the pages; the document is made when it is first asked for."""
    text = cache(lambda: json.dumps(document(operations, public_url)))

    def openapi_json() -> Response:
        return Response(text(), headers={"Cache-Control": CACHED}, content_type="application/json")

    def docs() -> Response:
        # With another version of the bridge, browsers fetch the scripts anew.
        return _page("docs.html", version=__version__)

    def scalar() -> Response:
        # It is kept as browsers get it: to compress it for each would take a tenth of a second.
        script = send_from_directory(
            app.static_folder or "", "scalar/standalone.js.gz", mimetype="text/javascript", max_age=86_400
        )
        script.headers["Content-Encoding"] = "gzip"
        return script

    def problem(name: str) -> Response:
        cause = CAUSES.get(name)
        return _page("problem.html", name=name, cause=cause) if cause else abort(404)

    app.add_url_rule("/openapi.json", view_func=openapi_json, provide_automatic_options=False)
    app.add_url_rule("/docs", view_func=docs, provide_automatic_options=False)
    app.add_url_rule("/docs/scalar.js", view_func=scalar, provide_automatic_options=False)
    app.add_url_rule("/problems/<name>", view_func=problem, provide_automatic_options=False)


def _page(template: str, **values: object) -> Response:
    headers = {"Cache-Control": CACHED, "Content-Security-Policy": PAGE_POLICY}
    return Response(
        render_template(template, **values), headers=headers, content_type="text/html; charset=utf-8"
    )
