"""`POST /v1/watches` registers one watch, `POST /v1/watches/batch` up to 1,000."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from flask import g
from pydantic import Field, PlainValidator

from bridge.core.kinds import DEFAULT_KIND
from bridge.core.watch_json import watch_text
from bridge.db import watches as store
from bridge.db.accounts import DEFAULT
from bridge.db.engine import reading
from bridge.http.addresses import callback_host
from bridge.steps.register import (
    ConflictingRegistration,
    Registered,
    Registration,
    RegistrationResult,
    registration_key,
)
from bridge.web import idempotency
from bridge.web.operations import LOCATION, ApiCall, Reply, Resource, ResponseSpec
from bridge.web.problems import FieldError, Problem
from bridge.web.request_models import (
    AccountName,
    Body,
    CallbackUrl,
    Kind,
    Metadata,
    TaskId,
    TimeoutSeconds,
    ValidationContext,
    validated,
)
from bridge.web.response_models import EXAMPLE, Absent, Output, ProblemSchema, WatchSchema, examples
from bridge.web.webhooks import TRACEPARENT

resource = Resource("Watches")

# Request headers as the OpenAPI document describes them.
UNUSED_KEY_PARAMETER = idempotency.PARAMETER | {
    "description": "Taken, and not needed: the body tells which watch is meant, for as long as there is the watch.",
    "schema": {"type": "string"},
}
TRACEPARENT_PARAMETER = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "The trace that this request belongs to (W3C Trace Context): the callback carries it on. One that is not "
    "valid is ignored.",
    "schema": {"type": "string"},
    "example": TRACEPARENT["traceparent"][1],
}


class NewWatch(Body):
    """A watch to register. `task_id` and `callback_url` are required."""

    model_config = examples(
        {
            "task_id": "AAAAEZ6whGI",
            "callback_url": "https://app.example.com/hooks/hubspot",
            "account": "default",
            "kind": "file-import",
            "metadata": {"order": 17},
            "timeout_seconds": 86400,
        }
    )

    task_id: TaskId = Field(description="HubSpot's id of the task: printable characters, no white space.")
    callback_url: CallbackUrl = Field(
        description="Where the callback goes: an http(s) URL without a user name or password and without a fragment."
    )
    account: AccountName = Field(default=DEFAULT, description="The HubSpot account that the task runs in.")
    kind: Kind = Field(default=DEFAULT_KIND, description="Which HubSpot endpoint answers for the task.")
    metadata: Metadata = Field(
        default_factory=lambda: "{}",
        description="A JSON object of at most 4 KiB, sent unchanged in the callback; `{}` when left out.",
    )
    timeout_seconds: TimeoutSeconds | None = Field(
        default=None,
        description="The seconds from the registration to the watch's deadline. A watch whose task was not seen to end by the deadline ends as `timed_out`. The default is a day, or the operator's own setting.",
    )


# An item of a batch: described as a NewWatch, and validated by the operation, so that one fault refuses one item only.
_Unvalidated = Annotated[Any, PlainValidator(lambda item: item, json_schema_input_type=NewWatch)]


class NewWatchBatch(Body):
    """Registrations, each of which is accepted or refused separately."""

    model_config = examples(
        {"watches": [{"task_id": "AAAAEZ6whGI", "callback_url": "https://app.example.com/hooks/hubspot"}]}
    )

    watches: list[_Unvalidated] = Field(
        min_length=1,
        max_length=1000,
        description="The registrations; each is one body of `POST /v1/watches`.",
    )


class RegistrationResultSchema(Output):
    """The result of a registration: its watch, or the problem with it."""

    model_config = examples(
        {"status": 201, "watch": EXAMPLE},
        {
            "status": 422,
            "problem": {
                "type": "/problems/invalid-input",
                "title": "Invalid input",
                "status": 422,
                "detail": "The input is not valid: /callback_url is required.",
                "request_id": "5f0c8e1b9a7d4c3e8f2a6b1d0c9e7f3a",
                "errors": [{"pointer": "/callback_url", "detail": "is required"}],
            },
        },
    )

    status: int = Field(
        description="The status that `POST /v1/watches` would have answered to this registration: 200, 201, 409, 422 or 429.",
        ge=200,
        le=599,
    )
    watch: WatchSchema | Absent = Field(default=None, description="With a `status` of 200 or 201: the watch.")
    problem: ProblemSchema | Absent = Field(
        default=None, description="With any other `status`: what is wrong."
    )


class RegistrationResultsSchema(Output):
    """The results of a batch, in the order of its registrations."""

    model_config = examples({"results": [{"status": 201, "watch": EXAMPLE}]})

    results: list[RegistrationResultSchema] = Field(
        description="One result for each registration, in the order of the registrations."
    )


@resource.operation(
    "POST /v1/watches",
    body=NewWatch,
    responses={
        201: ResponseSpec(description="The new watch.", model=WatchSchema, headers=LOCATION),
        200: ResponseSpec(
            description="The watch that this client had registered already.", model=WatchSchema
        ),
    },
    problems=(409, 429),
    headers=(UNUSED_KEY_PARAMETER, TRACEPARENT_PARAMETER),
    opens_watches=True,
)
def register_watch(call: ApiCall, body: NewWatch) -> Reply | Problem:
    """Register a watch.

    A registration with the `kind`, `account`, `task_id` and `callback_url` of a watch that this client already has
    makes no new watch. The answer is a 200 with the existing watch. The answer is a 409 instead if `metadata` or
    `timeout_seconds` differ from the existing watch's; a `timeout_seconds` that is left out is not compared. A
    withdrawn watch does not count as existing; a delivered or undelivered watch does, until the bridge deletes it. The
    number of a client's open watches is limited; for a new watch beyond the limit, the answer is a 429.
    """
    wanted = _registration(call, body)
    if _beyond_limit(call, [wanted]):
        return _limit_reached(call)
    call.ensure_client()
    return to_response(call, call.dependencies.registrar.register_one(wanted))


def to_response(call: ApiCall, result: RegistrationResult) -> Reply | Problem:
    """Return the response for the result of one registration."""
    if not isinstance(result, Registered):
        return _conflict(result)
    text = watch_text(result.watch, result.hubspot_body)
    if not result.new:
        return Reply(text=text)
    return Reply(text=text, status=201, headers={"Location": call.url(f"/v1/watches/{result.watch.id}")})


@resource.operation(
    "POST /v1/watches/batch",
    body=NewWatchBatch,
    responses={
        200: ResponseSpec(
            description="What became of each registration, in the same order.",
            model=RegistrationResultsSchema,
        )
    },
    headers=(UNUSED_KEY_PARAMETER, TRACEPARENT_PARAMETER),
    opens_watches=True,
)
def register_watches(call: ApiCall, body: NewWatchBatch) -> Reply | Problem:
    """Register up to 1,000 watches at once.

    Each registration is accepted or refused separately, as if it had been sent alone; pointers in errors are relative
    to the registration. New watches are accepted in order until the client's limit of open watches is reached. After
    that, the result of each registration of a new watch is a 429. The whole body may have at most 1 MiB.
    """
    context = ValidationContext(call.dependencies)
    items = [validated(NewWatch, item, context) for item in body.watches]
    checked = [item if isinstance(item, Problem) else _registration(call, item) for item in items]
    refused = _beyond_limit(call, [item for item in checked if isinstance(item, Registration)])
    checked = [
        _limit_reached(call) if isinstance(item, Registration) and item in refused else item
        for item in checked
    ]
    wanted = [item for item in checked if isinstance(item, Registration)]
    call.ensure_client()
    results = iter(call.dependencies.registrar.register_many(wanted))
    outcomes = [item if isinstance(item, Problem) else next(results) for item in checked]
    texts = ", ".join(_result_text(outcome) for outcome in outcomes)
    return Reply(text=f'{{"results": [{texts}]}}')


def _result_text(outcome: RegistrationResult | Problem) -> str:
    if isinstance(outcome, ConflictingRegistration):
        outcome = _conflict(outcome)
    if isinstance(outcome, Problem):
        return f'{{"status": {outcome.status}, "problem": {outcome.text(g.request_id)}}}'
    text = watch_text(outcome.watch, outcome.hubspot_body)
    return f'{{"status": {201 if outcome.new else 200}, "watch": {text}}}'


def _registration(call: ApiCall, given: NewWatch) -> Registration:
    return Registration(
        client=call.caller.name,
        account=given.account,
        kind=given.kind,
        task_id=given.task_id,
        callback_url=given.callback_url,
        callback_host=callback_host(given.callback_url),
        metadata=given.metadata,
        timeout_seconds=given.timeout_seconds or call.dependencies.watch_timeout_seconds,
        names_timeout=given.timeout_seconds is not None,
        traceparent=call.traceparent,
    )


def limit_problem(call: ApiCall, wanted: int) -> Problem | None:
    """Return a Problem if the caller's limit of open watches does not allow `wanted` more, else None."""
    return (
        None
        if call.dependencies.registrar.available(call.caller.name, wanted, call.now) >= wanted
        else _limit_reached(call)
    )


