"""What nobody answered, answered as a problem: no route, a database that is away, a fault of ours."""

import structlog
from flask import Flask, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException

from bridge.db.engine import is_away
from bridge.web import outages
from bridge.web.problems import Problem
from bridge.web.serving import respond
from bridge.web.strict_json import TOO_LARGE

log = structlog.get_logger()

_DETAILS = {
    404: "There is no such path.",
    405: "This path does not know the method.",
    413: TOO_LARGE.detail,
}


def add_handlers(app: Flask) -> None:
    """See that every error of a request becomes a problem."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(DBAPIError, _database)
    app.register_error_handler(PoolTimeout, _away)
    app.register_error_handler(Exception, _fault)


def _http(error: HTTPException) -> Response:
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    detail = _DETAILS.get(error.code or 500) or error.description or "The request cannot be served."
    cause = "unknown-path" if error.code == 404 else None
    return respond(Problem(status=error.code or 500, detail=detail, cause=cause, headers=headers))


def _database(error: DBAPIError) -> Response:
    return _away(error) if is_away(error) else _fault(error)


def _away(error: Exception) -> Response:
    why = outages.why(error)
    log.warning("database_away", error=type(getattr(error, "orig", error)).__name__, why=why)
    detail = why or "The database cannot be reached."
    return respond(Problem(status=503, detail=detail, cause="database-away", headers={"Retry-After": "5"}))


def _fault(error: Exception) -> Response:
    log.error("request_failed", exc_info=error)
    return respond(Problem(status=500, detail="The bridge failed; its log says why."))
