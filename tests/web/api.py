"""The REST API through Flask's test client, with a real database."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet
from flask import Flask
from sqlalchemy import insert, update
from werkzeug.test import TestResponse

from bridge.core.quota import Rate
from bridge.db.accounts import Account, AccountChange, Accounts, Credentials
from bridge.db.counters import Counters
from bridge.db.encryption import Cipher
from bridge.db.engine import open_engine
from bridge.db.tables import watches
from bridge.http.transport import Transport
from bridge.hubspot.client import HubSpot
from bridge.steps import clients
from bridge.steps.hubspot_calls import HubSpotCalls
from bridge.steps.operator_events import NO_OPERATOR
from bridge.web.app import RESOURCES, create_app
from bridge.web.auth import Authenticator
from bridge.web.dependencies import Dependencies
from bridge.web.openapi import document
from bridge.web.problems import PROBLEM_TYPES
from bridge.web.registrar import Registrar
from bridge.web.response_models import ProblemSchema
from bridge.web.security_headers import HEADERS
from tests.hubspot_accounts import ListedTokens
from tests.makers import SteppedClock
from tests.senders import a_sender

ADMIN_KEY = "an-admin-key-from-the-environment"
URL = "https://app.example.com/hooks/hubspot"


DOCUMENT = document([operation for resource in RESOURCES for operation in resource.operations], None)
# What the document says of each operation's answers, by its method and a pattern of its path.
ANSWERS = {
    (method.upper(), re.sub(r"{\w+}", "[^/]+", path)): operation["responses"]
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
# The headers that any answer may have, of HTTP itself or for browsers: the document leaves them out.
GENERAL_HEADERS = {*HEADERS, "Content-Type", "Content-Length", "Content-Encoding", "Vary"}


def _check_described(response: TestResponse, method: str, path: str) -> None:
    """Check that the document has the response's status, and its headers."""
    for (known, pattern), answers in ANSWERS.items():
        if known == method and re.fullmatch(pattern, path.partition("?")[0]):
            assert str(response.status_code) in answers, (method, path, response.status_code)
            answer = answers[str(response.status_code)]
            if "$ref" in answer:
                answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            headers = {name for name, _ in response.headers}
            assert headers - GENERAL_HEADERS <= answer["headers"].keys(), (method, path, response.status_code)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A client of the API; without a `key`, its requests have no Authorization header."""

    app: Flask
    key: str | None

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> TestResponse:
        """Send a request, with `body` as JSON if there is one."""
        headers = dict(options.pop("headers", {}))
        if self.key is not None:
            headers.setdefault("Authorization", f"Bearer {self.key}")
        if body is not None:
            options |= {"data": json.dumps(body), "content_type": "application/json"}
        response = self.app.test_client().open(path, method=method, headers=headers, buffered=True, **options)
        _check_described(response, method, path)
        return response

    def get(self, path: str, **query: Any) -> TestResponse:
        # The test client would drop a query that is part of the path.
        return self.send("GET", path, **({"query_string": query} if query else {}))

    def post(self, path: str, body: Any = None) -> TestResponse:
        return self.send("POST", path, body)

    def put(self, path: str, body: Any) -> TestResponse:
        return self.send("PUT", path, body)

    def delete(self, path: str) -> TestResponse:
        return self.send("DELETE", path)

    def register(self, task_id: str = "AAAAEZ6whGI", **others: Any) -> dict[str, Any]:
        """Register a new watch, and return it."""
        response = self.post("/v1/watches", {"task_id": task_id, "callback_url": URL} | others)
        assert response.status_code == 201, response.text
        return members(response)


@dataclass(frozen=True, kw_only=True)
class Api:
    """The application and its dependencies, with shortcuts to prepare a test's data."""

    dependencies: Dependencies
    app: Flask
    clock: SteppedClock

    @property
    def admin(self) -> Caller:
        return Caller(app=self.app, key=ADMIN_KEY)

    @property
    def nobody(self) -> Caller:
        return Caller(app=self.app, key=None)

    def client(self, name: str = "cms", *, admin: bool = False) -> Caller:
        """Add a client, and return a caller with its key."""
        return Caller(app=self.app, key=self.new_client(name, admin=admin).api_key)

    def new_client(self, name: str = "cms", *, admin: bool = False) -> clients.NewClient:
        made = clients.add(
            self.dependencies.engine, self.dependencies.cipher, name, admin=admin, now=self.clock()
        )
        assert isinstance(made, clients.NewClient)
        return made

    def add_account(self, name: str) -> None:
        change = AccountChange(credentials=Credentials(access_token="pat-test"))
        with self.dependencies.engine.begin() as connection:
            self.dependencies.accounts.put(connection, name, change, self.clock())

    def change(self, watch_id: str, **columns: Any) -> None:
        """Set columns of a watch."""
        self.execute(update(watches).where(watches.c.id == watch_id).values(**columns))

    def execute(self, statement: Any) -> None:
        with self.dependencies.engine.begin() as connection:
            connection.execute(statement)

    def insert(self, table: Any, **row: Any) -> None:
        self.execute(insert(table).values(**row))


