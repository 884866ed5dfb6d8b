"""`POST /v1/imports`: starts an import at HubSpot and registers its watch."""

from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from typing import assert_never

from pydantic import Field

from bridge.core.kinds import DEFAULT_KIND
from bridge.db.accounts import DEFAULT
from bridge.http.addresses import callback_host
from bridge.steps import start_import as starting
from bridge.steps.register import ConflictingRegistration, Registered, Registration, RegistrationResult
from bridge.steps.start_import import NoTaskId, NotStarted, StartResult, UnknownOutcome, Unwatched
from bridge.web import idempotency
from bridge.web.api.registrations import TRACEPARENT_PARAMETER, limit_problem, to_response
from bridge.web.idempotency import Execution
from bridge.web.operations import LOCATION, ApiCall, Reply, Resource, ResponseSpec
from bridge.web.problems import Problem
from bridge.web.request_models import AccountName, Body, CallbackUrl, Document, Metadata, TimeoutSeconds
from bridge.web.response_models import WatchSchema, examples
from bridge.web.thread_limits import IMPORTS, RETRY_AFTER_SECONDS

resource = Resource("Watches")


class NewImport(Body):
    """An import to start, and how to watch it. The JSON fields `import` and `callback_url` are required."""

    model_config = examples(
        {
            "import": {
                "url": "https://files.example.com/report.csv",
                "access": "PRIVATE",
                "folderPath": "/imports",
            },
            "callback_url": "https://app.example.com/hooks/hubspot",
            "account": "default",
            "metadata": {"order": 17},
            "timeout_seconds": 86400,
        }
    )

    document: Document = Field(
        alias="import",
        repr=False,  # its URL may hold a secret
        description="The body for HubSpot's `import-from-url/async`, sent on as it is; at most 16 KiB.",
    )
    callback_url: CallbackUrl = Field(
        description="Where the callback goes: an http(s) URL without a user name or password and without a fragment."
    )
    account: AccountName = Field(
        default=DEFAULT, description="The HubSpot account that is to import the file."
    )
    metadata: Metadata = Field(
        default_factory=lambda: "{}",
        description="A JSON object of at most 4 KiB, which the callback returns as it is; `{}` when left out.",
    )
    timeout_seconds: TimeoutSeconds | None = Field(
        default=None,
        description="The time limit of the watch, in seconds from its registration. A watch whose task was not seen to end by then ends as `timed_out`. The default is a day, unless the operator has set another one.",
    )


@resource.operation(
    "POST /v1/imports",
    body=NewImport,
    responses={
        201: ResponseSpec(description="The new watch.", model=WatchSchema, headers=LOCATION),
        200: ResponseSpec(
            description="HubSpot named a task that this client watches already.", model=WatchSchema
        ),
    },
    problems=(409, 429, 502, 503, 504),
    headers=(idempotency.PARAMETER, TRACEPARENT_PARAMETER),
    opens_watches=True,
)
def start_import(call: ApiCall, body: NewImport) -> Reply | Problem:
    """Start the import of a file at HubSpot, and watch it.

    When HubSpot cannot be called now, for example because the account is paused or the bridge's share of the
    account's quota is used up, the answer is a 503. A 503 with `task_id` is different: the import was started, but
    could not be watched. Register the task by this id. After an error from HubSpot, or a response without a task id,
    the answer is a 502 with HubSpot's response; `detail` says whether the import may have been started. When
    HubSpot's response is lost, the answer is a 504: the import may have been started or not, and HubSpot is not
    called again.

    With an `Idempotency-Key` of your choice, at most one import is started within 24 h, whatever crashes in between.
    A repeat is a request with the same key and the same body. A request with the same key and another body gets a
    422. Without a key, a repeated request starts another import.

    While the first request is being carried out, a repeat gets a 409. For 24 h, a repeat gets the first answer again,
    unless the first answer was a 429 or a 503. After a 429, or a 503 without `task_id`, a repeat may start the
    import.

    Three events leave a request unfinished: a crash of the bridge, an outage of its database, and a 503 with `task_id`.
    For up to a minute after such an event, a repeat gets a 409. The effect of a later repeat depends on the last step
    that the bridge has stored. After the step "HubSpot has named the task", the repeat registers the task. After the
    step "HubSpot is about to be called", the repeat gets a 504, and HubSpot is not called again. Before both steps,
    the repeat may start the import.
    """
    execution = idempotency.begin(call)
    if not isinstance(execution, Execution):
        return execution
    # A task that an earlier execution has started is watched even beyond the limit: a 429 would forget the task, and
    # the next repeat of the request would start another import.
    if not execution.task_id and (problem := limit_problem(call, 1)):
        execution.forget()
        return problem
    call.ensure_client()
    started = _start(call, body, execution)
    answer = _to_response(call, started)
    if isinstance(started, NotStarted):
        execution.forget()
    elif not isinstance(started, Unwatched):
        execution.keep(answer)
    return answer


def _start(call: ApiCall, body: NewImport, execution: Execution) -> StartResult:
    client = call.caller.name
    # Made before HubSpot is asked, and complete except for the task's id: nothing may fail between HubSpot's answer and
    # the registration.
    wanted = _registration(call, body)

    def register(task_id: str) -> RegistrationResult:
        execution.note_task(task_id)
        return call.dependencies.registrar.register_many([replace(wanted, task_id=task_id)])[0]

    if execution.task_id:
        return starting.register_task(register, client, execution.task_id)
    if not IMPORTS.enter():
        retry_at = call.dependencies.clock() + timedelta(seconds=RETRY_AFTER_SECONDS)
        return NotStarted(reason=IMPORTS.reason, retry_at=retry_at)
    try:
        return starting.start(
            call.dependencies.hubspot_calls,
            client=client,
            account=body.account,
            document=body.document,
            register=register,
            claim_hubspot_call=execution.claim_hubspot_call,
        )
    finally:
        IMPORTS.leave()


def _registration(call: ApiCall, body: NewImport) -> Registration:
    """Return a registration for the import's task, with an empty `task_id`, which the caller replaces."""
    return Registration(
        client=call.caller.name,
        account=body.account,
        kind=DEFAULT_KIND,
        task_id="",
        callback_url=body.callback_url,
        callback_host=callback_host(body.callback_url),
        metadata=body.metadata,
        timeout_seconds=body.timeout_seconds or call.dependencies.watch_timeout_seconds,
        names_timeout=body.timeout_seconds is not None,
        traceparent=call.traceparent,
    )


def _to_response(call: ApiCall, started: StartResult) -> Reply | Problem:
    match started:
        case Registered() | ConflictingRegistration():
            return to_response(call, started)
        case NotStarted(reason=reason, retry_at=retry_at):
            headers = _retry_after(retry_at, call.dependencies.clock())
            return Problem(status=503, detail=reason, cause="import-not-started", headers=headers)
        case NoTaskId(status_code=status_code, hubspot=hubspot, reason=reason):
            more = {"hubspot_status_code": status_code}
            return Problem(status=502, detail=reason, more=more, hubspot=hubspot)
        case UnknownOutcome(reason=reason):
            return Problem(status=504, detail=reason)
        case Unwatched(task_id=task_id, reason=reason):
            return Problem(status=503, detail=reason, cause="import-not-watched", more={"task_id": task_id})
        case never:
            assert_never(never)


def _retry_after(at: datetime | None, now: datetime) -> dict[str, str]:
    return {"Retry-After": str(max(ceil((at - now).total_seconds()), 1))} if at else {}
