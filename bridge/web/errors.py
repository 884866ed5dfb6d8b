"""Turns exceptions into problems (RFC 9457): for an unknown path, a failing database, a bug of the bridge."""

import structlog
from werkzeug.exceptions import HTTPException

from bridge.db.engine import describe_outage, is_unavailable
from bridge.web.bodies import TOO_LARGE
from bridge.web.problems import Problem

log = structlog.get_logger()

_DETAILS = {
    404: "There is no such path.",
    405: "This path does not know the method.",
    413: TOO_LARGE,
}


def problem_of(error: Exception) -> Problem:
    """Return the Problem that answers an exception; log the exception unless it is an HTTPException.

    For an HTTPException, the Problem has the same status. When the database is away or cannot work, the status is
    503. For any other exception, it is 500.
    """
    match error:
        case HTTPException():
            return _http(error)
        case _ if is_unavailable(error):
            return _unavailable(error)
        case _:
            log.error("request_failed", exc_info=error)
            return Problem(status=500, detail="The bridge failed; its log says why.")


def _http(error: HTTPException) -> Problem:
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    detail = _DETAILS.get(error.code or 500) or error.description or "The request cannot be served."
    cause = "unknown-path" if error.code == 404 else None
    return Problem(status=error.code or 500, detail=detail, cause=cause, headers=headers)


def _unavailable(error: Exception) -> Problem:
    why = describe_outage(error)
    log.warning("database_away", error=type(getattr(error, "orig", error)).__name__, why=why)
    detail = why or "The database cannot be reached."
    return Problem(status=503, detail=detail, cause="database-away", headers={"Retry-After": "5"})
