"""Incoming HTTP: the REST API (`api`), its OpenAPI document and `/docs`, and the admin pages (`admin`).

The path of an API request: Flask calls a view made by `serving`, which authenticates the caller (`auth`), validates
the body and the query (`strict_json`, `requests`), and calls one of the operations in `api`. An operation returns a
Reply or a Problem.
"""

from bridge.web.app import create_app
from bridge.web.dependencies import Dependencies

__all__ = ["Dependencies", "create_app"]
