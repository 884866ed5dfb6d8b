"""HTTP in: the REST API (`api`), its OpenAPI document and `/docs`, and the operators' page (`admin`).

The path of a request: `app` routes it to `serving`, which authenticates the caller (`auth`), validates body and query
(`strict_json`, `requests`), and calls one of the operations in `api`. An operation returns a Reply or a Problem.
"""

from bridge.web.app import create_app
from bridge.web.dependencies import Dependencies

__all__ = ["Dependencies", "create_app"]
