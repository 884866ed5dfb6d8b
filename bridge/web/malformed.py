"""What cannot be read as HTTP: the problem with it, and the answer where no request came of it.

The sentences are fixed: what a client sent, perhaps a key in the wrong place, is not repeated.
"""

from email.utils import formatdate
from http import HTTPStatus

from gunicorn.http import errors

from bridge.web.headers import HEADERS
from bridge.web.problems import MEDIA_TYPE, Problem

_REFUSALS = {
    errors.ChunkMissingTerminator: (400, "A chunk of the body is longer than it says, or cut short."),
    errors.ExpectationFailed: (417, "The only expectation that can be met is 100-continue."),
    errors.InvalidChunkExtension: (400, "An extension of a chunk of the body is malformed."),
    errors.InvalidChunkSize: (400, "The size of a chunk of the body is malformed."),
    errors.InvalidHTTPVersion: (400, "Only HTTP/1.0 and HTTP/1.1 are spoken here."),
    errors.InvalidHeader: (400, "A header has a malformed value, or one that contradicts another."),
    errors.InvalidHeaderName: (400, "A header's name is malformed."),
    errors.InvalidRequestLine: (400, "The request line is malformed."),
    errors.InvalidRequestMethod: (400, "The method's name is malformed."),
    errors.LimitRequestHeaders: (431, "The headers are too many or too long."),
    errors.LimitRequestLine: (414, "The address is too long."),
    errors.UnsupportedTransferCoding: (501, "The only transfer coding that is understood is chunked."),
}


def problem(error: errors.ParseException) -> Problem:
    """Say what is wrong with a request that cannot be read."""
    status, detail = _REFUSALS.get(type(error), (400, "The request is not well-formed HTTP."))
    return Problem(status=status, detail=detail)


def is_clients_fault(error: BaseException) -> bool:
    """Tell whether it is the request that is malformed, and not our answer or a setting."""
    ours = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)
    return isinstance(error, errors.ParseException) and not isinstance(error, ours)


def answer(problem: Problem) -> bytes:
    """Write a problem as the last answer on its connection."""
    body = problem.text().encode()
    headers = {
        **HEADERS,
        "Connection": "close",
        "Content-Length": str(len(body)),
        "Content-Type": MEDIA_TYPE,
        "Date": formatdate(usegmt=True),
    }
    head = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{head}\r\n".encode() + body
