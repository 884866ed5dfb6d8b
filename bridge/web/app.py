"""Builds the Flask application: the REST API, its OpenAPI document, and the admin pages."""

import re
from functools import partial

from flask import Flask, Request, abort, request
from werkzeug.routing import BaseConverter, MapAdapter, UnicodeConverter

from bridge.core.parsing import NAME
from bridge.web.admin import add_admin
from bridge.web.api import (
    account_checks,
    accounts,
    changes,
    clients,
    exports,
    health,
    imports,
    metrics,
    registrations,
    summary,
    test_callbacks,
    watches,
)
from bridge.web.bodies import LARGEST_BYTES
from bridge.web.compression import compress
from bridge.web.dependencies import Dependencies
from bridge.web.errors import problem_of
from bridge.web.operations import Operation
from bridge.web.pages import add_pages
from bridge.web.request_log import add_request_log
from bridge.web.security_headers import add_security_headers
from bridge.web.serving import respond, serve

# A path that begins with one slash, after a scheme and a host or without them.
_PLAIN_ADDRESS = re.compile(r"(https?://[^/?]*)?(/(?!/|%2f)[^\t]*)?", re.IGNORECASE)
RESOURCES = (
    registrations.resource,
    imports.resource,
    watches.resource,
    exports.resource,
    changes.resource,
    test_callbacks.resource,
    summary.resource,
    accounts.resource,
    account_checks.resource,
    clients.resource,
    health.resource,
    metrics.resource,
)


class _Name(BaseConverter):
    regex = NAME.pattern


class _Application(Flask):
    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the router for `request`; a request for a WebSocket gets the same routes as any other."""
        adapter = super().create_url_adapter(request)
        if adapter:
            adapter.websocket = False
        return adapter


def create_app(dependencies: Dependencies) -> Flask:
    """Return the Flask application; until a request comes, it opens no database connection and starts no thread."""
    app = _Application(__name__)
    app.config |= {"MAX_CONTENT_LENGTH": LARGEST_BYTES, "PROVIDE_AUTOMATIC_OPTIONS": False}
    app.url_map.merge_slashes = False
    # Paths may be sent with one more slash at the end.
    app.url_map.strict_slashes = False
    add_request_log(app, dependencies.counters)
    app.url_map.converters |= {"watch_id": UnicodeConverter, "name": _Name}
    operations = [operation for resource in RESOURCES for operation in resource.operations]
    for operation in operations:
        _route(app, dependencies, operation)
    add_pages(app, operations, dependencies.public_url)
    add_admin(app, dependencies)
    app.register_error_handler(Exception, lambda error: respond(problem_of(error)))
    app.before_request(_refuse_leading_slashes)
    app.after_request(add_security_headers)
    app.after_request(compress)
    return app


def _refuse_leading_slashes() -> None:
    # waitress and Werkzeug read addresses such as `//metrics`, `metrics` and `/\t/x/metrics` as `/metrics`, past a proxy's
    # rule that blocks only `/metrics`. So the address is judged as it was sent: a scheme and a host may come first.
    if not _PLAIN_ADDRESS.fullmatch(request.environ["REQUEST_URI"]):
        abort(404)


def _route(app: Flask, dependencies: Dependencies, operation: Operation) -> None:
    app.add_url_rule(
        re.sub(r"\{(\w+)\}", r"<\1:\1>", operation.path),
        endpoint=operation.name,
        view_func=partial(serve, dependencies, operation),
        methods=[operation.method],
        # `/metrics/` is answered with a 404: a proxy's rule that blocks only `/metrics` does not match it.
        strict_slashes=not operation.path.startswith("/v1/"),
    )
