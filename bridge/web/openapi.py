"""Makes the OpenAPI 3.1 document from the operations, the webhooks and the request and response models."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from bridge import __version__
from bridge.core.parsing import NAME
from bridge.web import rate_limits
from bridge.web.operations import JSON, WATCH_ID, Access, Operation, ResponseSpec
from bridge.web.problems import MEDIA_TYPE, PROBLEM_TYPES, Problem
from bridge.web.response_models import ProblemSchema
from bridge.web.schemas import Models, schemas
from bridge.web.webhooks import RESPONSES, TRACEPARENT, WEBHOOKS, Webhook

INTRODUCTION = """\
Register HubSpot's asynchronous tasks, and be called back when they end.

Bodies are JSON in UTF-8, of at most 1 MiB; instants are RFC 3339 in UTC. Unknown and repeated names in a body or a
query are refused. Errors are `application/problem+json` (RFC 9457): programs tell their causes apart by `type`, which
is also the path of a page that explains the cause.

After an update of the bridge, responses may have new members, and new values in enumerations: clients must ignore
those that they do not know."""

TAGS = {
    "Watches": "Tasks that the bridge follows: registering them, looking at them, changing them by hand.",
    "Callbacks": "Trying out where callbacks go.",
    "Operation": "How the bridge is doing.",
    "Accounts": "HubSpot accounts, with their credentials and quotas. For admins only.",
    "Clients": "The applications that use the bridge, with their API keys and signing secrets.",
    "Events": "What the bridge sends to callback URLs, signed as Standard Webhooks are.",
    "Operator events": "What the bridge tells its operator at `BRIDGE_OPERATOR_URL`, signed with `BRIDGE_OPERATOR_SECRET`.",
}

PARAMETERS: dict[str, dict[str, Any]] = {
    "watch_id": {
        "description": "The watch's `id`.",
        "schema": {"type": "string", "pattern": f"^{WATCH_ID.pattern}$"},
        "example": "wat_01hf3k9c2e7v8x4m6q0r5t1w3y8",
    },
    "name": {
        "description": "The name of the account or client.",
        "schema": {"type": "string", "pattern": f"^{NAME.pattern}$"},
        "example": "cms",
    },
}

REQUEST_ID = {
    "description": "The request's own, when it is 1 to 128 characters of `[A-Za-z0-9._-]`, else a new one.",
    "schema": {"type": "string"},
    "example": "5f0c8e1b9a7d4c3e8f2a6b1d0c9e7f3a",
}
RETRY_AFTER = {
    "description": "After how many seconds to send the request again, where that is known.",
    "schema": {"type": "integer", "minimum": 0},
    "example": 60,
}
RATE_LIMIT = {name: {"$ref": f"#/components/headers/{name}"} for name in rate_limits.HEADERS}
# The headers that a problem response may have, by its status.
PROBLEM_HEADERS: dict[int, dict[str, Any]] = {
    401: {
        "WWW-Authenticate": {
            "description": "`Bearer`, with `error` when there was a key.",
            "schema": {"type": "string"},
            "example": 'Bearer error="invalid_token"',
        }
    },
    **dict.fromkeys((400, 403, 404, 422, 502, 504), RATE_LIMIT),
    **{status: {"Retry-After": RETRY_AFTER, **RATE_LIMIT} for status in (409, 429, 503)},
}


def document(operations: Sequence[Operation], public_url: str | None) -> dict[str, Any]:
    """Return the OpenAPI document. `public_url` is the URL of this bridge; None when it is not known."""
    queries = list(dict.fromkeys(operation.query for operation in operations if operation.query))
    names, described = schemas([ProblemSchema, *queries, *_bodies(operations)])
    parameters = {model: _query_parameters(described.pop(names[model])) for model in queries}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        query = parameters[operation.query] if operation.query else []
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, names, query)
    statuses = sorted({status for operation in operations for status in _problems(operation)})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "HubSpot import bridge",
            "version": __version__,
            "description": f"{INTRODUCTION}\n\n{_list_of_problems()}",
            "contact": {"name": "The operator of this bridge"} | ({"url": public_url} if public_url else {}),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": public_url or "/", "description": "This bridge."}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "webhooks": {webhook.event: {"post": _webhook(webhook, names)} for webhook in WEBHOOKS},
        "components": {
            "schemas": described,
            "responses": {str(status): _problem_response(status, names) for status in statuses},
            "headers": {"X-Request-Id": REQUEST_ID, **rate_limits.HEADERS},
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A client's API key, `hib_…`, or an admin's.",
                }
            },
        },
    }


def _bodies(operations: Sequence[Operation]) -> list[type[BaseModel]]:
    taken = [operation.body for operation in operations if operation.body]
    shown = [response.model for operation in operations for response in operation.responses.values()]
    sent = [webhook.model for webhook in WEBHOOKS]
    return list(dict.fromkeys([*taken, *shown, *sent]))


def _operation(operation: Operation, names: Models, query: list[dict[str, Any]]) -> dict[str, Any]:
    only = "For admins only." if operation.access is Access.ADMIN else ""
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": " ".join(text for text in (only, operation.description) if text) or operation.summary,
        "security": [] if operation.access is Access.OPEN else [{"apiKey": []}],
        "parameters": [
            *map(_path_parameter, operation.path_parameters),
            *query,
            *operation.headers,
        ],
        "responses": {
            **{
                str(status): _response(operation, response, names)
                for status, response in operation.responses.items()
            },
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in _problems(operation)},
        },
    }
    if operation.body:
        described["requestBody"] = {
            "required": operation.requires_body,
            "content": _content(operation.body, names),
        }
    return described


def _problems(operation: Operation) -> list[int]:
    """Return the statuses of the Problems that the document lists for this operation."""
    statuses = {400, 500, *operation.problems}
    if operation.path_parameters:
        statuses |= {404}
    if operation.access is not Access.OPEN:
        statuses |= {401, 422, 503}
    if operation.access is Access.ADMIN:
        statuses |= {403}
    if operation.method != "GET":
        statuses |= {413, 415}
    return sorted(statuses - operation.responses.keys())


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, **PARAMETERS[name]}


def _query_parameters(model: dict[str, Any]) -> list[dict[str, Any]]:
    return [_query_parameter(name, dict(field)) for name, field in model["properties"].items()]


def _query_parameter(name: str, field: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI description of a query parameter, made from the JSON Schema of the model's field."""
    described = {"name": name, "in": "query", "required": False, "description": field.pop("description")}
    [example] = field.pop("examples")
    # The model has None for an absent parameter, but a query cannot contain null.
    if field.get("default", ...) is None:
        field.pop("default")
        field = _never_null(field)
    if field.get("type") == "array":
        # Several values in one parameter, separated by commas.
        described |= {"style": "form", "explode": False}
    return described | {"schema": field, "example": example}


