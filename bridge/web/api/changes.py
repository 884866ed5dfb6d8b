"""The operations that change watches by hand: withdraw, recheck and redeliver."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from bridge.core.watch_json import watch_text
from bridge.db.watch_filters import Filters
from bridge.steps import changes
from bridge.steps.changes import Changed, WatchUnchanged
from bridge.web.api.filters import FilterFields
from bridge.web.api.registrations import limit_problem
from bridge.web.operations import ApiCall, Reply, Resource, ResponseSpec, reply
from bridge.web.problems import FieldError, Problem, not_found
from bridge.web.request_models import Body
from bridge.web.response_models import Output, WatchSchema, examples

resource = Resource("Watches")


class BulkRedelivery(FilterFields, Body):
    """The filters that select the watches to redeliver; at least one is required."""

    model_config = examples({"state": "undelivered", "callback_host": "app.example.com", "dry_run": False})

    dry_run: bool = Field(
        default=False, description="Only count the watches; redeliver none.", examples=[True]
    )

    @classmethod
    def cross_field_faults(cls, given: Mapping[str, Any]) -> Sequence[FieldError]:
        """Return an error unless at least one filter is given."""
        if any(given.get(name) is not None for name in FilterFields.model_fields):
            return ()
        return [FieldError(pointer="", detail="must have at least one filter")]


class WatchCountSchema(Output):
    """The number of watches in a bulk redelivery."""

    model_config = examples({"count": 17})

    count: int = Field(
        description="How many watches are redelivered; with `dry_run`, how many would be.", ge=0
    )


@resource.operation(
    "DELETE /v1/watches/{watch_id}",
    responses={200: ResponseSpec(description="The watch, now withdrawn.", model=WatchSchema)},
    problems=(409,),
)
def withdraw_watch(call: ApiCall, watch_id: str) -> Reply | Problem:
    """Withdraw a watch.

    The bridge stops polling, and sends no callback; one that is being sent cannot be stopped. The same task may then
    be registered again. If the watch is delivered, undelivered or withdrawn already, the answer is a 409.
    """
    withdrawn = changes.withdraw(call.dependencies.engine, watch_id, client=_owner_filter(call), now=call.now)
    return _to_response(withdrawn, status=200)


@resource.operation(
    "POST /v1/watches/{watch_id}/redeliver",
    responses={202: ResponseSpec(description="The watch, delivering again.", model=WatchSchema)},
    problems=(409, 429),
    opens_watches=True,
)
def redeliver_watch(call: ApiCall, watch_id: str) -> Reply | Problem:
    """Send a watch's callback again.

    This works only in the states `delivered` and `undelivered`; in others the answer is a 409. The first attempt is
    due at once, and its `trigger` is `manual`; its retries follow the schedule from the start. The watch is open
    again. If the client already has as many open watches as its limit allows, the answer is a 429. The limit does not
    apply to an admin.
    """
    engine, client = call.dependencies.engine, _owner_filter(call)
    if full := _client_limit_problem(call, 1):
        refused = changes.problem_with_redelivery(engine, watch_id, client=client, now=call.now)
        return _problem(refused) if refused else full
    redelivered = changes.redeliver(engine, watch_id, client=client, now=call.now)
    if isinstance(redelivered, Changed):
        call.dependencies.registrar.count_reopened(redelivered.watch.client, 1)
    return _to_response(redelivered, status=202)


@resource.operation(
    "POST /v1/watches/{watch_id}/recheck",
    responses={202: ResponseSpec(description="The watch; its next poll is due now.", model=WatchSchema)},
    problems=(409,),
)
def recheck_watch(call: ApiCall, watch_id: str) -> Reply | Problem:
    """Make a watch's next poll due now.

    This works only in the state `watching`; in others the answer is a 409. The poll still waits while the account is
    paused or its quota is used up.
    """
    rechecked = changes.recheck(call.dependencies.engine, watch_id, client=_owner_filter(call), now=call.now)
    return _to_response(rechecked, status=202)


@resource.operation(
    "POST /v1/watches/redeliver",
    body=BulkRedelivery,
    responses={
        202: ResponseSpec(description="How many watches are being redelivered.", model=WatchCountSchema),
        200: ResponseSpec(
            description="With `dry_run`: how many watches would be redelivered.", model=WatchCountSchema
        ),
    },
    problems=(403, 429),
    opens_watches=True,
)
def redeliver_watches(call: ApiCall, body: BulkRedelivery) -> Reply | Problem:
    """Send the callbacks of many watches again.

    Redelivers the `delivered` and `undelivered` watches that match the filters. An admin's filters apply to the watches
    of all clients; the filters of any other client apply only to its own watches. At least one filter is required, so
    that nobody redelivers everything by mistake. If the redelivery would give the client more open watches than its
    limit, no watch is redelivered, and the answer is a 429. A 429 without `Retry-After` means that the number of
    matching watches is itself above the limit, so that waiting does not help: narrow the filters. The limit does not
    apply to an admin.
    """
    engine, filters = call.dependencies.engine, body.filters(call.caller)
    if isinstance(filters, Problem):
        return filters
    if body.dry_run:
        return reply({"count": changes.count_redeliverable(engine, filters)})
    if problem := _bulk_problem(call, filters):
        return problem
    count = changes.redeliver_all(engine, filters, by=call.caller.name, now=call.now)
    if filters.client is None:
        call.dependencies.registrar.forget_counts()
    else:
        call.dependencies.registrar.count_reopened(filters.client, count)
    return reply({"count": count}, status=202)


def _bulk_problem(call: ApiCall, filters: Filters) -> Problem | None:
    if call.caller.admin:
        return None
    wanted = changes.count_redeliverable(call.dependencies.engine, filters)
    limit = call.dependencies.registrar.limit
    if wanted <= limit:
        return limit_problem(call, wanted)
    # Without Retry-After: no waiting helps.
    return Problem(
        status=429,
        detail=f"The filters match {wanted:,} watches, and this client may have {limit:,} open: narrow the filters.",
        cause="too-many-open-watches",
        more={"limit": limit},
    )


def _client_limit_problem(call: ApiCall, wanted: int) -> Problem | None:
    return None if call.caller.admin else limit_problem(call, wanted)


def _owner_filter(call: ApiCall) -> str | None:
    """Return the client whose watches the caller may change; None for an admin, who may change all."""
    return None if call.caller.admin else call.caller.name


def _to_response(result: Changed | WatchUnchanged, *, status: int) -> Reply | Problem:
    if isinstance(result, WatchUnchanged):
        return _problem(result)
    return Reply(text=watch_text(result.watch, result.hubspot_body), status=status)


def _problem(refused: WatchUnchanged) -> Problem:
    if refused.state is None:
        return not_found("watch")
    more = {"watch_id": refused.watch_id, "state": refused.state}
    return Problem(status=409, detail=refused.reason, cause="wrong-state", more=more)
