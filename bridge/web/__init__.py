"""Incoming HTTP: the REST API (`api`), its OpenAPI document and `/docs`, and the admin pages (`admin`).

For each API request, Flask calls a view made by `serving`. The view authenticates the caller (`auth`), unless anybody
may call the operation, and validates the body and the query (`strict_json`, `request_models`). Then it calls the
operation in `api`, and sends what the operation returns: a Reply, or a Problem (an error response).
"""

from bridge.web.app import create_app
from bridge.web.dependencies import Dependencies

__all__ = ["Dependencies", "create_app"]
