"""Serves the API's operations: authenticates and validates a request, calls the operation, and responds."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from flask import Request, Response, g, request

from bridge import tracing
from bridge.web.auth import Caller
from bridge.web.bodies import read_json
from bridge.web.dependencies import Dependencies
from bridge.web.idempotency import is_repeat
from bridge.web.operations import (
    WATCH_ID,
    Access,
    ApiCall,
    NoFields,
    NoParameters,
    Operation,
    Reply,
)
from bridge.web.problems import MEDIA_TYPE, FieldError, Problem
from bridge.web.rate_limits import rate_limit_headers
from bridge.web.request_models import Query, ValidationContext, validated
from bridge.web.security_headers import HEADERS

# The caller of an operation that needs no key.
_NOBODY = Caller(name="", admin=False)
# The answer to an id that no watch can have; the database is not asked.
NO_ID = Problem(
    status=404, detail="This is no id of a watch: those begin with wat_, as the registration answers."
)


def serve(dependencies: Dependencies, operation: Operation, **names: str) -> Response:
    """Carry out an operation for the current Flask request; `names` are the variable parts of its path."""
    return respond(_handle(dependencies, operation, names))


def _handle(dependencies: Dependencies, operation: Operation, names: dict[str, str]) -> Reply | Problem:
    now = dependencies.clock()
    caller = _authorize(dependencies, operation.access, now)
    if isinstance(caller, Problem):
        return caller
    g.client = caller.name or None
    if "watch_id" in names and not WATCH_ID.fullmatch(names["watch_id"]):
        return NO_ID
    call = ApiCall(dependencies=dependencies, caller=caller, now=now)
    # Routes that need no key accept any parameter: health checks may add one to get past caches.
    arguments = {} if operation.access is Access.OPEN else _accepted_arguments(operation, call)
    if isinstance(arguments, Problem):
        return arguments
    traced = tracing.read_traceparent(request.headers.get(tracing.HEADER))
    with tracing.span(f"{operation.method} {operation.path}", traced) as traceparent:
        answer: Reply | Problem = operation.run(replace(call, traceparent=traceparent), **names, **arguments)
    return _with_rate_limit(call, answer) if operation.opens_watches else answer


def _accepted_arguments(operation: Operation, call: ApiCall) -> dict[str, Any] | Problem:
    arguments = _arguments(operation, request, ValidationContext(call.dependencies))
    # What was accepted once is carried on, whatever has become of the accounts and the settings since.
    if isinstance(arguments, Problem) and is_repeat(call):
        return _arguments(operation, request, None)
    return arguments


def _with_rate_limit(call: ApiCall, answer: Reply | Problem) -> Reply | Problem:
    """Return `answer` with RateLimit headers, which tell how many more watches the caller may open.

    The headers are left out if the caller's open watches were not counted in the last minute.
    """
    registrar = call.dependencies.registrar
    left = registrar.remaining(call.caller.name, call.now)
    if left is None:
        return answer
    limit = rate_limit_headers(quota=registrar.limit, left=left)
    return replace(answer, headers={**answer.headers, **limit})


def _authorize(dependencies: Dependencies, access: Access, now: datetime) -> Caller | Problem:
    if access is Access.OPEN:
        return _NOBODY
    caller = dependencies.authenticator.caller(request.headers.get("Authorization"), now)
    if isinstance(caller, Caller) and access is Access.ADMIN and not caller.admin:
        return Problem(status=403, detail="Only an admin's API key may do this.")
    return caller


def respond(answer: Reply | Problem, request_id: str | None = None) -> Response:
    """Return the answer as a Flask response.

    A Problem shows the request's id: `request_id`, or, if `request_id` is None, the id of the current Flask request.
    Outside a Flask request, a Problem needs `request_id`.
    """
    if isinstance(answer, Problem):
        answer = Reply(
            text=answer.text(request_id or g.request_id),
            status=answer.status,
            headers=answer.headers,
            media_type=MEDIA_TYPE,
        )
    headers = {**HEADERS, **answer.headers}
    return Response(answer.text, answer.status, headers, content_type=answer.media_type)


def _arguments(
    operation: Operation, request: Request, context: ValidationContext | None
) -> dict[str, Any] | Problem:
    """Return the operation's arguments `query` and `body`, or a Problem if the request has an invalid one.

    The result has the key `query` or `body` only if the operation's function takes that argument. When `context` is
    None, nothing checks whether the account exists and the callback URL is allowed.
    """
    arguments: dict[str, Any] = {}
    if operation.query or request.query_string:
        query = _query(operation.query or NoParameters, request)
        if isinstance(query, Problem):
            return query
        arguments |= {"query": query} if operation.query else {}
    if operation.body or operation.method != "GET":
        body = _body(operation, request, context)
        if isinstance(body, Problem):
            return body
        arguments |= {"body": body} if operation.body else {}
    return arguments


def _body(operation: Operation, request: Request, context: ValidationContext | None) -> Any:
    """Return the validated body, or a Problem. The body may be absent when its model has no required field."""
    model = operation.body or NoFields
    if not operation.requires_body and not request.get_data():
        return validated(model, {}, context)
    body = read_json(request)
    return body if isinstance(body, Problem) else validated(model, body, context)


def _query(model: type[Query], request: Request) -> Query | Problem:
    arguments = request.args.to_dict(flat=False)
    lists = {name: ",".join(arguments.pop(name)) for name in model.LISTS if name in arguments}
    twice = [
        FieldError(pointer=f"/{name}", detail="is given twice")
        for name, values in arguments.items()
        if len(values) > 1
    ]
    given = {name: values[0] for name, values in arguments.items()} | lists
    return validated(model, given, known_faults=twice)
