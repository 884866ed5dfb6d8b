"""Operations of the API: each is a function with a route, request and response models, and access rules."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from inspect import getdoc
from typing import Any, TypeVar

from pydantic import BaseModel

from bridge.steps import clients
from bridge.web.auth import Caller
from bridge.web.dependencies import Dependencies
from bridge.web.problems import Problem
from bridge.web.request_models import Body, Query

JSON = "application/json"
LOCATION = {
    "Location": {
        "description": "Where the watch is.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": "/v1/watches/wat_01hf3k9c2e7v8x4m6q0r5t1w3y8",
    }
}

# The ids of all watches match this.
WATCH_ID = re.compile(r"wat_[A-Za-z0-9_]{4,60}")


class Access(StrEnum):
    """Who may call an operation."""

    OPEN = "open"  # anybody, without a key
    CLIENT = "client"  # any client
    ADMIN = "admin"  # an admin


class NoParameters(Query):
    """The query of an operation without parameters."""


class NoFields(Body):
    """The body of an operation that needs none: absent, or an empty object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiCall:
    """A request to an operation; the caller's name is empty when the operation's access is Access.OPEN."""

    dependencies: Dependencies
    caller: Caller
    now: datetime
    traceparent: str | None = None  # for callbacks (W3C Trace Context); None without a valid one

    def url(self, path: str) -> str:
        """Return the absolute URL of a path of the bridge; the path alone if the public URL is unknown."""
        return f"{self.dependencies.public_url or ''}{path}"

    def ensure_client(self) -> None:
        """Store the caller as a client, with a signing secret, if it used BRIDGE_ADMIN_KEY and is not stored yet."""
        if self.caller.from_environment:
            clients.ensure_admin(self.dependencies.engine, self.dependencies.cipher, now=self.now)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An operation's response that is not a Problem. When `text` is an iterator, its parts are streamed."""

    text: str | Iterator[str]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = JSON


def reply(value: Any, *, status: int = 200) -> Reply:
    """Return a Reply whose body is `value` as JSON."""
    return Reply(text=json.dumps(value), status=status)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseSpec:
    """An operation's response that is not a Problem, as the OpenAPI document describes it.

    `headers` holds OpenAPI's header objects, by the header's name.
    """

    description: str
    model: type[BaseModel]
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    media_type: str = JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """An HTTP method and a path of the API, with the function `run` that carries out the request.

    The name and the docstring of `run` are printed in the OpenAPI document. `problems` lists the statuses of the
    operation's Problems; a status that many operations share, such as 401, may be left out. `headers` holds the
    request headers of this operation, as the document describes them.
    """

    method: str
    path: str
    run: Callable[..., Reply | Problem]
    tag: str
    access: Access
    body: type[Body] | None
    query: type[Query] | None
    responses: Mapping[int, ResponseSpec]
    problems: Sequence[int]
    headers: Sequence[Mapping[str, Any]]
    opens_watches: bool  # whether requests can open watches; if so, responses may have RateLimit headers

    @property
    def name(self) -> str:
        """The operation's id in the OpenAPI document."""
        return self.run.__name__

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (getdoc(self.run) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        """The function's docstring without its first line."""
        return (getdoc(self.run) or "").partition("\n")[2].strip()

    @property
    def requires_body(self) -> bool:
        """Whether the body's model has a required field; if not, an absent body means `{}`."""
        return self.body is not None and any(f.is_required() for f in self.body.model_fields.values())

    @property
    def path_parameters(self) -> list[str]:
        """The names of the parameters in the path, without their braces."""
        return re.findall(r"\{(\w+)\}", self.path)


Run = TypeVar("Run", bound=Callable[..., Reply | Problem])


class Resource:
    """A group of operations, in the order of their definition, under one tag of the OpenAPI document."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.operations: list[Operation] = []

    def operation(
        self,
        method_and_path: str,
        *,
        responses: Mapping[int, ResponseSpec],
        access: Access = Access.CLIENT,
        body: type[Body] | None = None,
        query: type[Query] | None = None,
        problems: Sequence[int] = (),
        headers: Sequence[Mapping[str, Any]] = (),
        opens_watches: bool = False,
    ) -> Callable[[Run], Run]:
        """Add the decorated function as an operation; `method_and_path` is for example `GET /v1/watches`.

        The function gets an ApiCall and, by name, each parameter of the path. If `body` or `query` is given, the
        function also gets the request's `body` or `query` as an instance of that class. With Access.OPEN the function
        gets no body and no query. The other arguments become the fields of the Operation that have the same names.
        """
        method, _, path = method_and_path.partition(" ")

        def add(run: Run) -> Run:
            self.operations.append(
                Operation(
                    method=method,
                    path=path,
                    run=run,
                    tag=self.tag,
                    access=access,
                    body=body,
                    query=query,
                    responses=responses,
                    problems=problems,
                    headers=headers,
                    opens_watches=opens_watches,
                )
            )
            return run

        return add
