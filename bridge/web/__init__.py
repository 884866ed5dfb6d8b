"""Listens: the REST API, its document and its page; `admin`, the operators' page; auth, errors, templates.

A request: `app` routes it to `serving`, which asks `auth` who calls, reads `bodies` into the models of `fields`,
and hands them to one of the operations in `resources`. What comes back is a Reply or a Problem.
"""

from bridge.web.app import create_app
from bridge.web.dependencies import Dependencies

__all__ = ["Dependencies", "create_app"]
