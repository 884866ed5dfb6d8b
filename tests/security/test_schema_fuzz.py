"""Requests made from `/openapi.json`, right and wrong ones: every answer is one that the document promises."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("schemathesis", reason="PyYAML, which it needs, has no wheel for this Python")

import schemathesis
from hypothesis import given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bridge import sandbox
from bridge.core.quota import Rate
from bridge.db.accounts import Accounts
from bridge.db.engine import open_engine
from bridge.http.transport import Transport
from bridge.hubspot.client import HubSpot
from bridge.sandbox import SandboxOptions
from bridge.web.app import RESOURCES
from bridge.web.operations import Access, Operation
from tests.hubspot_accounts import ListedTokens, a_cipher, an_account
from tests.web.api import Api, serving

# Left out, because their rules are such as a schema cannot state:
# positive_data_acceptance: a cursor must be one that was given, and an account one that is there.
# use_after_free, ensure_resource_availability: they follow one request by another, and here each is alone;
# tests/web registers, withdraws and revokes, and looks again.
# unsupported_method, missing_required_header: they judge probes of schemathesis' own runner;
# tests/web sends wrong methods, and no operation requires a header.
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    ignored_auth,
)
# A batch is answered by 200 whatever its watches are like: each has its own status inside.
UNJUDGED = {"register_watches": {negative_data_rejection}}
# An operation has these documented: HubSpot's refusal, and "not now". A 500 is what nobody may see.
SERVER_ERRORS = ["2xx", "3xx", "4xx", "502", "503"]

# HubSpot refuses what is made up, no worker is alive, and the admin's key is a setting.
REFUSED = {"start_import", "show_readiness", "rotate_own_key"}

EXAMPLES = {"admin": 20, "client": 8}
OPERATIONS = [operation for resource in RESOURCES for operation in resource.operations]
PLENTY = 1_000_000


@pytest.fixture(scope="module")
def api(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API, and a HubSpot behind it that is its own proxy: no address of an account leads elsewhere."""
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path_factory.mktemp('fuzz'))}"
    rate = Rate(requests=PLENTY, seconds=1, share=1)
    options = SandboxOptions(burst_requests=PLENTY, daily_requests=PLENTY)
    with ExitStack() as closing:
        hubspot = closing.enter_context(sandbox.running(options))
        transport = Transport(timeout_seconds=5, body_limit=1024 * 1024, proxy=hubspot.url)
        closing.callback(transport.close)
        engine = open_engine(url)
        closing.callback(engine.dispose)
        shared: dict[str, Any] = {
            "engine": engine,
            "accounts": Accounts(an_account(hubspot.url, rate=rate), a_cipher()),
        }
        asking = HubSpot(transport, ListedTokens())
        yield closing.enter_context(serving(url, asking, cipher=a_cipher(), **shared))


@pytest.fixture(scope="module")
def schema(api: Api) -> BaseSchema:
    loaded = schemathesis.openapi.from_wsgi("/openapi.json", api.app)
    loaded.config.checks.not_a_server_error.expected_statuses = SERVER_ERRORS
    return loaded


def cases(
    described: APIOperation[Any, Any, Any, Any], operation: Operation, known: dict[str, str]
) -> list[Any]:
    """Right requests, wrong ones, and right ones about something that is there."""
    made = [described.as_strategy(generation_mode=GenerationMode.POSITIVE)]
    if operation.path_parameters or operation.query or operation.body:
        made.append(described.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    if operation.path_parameters:
        made.append(described.as_strategy(path_parameters=known))
    return made


@pytest.mark.parametrize("who", EXAMPLES)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_whatever_is_sent_the_document_has_promised_the_answer(
    api: Api, schema: BaseSchema, operation: Operation, who: str
) -> None:
    name = f"{operation.name}-{who}"
    api.add_account(name)
    api.new_client(name)
    described = schema[operation.path][operation.method]
    caller = api.admin if who == "admin" else api.client(operation.name)
    known = {"watch_id": caller.register(operation.name)["id"], "name": name}
    if operation.name == "redeliver_watch":
        api.change(known["watch_id"], state="delivered", due_at=None)
    checks = [check for check in CHECKS if check not in UNJUDGED.get(operation.name, set())]
    seen: set[int] = set()
    for made in cases(described, operation, {name: known[name] for name in operation.path_parameters}):

        @settings(max_examples=EXAMPLES[who], derandomize=True, database=None, deadline=None)
        @given(case=made)
        def send(case: Any) -> None:
            # The checks of schemathesis do not unpack what comes from a WSGI application.
            headers = {"Authorization": f"Bearer {caller.key}", "Accept-Encoding": "identity"}
            answer = case.call_and_validate(checks=checks, headers=headers)
            seen.add(answer.status_code)

        send()
    # Else every request was refused, and hardly an answer was compared with the document.
    is_refused = operation.name in REFUSED or (operation.access is Access.ADMIN and who == "client")
    assert min(seen) < 300 or is_refused
