"""The OpenAPI 3.1 document, made from the operations and the models that validate."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from bridge import __version__
from bridge.core.words import NAME
from bridge.web.operations import JSON, WATCH_ID, Access, Answered, Operation
from bridge.web.problems import MEANINGS, MEDIA_TYPE
from bridge.web.responses import ShownProblem, response_name

INTRODUCTION = """\
Register HubSpot's asynchronous tasks, and be called back when they end.

JSON in, JSON out, in UTF-8; instants are RFC 3339 in UTC. A body may have at most 1 MiB. What is not known, in a
body or a query, is refused, and so is a name that comes twice. Whatever is wrong is told as
`application/problem+json` (RFC 9457)."""

# Statuses that come with a header of their own.
PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": "Bearer, with `error` when there was a key."},
    429: {"Retry-After": "Seconds."},
    503: {"Retry-After": "Seconds."},
}

PATTERNS = {"watch_id": f"^{WATCH_ID.pattern}$", "name": f"^{NAME.pattern}$"}

Models = dict[type[BaseModel], str]


def document(operations: Sequence[Operation], public_url: str | None) -> dict[str, Any]:
    """Return the whole document."""
    names, schemas = _schemas(operations)
    parameters = {model: _query_parameters(schemas.pop(names[model])) for model in _queries(operations)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        query = parameters[operation.query] if operation.query else []
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, names, query)
    return {
        "openapi": "3.1.0",
        "info": {"title": "HubSpot import bridge", "version": __version__, "description": INTRODUCTION},
        "servers": [{"url": public_url or "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {str(status): _problem(status, names) for status in MEANINGS},
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "description": "An API key."}},
        },
    }


class _Schemas(GenerateJsonSchema):
    """Names as clients see them, and no titles that only repeat a field's name."""

    def normalize_name(self, name: str) -> str:
        return response_name(super().normalize_name(name))

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def _schemas(operations: Sequence[Operation]) -> tuple[Models, dict[str, Any]]:
    """Return the name of each model's schema, and all schemas by name."""
    models: Sequence[type[BaseModel]] = [ShownProblem, *_queries(operations), *_bodies(operations)]
    references, definitions = models_json_schema(
        [(model, "validation") for model in models],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    names = {model: references[model, "validation"]["$ref"].rpartition("/")[2] for model in models}
    return names, definitions["$defs"]


def _queries(operations: Sequence[Operation]) -> list[type[BaseModel]]:
    return list(dict.fromkeys(operation.query for operation in operations if operation.query))


def _bodies(operations: Sequence[Operation]) -> list[type[BaseModel]]:
    taken = [operation.body for operation in operations if operation.body]
    shown = [
        answer.model for operation in operations for answer in operation.answers.values() if answer.model
    ]
    return list(dict.fromkeys([*taken, *shown]))


def _operation(operation: Operation, names: Models, query: list[dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": [] if operation.access is Access.OPEN else [{"apiKey": []}],
        "parameters": [*map(_path_parameter, operation.path_parameters), *query],
        "responses": {
            **{str(status): _answer(answer, names) for status, answer in operation.answers.items()},
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
    """Return the statuses of all problems that a request to this operation may meet."""
    statuses = {500, *operation.problems}
    if operation.path_parameters:
        statuses |= {404}
    if operation.access is not Access.OPEN:
        statuses |= {401, 422, 429, 503}
    if operation.access is Access.ADMIN:
        statuses |= {403}
    if operation.method != "GET":
        statuses |= {400, 413, 415}
    return sorted(statuses - operation.answers.keys())


def _path_parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": PATTERNS[name]}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(model: dict[str, Any]) -> list[dict[str, Any]]:
    return [_query_parameter(name, dict(field)) for name, field in model["properties"].items()]


def _query_parameter(name: str, field: dict[str, Any]) -> dict[str, Any]:
    """What may be absent is null in a model; in a query nothing is."""
    described = {"name": name, "in": "query", "required": False}
    if text := field.pop("description", None):
        described["description"] = text
    if choices := field.pop("anyOf", None):
        field = next(choice for choice in choices if choice != {"type": "null"})
    if field.get("type") == "array":
        # Several values, with commas between them.
        described |= {"style": "form", "explode": False}
    return described | {"schema": field}


def _answer(answer: Answered, names: Models) -> dict[str, Any]:
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
    }
    content = _content(answer.model, names, answer.media_type)
    return {"description": answer.what, "headers": headers, "content": content}


def _problem(status: int, names: Models) -> dict[str, Any]:
    title, meaning = MEANINGS[status]
    return {
        "description": f"{title}. {meaning}",
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in PROBLEM_HEADERS.get(status, {}).items()
        },
        "content": _content(ShownProblem, names, MEDIA_TYPE),
    }


def _content(model: type[BaseModel], names: Models, media_type: str = JSON) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{names[model]}"}}}
