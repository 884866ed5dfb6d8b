"""Operations: each a function, with what it takes, what it answers, and who may call it."""

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
from bridge.web.registration_limits import Registrar
from bridge.web.requests import Body, Context, Query

JSON = "application/json"
LOCATION = {
    "Location": {
        "description": "Where the watch is.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": "/v1/watches/wat_01hf3k9c2e7v8x4m6q0r5t1w3y8",
    }
}

# What else stands in a path's place of an id is none.
WATCH_ID = re.compile(r"wat_[A-Za-z0-9_]{4,60}")


class Access(StrEnum):
    """Who may call an operation."""

    OPEN = "open"  # anybody, without a key
    CLIENT = "client"  # any client
    ADMIN = "admin"  # an admin


class Idempotency(StrEnum):
    """What tells that a request is sent again. Either way it may have an `Idempotency-Key`."""

    KEY = "key"  # the Idempotency-Key: its answer is kept
    BODY = "body"  # the fields of the body that name a watch: no key is needed


class NoParameters(Query):
    """An operation without parameters."""


class NoFields(Body):
    """An operation that needs no body: none, or an empty object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestKey:
    """The `Idempotency-Key` of a request, and the hash of its body."""

    key: str
    body_hash: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request, as an operation sees it."""

    dependencies: Dependencies
    registrar: Registrar
    context: Context
    caller: Caller
    now: datetime
    key: RequestKey | None = None  # where the operation goes by it
    traceparent: str | None = None  # where the client traces

    def url(self, path: str) -> str:
        """Return how the client reaches a path of the bridge."""
        return f"{self.dependencies.public_url or ''}{path}"

    def ensure_client(self) -> None:
        """See that the caller has a secret which its callbacks can be signed with."""
        if self.caller.from_environment:
            clients.ensure_admin(self.dependencies.engine, self.dependencies.cipher, now=self.now)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What an operation answers: JSON, unless the media type says otherwise; in pieces, where it may be long."""

    text: str | Iterator[str]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = JSON


def reply(value: Any, *, status: int = 200) -> Reply:
    """Answer with a value as JSON."""
    return Reply(text=json.dumps(value), status=status)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseSpec:
    """One way in which an operation answers well, for the OpenAPI document."""

    description: str
    model: type[BaseModel]
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    media_type: str = JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One method of one path; its name, summary and description are the function's."""

    method: str
    path: str
    run: Callable[..., Reply | Problem]
    tag: str
    access: Access
    body: type[Body] | None
    query: type[Query] | None
    responses: Mapping[int, ResponseSpec]
    problems: Sequence[int]
    idempotency: Idempotency | None
    opens_watches: bool  # whether the limit of a client's open watches holds for it

    @property
    def name(self) -> str:
        """The operation's id in the OpenAPI document."""
        return self.run.__name__

    @property
    def summary(self) -> str:
        """The first line of what the function says of itself."""
        return (getdoc(self.run) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        """The rest of it."""
        return (getdoc(self.run) or "").partition("\n")[2].strip()

    @property
    def requires_body(self) -> bool:
        """Whether a request without a body lacks something."""
        return self.body is not None and any(f.is_required() for f in self.body.model_fields.values())

    @property
    def path_parameters(self) -> list[str]:
        """The names in the path's braces."""
        return re.findall(r"\{(\w+)\}", self.path)


Run = TypeVar("Run", bound=Callable[..., Reply | Problem])


class Resource:
    """The operations on one thing, in the order in which they are written down."""

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
        idempotency: Idempotency | None = None,
        opens_watches: bool = False,
    ) -> Callable[[Run], Run]:
        """Add the decorated function: it takes the Call, the path's names, and `body` or `query` if any."""
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
                    idempotency=idempotency,
                    opens_watches=opens_watches,
                )
            )
            return run

        return add
