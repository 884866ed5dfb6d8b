"""The operations that read watches: list watches, show one watch, and list its attempts."""

import json
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from pydantic import Field, ValidationInfo, field_validator

from bridge.core.delivery import Trigger
from bridge.core.watch_json import attempt_members, watch_text
from bridge.db import pagination
from bridge.db import watches as store
from bridge.db.engine import reading
from bridge.web.api.exports import ExportQuery
from bridge.web.operations import ApiCall, Reply, Resource, ResponseSpec, reply
from bridge.web.problems import Problem, not_found
from bridge.web.request_models import Cursor, PageLimit
from bridge.web.response_models import EXAMPLE, Output, WatchSchema, examples

resource = Resource("Watches")


class ListQuery(ExportQuery):
    """The query parameters of the list of watches: those of an export, and the cursor and size of a page."""

    limit: PageLimit = Field(default=50, description="How many watches a page has at most.", examples=[100])
    cursor: Cursor | None = Field(
        default=None,
        description="The `next_cursor` or `prev_cursor` of a page of the same list.",
        examples=["bmV4dC1wYWdl"],
    )

    @field_validator("cursor")
    @classmethod
    def _fits_order(cls, cursor: Cursor, info: ValidationInfo) -> Cursor:
        order = info.data.get("order")  # missing when it is not valid, which is an error of its own
        if order and not cursor.fits(order):
            raise ValueError("must be a cursor of a list in this order")
        return cursor


class WatchPageSchema(Output):
    """A page of watches, newest first."""

    model_config = examples(
        {"watches": [EXAMPLE], "next_cursor": "bmV4dC1wYWdl", "prev_cursor": "cHJldi1wYWdl"}
    )

    watches: list[WatchSchema] = Field(
        description="At most `limit` watches; may be empty although more pages follow."
    )
    next_cursor: str | None = Field(description="The `cursor` of the next page; null on the last page.")
    prev_cursor: str | None = Field(description="The `cursor` of the page before; null on the first page.")


ATTEMPT_EXAMPLE: dict[str, Any] = {
    "number": 1,
    "trigger": "schedule",
    "started_at": "2026-11-05T13:00:09.500000Z",
    "duration_ms": 84,
    "status_code": 503,
    "error": "The receiver answered 503",
    "response_excerpt": None,
}
ADMINS_EXAMPLE = ATTEMPT_EXAMPLE | {"response_excerpt": "Service Unavailable"}


class AttemptSchema(Output):
    """One attempt to POST a callback, and its result."""

    model_config = examples(ATTEMPT_EXAMPLE, ADMINS_EXAMPLE)

    number: int = Field(description="Which attempt of the watch this is, counted from 1.", ge=1)
    trigger: Trigger | str = Field(
        description="What led to the attempt: the `schedule`, or `manual` for the first one after a redelivery."
    )
    started_at: datetime = Field(description="When the attempt began.")
    duration_ms: int = Field(description="How many milliseconds the attempt took.", ge=0)
    status_code: int | None = Field(
        description="The status that the receiver answered; null when it did not answer.", ge=100, le=999
    )
    error: str | None = Field(
        description="What went wrong, in a sentence; null when the callback was accepted."
    )
    response_excerpt: str | None = Field(
        description="The first 2 KiB of the receiver's answer; null unless the API key is an admin's."
    )


class AttemptListSchema(Output):
    """A watch's attempts in the order in which they were made, at most the newest 1,000."""

    model_config = examples({"attempts": [ATTEMPT_EXAMPLE]})

    attempts: list[AttemptSchema] = Field(
        description="The attempts in the order in which they were made, at most the newest 1,000."
    )


@resource.operation(
    "GET /v1/watches",
    query=ListQuery,
    responses={
        200: ResponseSpec(
            description="A page.",
            model=WatchPageSchema,
            headers={
                "Link": {
                    "description": 'The next page and the one before, as `rel="next"` and `rel="prev"`.',
                    "schema": {"type": "string"},
                    "example": '</v1/watches?limit=50&cursor=MjAyNg>; rel="next"',
                }
            },
        )
    },
    problems=(403,),
)
def list_watches(call: ApiCall, query: ListQuery) -> Reply | Problem:
    """List watches, newest first.

    An admin sees all watches, a client its own. With `order=ended_at`, watches whose `ended_at` is null are
    left out. To read the whole list, follow `next_cursor` until it is null; or follow the `next` URLs of the
    `Link` header, which keep the filters. Each watch comes once, even if others are added meanwhile. If few watches
    match the filters, a page may have fewer than `limit` watches, even none, although more pages follow.
    """
    filters = query.filters(call.caller)
    if isinstance(filters, Problem):
        return filters
    with reading(call.dependencies.engine) as connection:
        page = pagination.page(connection, filters, order=query.order, cursor=query.cursor, limit=query.limit)
        answers = store.answers_of(connection, [watch.id for watch in page.watches])
    texts = ", ".join(watch_text(watch, answers.get(watch.id)) for watch in page.watches)
    cursors = {"next": page.following, "prev": page.previous}
    ends = ", ".join(
        f'"{name}_cursor": {json.dumps(cursor and str(cursor))}' for name, cursor in cursors.items()
    )
    links = [_link(call, query, name, cursor) for name, cursor in cursors.items() if cursor]
    return Reply(
        text=f'{{"watches": [{texts}], {ends}}}', headers={"Link": ", ".join(links)} if links else {}
    )


@resource.operation(
    "GET /v1/watches/{watch_id}",
    responses={200: ResponseSpec(description="The watch.", model=WatchSchema)},
)
def show_watch(call: ApiCall, watch_id: str) -> Reply | Problem:
    """Show a watch."""
    with reading(call.dependencies.engine) as connection:
        watch = store.get(connection, watch_id)
        answers = store.answers_of(connection, [watch_id])
    if watch is None or not call.caller.sees(watch.client):
        return not_found("watch")
    return Reply(text=watch_text(watch, answers.get(watch_id)))


@resource.operation(
    "GET /v1/watches/{watch_id}/attempts",
    responses={
        200: ResponseSpec(description="The newest 1,000 attempts, oldest first.", model=AttemptListSchema)
    },
)
def list_attempts(call: ApiCall, watch_id: str) -> Reply | Problem:
    """List the newest 1,000 attempts to deliver a watch's callback, oldest first.

    Only admins see the text of the receiver's responses, which may contain data that is not for the client.
    """
    with reading(call.dependencies.engine) as connection:
        watch = store.get(connection, watch_id)
        attempts = store.attempts_of(connection, watch_id)
    if watch is None or not call.caller.sees(watch.client):
        return not_found("watch")
    return reply({"attempts": [attempt_members(attempt, excerpt=call.caller.admin) for attempt in attempts]})


def _link(call: ApiCall, query: ListQuery, rel: str, cursor: pagination.Cursor) -> str:
    given = query.model_dump(mode="json", exclude_unset=True, exclude={"cursor"}) | {"cursor": str(cursor)}
    texts = {name: ",".join(value) if isinstance(value, list) else value for name, value in given.items()}
    return f'<{call.url("/v1/watches")}?{urlencode(texts)}>; rel="{rel}"'