def members(response: TestResponse) -> dict[str, Any]:
    """Return the response's JSON object."""
    assert response.content_type in ("application/json", "application/problem+json")
    found: dict[str, Any] = json.loads(response.data)
    return found


def tasks(caller: Caller, **query: Any) -> list[str]:
    """Return the task ids of a page of the list."""
    return [watch["task_id"] for watch in members(caller.get("/v1/watches", **query))["watches"]]


def problem(response: TestResponse, status: int) -> dict[str, Any]:
    """Return the response's problem, checked for its form (RFC 9457)."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    told = members(response)
    assert told.keys() >= {"type", "title", "status", "detail", "request_id"}
    assert told.keys() <= ProblemSchema.model_fields.keys()
    assert told.pop("request_id") == response.headers["X-Request-Id"]
    wait = response.headers.get("Retry-After")
    assert told.get("retry_after_seconds") == (wait and int(wait))
    assert PROBLEM_TYPES[told["type"].removeprefix("/problems/")].status == status
    assert told["status"] == status
    assert told["detail"].endswith(".")
    return told


def pointers(response: TestResponse, status: int = 422) -> list[str]:
    """Return the JSON pointers of the response's faults."""
    return [fault["pointer"] for fault in problem(response, status)["errors"]]


@contextmanager
def serving(
    database_url: str,
    hubspot: HubSpot | None = None,
    *,
    admin_key: str | None = ADMIN_KEY,
    open_watch_limit: int = 100_000,
    **dependencies: Any,
) -> Iterator[Api]:
    """Yield the API on a migrated database; `hubspot` and `dependencies` replace the usual ones."""
    engine, cipher, clock = (
        open_engine(database_url),
        Cipher([Fernet.generate_key().decode()]),
        SteppedClock(),
    )
    callbacks = a_sender()
    transport = Transport(timeout_seconds=10, body_limit=1024 * 1024)
    parts: dict[str, Any] = {
        "engine": engine,
        "cipher": cipher,
        "accounts": Accounts(_environment(), cipher),
        "callbacks": callbacks,
        "counters": Counters(),
        "clock": clock,
        "outbox": NO_OPERATOR,
        "watch_timeout_seconds": 86_400,
        "public_url": None,
    } | dependencies
    shared = {name: parts[name] for name in ("engine", "accounts", "clock", "counters")}
    hubspot = hubspot or HubSpot(transport, ListedTokens())
    calls = HubSpotCalls(hubspot=hubspot, lease_seconds=60, **shared)
    made = Dependencies(
        hubspot_calls=calls,
        authenticator=Authenticator(parts["engine"], admin_key),
        registrar=Registrar(parts["engine"], open_watch_limit, parts["clock"], parts["counters"]),
        **parts,
    )
    try:
        yield Api(dependencies=made, app=create_app(made), clock=clock)
    finally:
        callbacks.close()
        transport.close()
        # A thread may still hold a connection, which would outlive its pool.
        await_last_uses()
        engine.dispose()


def await_last_uses() -> None:
    """Wait until it is saved when the clients last used their keys: a thread saves it, with a connection of its own."""
    for thread in threading.enumerate():
        if thread.name == "last-uses":
            thread.join()


def _environment() -> Account:
    """Return the account `default` without credentials, so that HubSpot is never called."""
    return Account(
        name="default",
        credentials=Credentials(),
        base_url="https://api.hubapi.com",
        api_version="v3",
        rate=Rate(requests=100, seconds=10.0, share=0.5),
    )


Serve = Callable[..., Api]
