"""The admin pages under `/admin`, for operators: a Flask blueprint with a module for each page.

Where the API has an operation for a change, the page calls that operation, as the signed-in admin.
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
from bridge.web.dependencies import Dependencies

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

# How long browsers cache style sheets and scripts. After an upgrade, they may use the old files for that long.
STATIC_SECONDS = 300


def add_admin(app: Flask, dependencies: Dependencies) -> None:
    """Add the admin pages to the application. The pages use `dependencies`, as the REST API does."""
    app.extensions[EXTENSION] = dependencies
    session.add_sessions(app, dependencies.cipher)
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = STATIC_SECONDS
    # CSRF is checked by the blueprint only: the API uses no cookies.
    app.config |= {"WTF_CSRF_CHECK_DEFAULT": False, "WTF_CSRF_TIME_LIMIT": None}
    CSRFProtect(app)
    app.register_blueprint(admin)
