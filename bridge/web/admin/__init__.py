"""The operators' page, `/admin`: a Flask blueprint with one module for each part of it.

Whatever it changes, it changes with the API's own operations, on behalf of the admin whose key signed in.
"""

from flask import Flask
from flask_wtf import CSRFProtect

from bridge.web.admin import (
    accounts,
    clients,
    hosts,
    overview,
    session,
    sign_in,
    template_filters,
    watch,
    watches,
)
from bridge.web.admin.blueprint import EXTENSION, admin
from bridge.web.serving import Server

__all__ = [
    "accounts",
    "add_admin",
    "clients",
    "hosts",
    "overview",
    "sign_in",
    "template_filters",
    "watch",
    "watches",
]

# After an upgrade, a browser may use the old style and script for so long.
STATIC_SECONDS = 300


def add_admin(app: Flask, server: Server) -> None:
    """Add the page. `server` is what it shares with the API."""
    app.extensions[EXTENSION] = server
    session.add_sessions(app, server.dependencies.cipher)
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = STATIC_SECONDS
    # The API has no cookies to forge a request with: the blueprint alone checks its forms.
    app.config |= {"WTF_CSRF_CHECK_DEFAULT": False, "WTF_CSRF_TIME_LIMIT": None}
    CSRFProtect(app)
    app.register_blueprint(admin)