def _never_null(field: dict[str, Any]) -> dict[str, Any]:
    if several := field.get("anyOf"):
        return dict(several[0])
    return field | ({"type": field["type"][0]} if isinstance(field.get("type"), list) else {})


def _response(operation: Operation, response: ResponseSpec, names: Models) -> dict[str, Any]:
    headers = {**response.headers, **(RATE_LIMIT if operation.opens_watches else {})}
    content = _content(response.model, names, response.media_type)
    return {"description": response.description, "headers": _headers(headers), "content": content}


def _headers(own: dict[str, Any]) -> dict[str, Any]:
    return {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}, **own}


def _problem_response(status: int, names: Models) -> dict[str, Any]:
    causes = {name: cause for name, cause in PROBLEM_TYPES.items() if cause.status == status}
    [content] = _content(ProblemSchema, names, MEDIA_TYPE).values()
    examples = {
        name: {
            "summary": cause.title,
            "value": Problem(status=status, detail=cause.meaning, cause=name).members(),
        }
        for name, cause in causes.items()
    }
    return {
        "description": "\n".join(f"- `/problems/{name}`: {cause.meaning}" for name, cause in causes.items()),
        "headers": _headers(PROBLEM_HEADERS.get(status, {})),
        "content": {MEDIA_TYPE: content | {"examples": examples}},
    }


def _list_of_problems() -> str:
    causes = (
        f"- **{cause.status} `/problems/{name}`**: {cause.meaning}" for name, cause in PROBLEM_TYPES.items()
    )
    return "\n".join(["## Problems", "", *causes])


def _webhook(webhook: Webhook, names: Models) -> dict[str, Any]:
    this_type = {"type": "object", "properties": {"type": {"type": "string", "const": webhook.event}}}
    schema = {"allOf": [{"$ref": f"#/components/schemas/{names[webhook.model]}"}, this_type]}
    return {
        "operationId": webhook.event,
        "tags": [webhook.tag],
        "summary": webhook.summary,
        "description": "It is sent at least once, until you answer 2xx or the schedule is over.",
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": name not in TRACEPARENT,
                "description": text,
                "schema": {"type": "string"},
                "example": example,
            }
            for name, (text, example) in webhook.headers.items()
        ],
        "requestBody": {
            "description": "What has happened. The signature is over these bytes.",
            "required": True,
            "content": {JSON: {"schema": schema, "example": webhook.example}},
        },
        "responses": {status: {"description": text} for status, text in RESPONSES.items()},
    }


def _content(model: type[BaseModel], names: Models, media_type: str = JSON) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{names[model]}"}}}
