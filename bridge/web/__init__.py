"""Incoming HTTP: the REST API (`api`), its OpenAPI document and `/docs`, and the admin pages (`admin`).

For each API request, Flask calls a view made by `serving`. The view authenticates the caller (`auth`), validates the
body and the query (`strict_json`, `request_models`), and calls one of the operations in `api`. The operation returns a
Reply, or a Problem (an error response), which the view sends.
"""

from bridge.web.app import create_app
from bridge.web.dependencies import Dependencies

__all__ = ["Dependencies", "create_app"]