def _beyond_limit(call: ApiCall, wanted: Sequence[Registration]) -> Collection[Registration]:
    """Return those registrations that would make new watches beyond the client's limit of open watches."""
    if not wanted or not limit_problem(call, len(wanted)):
        return ()
    keys = {each: registration_key(each) for each in wanted}
    with reading(call.dependencies.engine) as connection:
        existing = store.existing_keys(connection, set(keys.values()))
    # Registrations in a batch with the same key make one watch.
    new = list(dict.fromkeys(key for key in keys.values() if key not in existing))
    refused = set(new[call.dependencies.registrar.available(call.caller.name, len(new), call.now) :])
    return {each for each, key in keys.items() if key in refused}


def _limit_reached(call: ApiCall) -> Problem:
    return Problem(
        status=429,
        detail=f"This client may have {call.dependencies.registrar.limit:,} watches open; wait until some are settled.",
        cause="too-many-open-watches",
        more={"limit": call.dependencies.registrar.limit},
        headers={"Retry-After": "60"},
    )


def _conflict(result: ConflictingRegistration) -> Problem:
    faults = [FieldError(pointer=f"/{name}", detail="differs from that watch's") for name in result.fields]
    return Problem(
        status=409,
        detail=f"The same is registered as {result.watch.id}, with other {' and '.join(result.fields)}.",
        cause="watch-differs",
        more={"watch_id": result.watch.id},
        faults=faults,
    )
