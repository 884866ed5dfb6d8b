"""Changing watches by hand: taking them back, asking HubSpot now, sending callbacks again."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from pydantic import ConfigDict, Field
from sqlalchemy import Connection

from bridge.core.watch import IllegalTransition, Watch, recheck, redeliver, withdraw
from bridge.db import claims, watch_lists
from bridge.db import watches as store
from bridge.db.engine import reading
from bridge.db.watch_lists import Filters
from bridge.web.api.filters import FilterFields
from bridge.web.api.registrations import no_room
from bridge.web.operations import Answered, Call, Reply, Resource, reply
from bridge.web.problems import Fault, Problem, not_found
from bridge.web.requests import Body
from bridge.web.responses import Shown, ShownWatch, watch_text

log = structlog.get_logger()

resource = Resource("Watches")

# Rows that a transaction holds locked: few enough that workers hardly wait for them.
BATCH = 1000


class Redelivery(FilterFields, Body):
    """Which watches to redeliver: at least one filter."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"state": "undelivered", "callback_host": "app.example.com"}]}
    )

    dry_run: bool = Field(default=False, description="Only count them.")

    @classmethod
    def faults_between(cls, given: Mapping[str, Any]) -> Sequence[Fault]:
        """See that there is a filter."""
        if any(given.get(name) is not None for name in FilterFields.model_fields):
            return ()
        return [Fault(pointer="", detail="must have at least one filter")]


class ShownCount(Shown):
    """How many watches."""

    count: int


@resource.operation(
    "DELETE /v1/watches/{watch_id}",
    answers={200: Answered(what="The watch, now withdrawn.", model=ShownWatch)},
    problems=(404, 409),
)
def withdraw_watch(call: Call, watch_id: str) -> Reply | Problem:
    """Withdraw a watch.

    Nothing more is asked or sent; a callback that is on its way cannot be called back. The same may be
    registered again. What is settled or withdrawn already is a 409.
    """
    return _changed(call, watch_id, withdraw, store.withdrawn, status=200)


@resource.operation(
    "POST /v1/watches/{watch_id}/redeliver",
    answers={202: Answered(what="The watch, delivering again.", model=ShownWatch)},
    problems=(404, 409, 429),
)
def redeliver_watch(call: Call, watch_id: str) -> Reply | Problem:
    """Send a watch's callback again.

    Only for what is `delivered` or `undelivered`. The first attempt is at once and counts as manual; the
    schedule starts anew. The watch is open again: beyond the limit of a client it is a 429, but not to an admin.
    """
    if full := _no_room(call, 1):
        return _hindrance(call, watch_id, redeliver) or full

    def save(connection: Connection, watch: Watch) -> None:
        _put(connection, watch)
        call.registrar.reopened(watch.client, 1)

    return _changed(call, watch_id, redeliver, save, status=202)


@resource.operation(
    "POST /v1/watches/{watch_id}/recheck",
    answers={202: Answered(what="The watch, due now.", model=ShownWatch)},
    problems=(404, 409),
)
def recheck_watch(call: Call, watch_id: str) -> Reply | Problem:
    """Ask HubSpot about a watch now, instead of when it is due.

    Only while it is `watching`.
    """
    return _changed(call, watch_id, _recheck, _put, status=202)


@resource.operation(
    "POST /v1/watches/redeliver",
    body=Redelivery,
    answers={
        202: Answered(what="How many are being delivered again.", model=ShownCount),
        200: Answered(what="With `dry_run`: how many would be.", model=ShownCount),
    },
    problems=(403, 429),
)
def redeliver_watches(call: Call, body: Redelivery) -> Reply | Problem:
    """Send the callbacks of many watches again.

    Of those that the filters mean, the `delivered` and `undelivered` ones; an admin's filters mean all
    clients' watches. At least one filter must be given: nobody redelivers everything by a slip. When a client
    may not have so many more watches open, none is redelivered, and it is a 429.
    """
    filters = body.filters(call.caller)
    if isinstance(filters, Problem):
        return filters
    if body.dry_run:
        return reply({"count": _count(call, filters)})
    if not call.caller.admin and (problem := _no_room(call, _count(call, filters))):
        return problem
    count = _redeliver(call, filters)
    if filters.client is None:
        call.registrar.forget()
    else:
        call.registrar.reopened(filters.client, count)
    log.info("watches_redelivered", by=call.caller.name, count=count)
    return reply({"count": count}, status=202)


def _no_room(call: Call, wanted: int) -> Problem | None:
    return None if call.caller.admin else no_room(call, wanted)


def _count(call: Call, filters: Filters) -> int:
    with reading(call.parts.engine) as connection:
        return watch_lists.count_redeliverable(connection, filters)


def _redeliver(call: Call, filters: Filters) -> int:
    count, before = 0, None
    while True:
        with call.parts.engine.begin() as connection:
            done = watch_lists.redeliver(connection, filters, before=before, limit=BATCH, now=call.now)
        count, before = count + done.count, done.before
        if before is None:
            return count


def _changed(
    call: Call,
    watch_id: str,
    change: Callable[..., Watch],
    save: Callable[[Connection, Watch], None],
    *,
    status: int,
) -> Reply | Problem:
    with call.parts.engine.begin() as connection:
        watch = next(iter(store.lock(connection, [watch_id])), None)
        changed = _after(call, watch, change)
        if isinstance(changed, Problem):
            return changed
        save(connection, changed)
        answers = store.answers_of(connection, [watch_id])
    return Reply(text=watch_text(changed, answers.get(watch_id)), status=status)


def _hindrance(call: Call, watch_id: str, change: Callable[..., Watch]) -> Problem | None:
    """Say why a watch cannot be changed so, if it cannot."""
    with reading(call.parts.engine) as connection:
        changed = _after(call, store.get(connection, watch_id), change)
    return changed if isinstance(changed, Problem) else None


def _after(call: Call, watch: Watch | None, change: Callable[..., Watch]) -> Watch | Problem:
    if watch is None or not call.caller.sees(watch.client):
        return not_found("watch")
    try:
        return change(watch, now=call.now)
    except IllegalTransition as illegal:
        return Problem(status=409, detail=f"{watch.id} stays as it is: {illegal}.")


def _put(connection: Connection, watch: Watch) -> None:
    claims.put(connection, [watch])


def _recheck(watch: Watch, *, now: datetime) -> Watch:
    rechecked = recheck(watch, now=now)
    # A worker that holds the lease is asking at this very moment: to take it away would lose the answer.
    held = watch.claimed_by is not None and watch.due_at is not None and watch.due_at > now
    return watch if held else rechecked
