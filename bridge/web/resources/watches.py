"""Looking at watches: lists, single ones, and their attempts."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from pydantic import Field

from bridge.core.delivery import Attempt, Trigger
from bridge.core.instants import rfc3339
from bridge.edges.database import reading
from bridge.edges.store import listing
from bridge.edges.store import watches as store
from bridge.web.auth import Caller
from bridge.web.fields import Cursor, PageLimit, Query
from bridge.web.filters import FilterFields
from bridge.web.operations import Answered, Call, Reply, Resource, reply
from bridge.web.problems import Problem, not_found
from bridge.web.shown import Shown, ShownWatch, watch_text

resource = Resource("Watches")


class ListQuery(FilterFields, Query):
    """Which watches, and which page of them."""

    limit: PageLimit = Field(default=50, description="At most so many.")
    cursor: Cursor | None = Field(default=None, description="The `next_cursor` of the page before.")


class ShownPage(Shown):
    """A page of watches, newest first."""

    watches: list[ShownWatch]
    next_cursor: str | None = Field(description="Where the next page begins; null on the last one.")


class ShownAttempt(Shown):
    """One POST of a callback, as it went."""

    number: int = Field(description="Counted from 1.")
    trigger: Trigger
    started_at: datetime
    duration_ms: int
    status_code: int | None = Field(description="Null when the receiver did not answer.")
    error: str | None = Field(description="A sentence; null when the callback was accepted.")
    response_excerpt: str | None = Field(description="The answer's first 2 KiB: for admins, else null.")


class ShownAttempts(Shown):
    """A watch's newest attempts, oldest first."""

    attempts: list[ShownAttempt]


@resource.operation(
    "GET /v1/watches",
    query=ListQuery,
    answers={
        200: Answered(what="A page.", model=ShownPage, headers={"Link": 'The next page, as `rel="next"`.'})
    },
    problems=(403,),
)
def list_watches(call: Call, query: ListQuery) -> Reply | Problem:
    """List watches, newest first.

    An admin sees all, a client its own. Follow `next_cursor`, or the `Link` header, which keeps the filters:
    each watch comes once, however many are added meanwhile.
    """
    filters = query.filters(call.caller)
    if isinstance(filters, Problem):
        return filters
    with reading(call.parts.engine) as connection:
        found = listing.page(connection, filters, before=query.cursor, limit=query.limit + 1)
        page = found[: query.limit]
        answers = store.answers_of(connection, [watch.id for watch in page])
    following = listing.cursor(page[-1]) if len(found) > len(page) else None
    texts = ", ".join(watch_text(watch, answers.get(watch.id)) for watch in page)
    cursor = f'"{following}"' if following else "null"
    text = f'{{"watches": [{texts}], "next_cursor": {cursor}}}'
    return Reply(text=text, headers={"Link": _link(call, query, following)} if following else {})


@resource.operation(
    "GET /v1/watches/{watch_id}",
    answers={200: Answered(what="The watch.", model=ShownWatch)},
    problems=(404,),
)
def show_watch(call: Call, watch_id: str) -> Reply | Problem:
    """Show a watch."""
    with reading(call.parts.engine) as connection:
        watch = store.get(connection, watch_id)
        answers = store.answers_of(connection, [watch_id])
    if watch is None or not call.caller.sees(watch.client):
        return not_found("watch")
    return Reply(text=watch_text(watch, answers.get(watch_id)))


@resource.operation(
    "GET /v1/watches/{watch_id}/attempts",
    answers={200: Answered(what="The newest 1,000 attempts, oldest first.", model=ShownAttempts)},
    problems=(404,),
)
def list_attempts(call: Call, watch_id: str) -> Reply | Problem:
    """List the attempts to deliver a watch's callback.

    What the receiver answered is shown to admins alone: it may hold what was not meant for the client.
    """
    with reading(call.parts.engine) as connection:
        watch = store.get(connection, watch_id)
        attempts = store.attempts_of(connection, watch_id)
    if watch is None or not call.caller.sees(watch.client):
        return not_found("watch")
    return reply({"attempts": [attempt_members(attempt, call.caller) for attempt in attempts]})


def attempt_members(attempt: Attempt, caller: Caller) -> dict[str, Any]:
    """Return an attempt as it is written in JSON for this caller."""
    return {
        "number": attempt.number,
        "trigger": attempt.trigger,
        "started_at": rfc3339(attempt.started_at),
        "duration_ms": attempt.duration_ms,
        "status_code": attempt.status_code,
        "error": attempt.error,
        "response_excerpt": attempt.response_excerpt if caller.admin else None,
    }


def _link(call: Call, query: ListQuery, cursor: str) -> str:
    given = query.model_dump(mode="json", exclude_unset=True) | {"cursor": cursor}
    return f'<{call.url("/v1/watches")}?{urlencode(given)}>; rel="next"'
