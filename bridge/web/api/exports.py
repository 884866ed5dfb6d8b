"""`GET /v1/watches.csv`: the watches that match the filters, streamed as CSV."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from flask import g
from pydantic import Field, RootModel
from sqlalchemy import Engine
from structlog.contextvars import bound_contextvars

from bridge.core.watch import Watch
from bridge.core.watch_json import watch_members
from bridge.db import pagination
from bridge.db.engine import reading
from bridge.db.pagination import Cursor, Order, Page
from bridge.db.watch_filters import Filters
from bridge.web.api.filters import FilterFields
from bridge.web.errors import problem_of
from bridge.web.operations import ApiCall, Reply, Resource, ResponseSpec
from bridge.web.problems import Problem
from bridge.web.request_models import Query
from bridge.web.response_models import WatchSchema, examples
from bridge.web.thread_limits import EXPORTS

resource = Resource("Watches")

MEDIA_TYPE = "text/csv; charset=utf-8"
# The fields of a watch, except HubSpot's response, which is too large for a cell.
COLUMNS = tuple(name for name in WatchSchema.model_fields if name != "hubspot")
ROWS = 1_000  # per transaction


class ExportQuery(FilterFields, Query):
    """The query parameters of an export: which watches are in the CSV, and in which order."""

    order: Order = Field(
        default=Order.CREATED_AT,
        description="The instant by which the list is sorted, newest first.",
        examples=["ended_at"],
    )


class WatchTableSchema(RootModel[str]):
    """Watches as CSV (RFC 4180): a line with column names, then one for each watch; null is an empty cell."""

    model_config = examples("id,task_id,kind\r\nwat_01hf3k9c2e7v8x4m6q0r5t1w3y8,AAAAEZ6whGI,file-import\r\n")


@resource.operation(
    "GET /v1/watches.csv",
    query=ExportQuery,
    responses={
        200: ResponseSpec(
            description="All watches that match the filters.", model=WatchTableSchema, media_type=MEDIA_TYPE
        )
    },
    problems=(403, 429),
)
def export_watches(call: ApiCall, query: ExportQuery) -> Reply | Problem:
    """Export watches as CSV.

    All watches that match the filters are exported; the filters are those of `GET /v1/watches`. With
    `order=ended_at`, watches whose `ended_at` is null are left out. The response is streamed: after an error in the
    middle, the connection is closed before the response is complete. Each web process makes at most two exports at a
    time, for all clients together; the answer to a further request is a 429.
    """
    filters = query.filters(call.caller)
    if isinstance(filters, Problem):
        return filters
    if not EXPORTS.enter():
        return EXPORTS.problem()
    table = _table(call.dependencies.engine, filters, query.order, g.request_id)
    # The first rows are read before the response begins: if the database fails, the answer can still be a Problem.
    next(table)
    return Reply(text=table, media_type=MEDIA_TYPE)


def _page(engine: Engine, filters: Filters, order: Order, cursor: Cursor | None) -> Page:
    with reading(engine) as connection:
        return pagination.page(connection, filters, order=order, cursor=cursor, limit=ROWS)


def _table(engine: Engine, filters: Filters, order: Order, request_id: str) -> Iterator[str]:
    """Read the first rows and yield an empty text; then yield the CSV, part by part.

    The empty text lets the caller see an error of the first read before the response begins. A later error is logged
    with `request_id`. The generator calls `EXPORTS.leave` when the generator ends, even after an error.
    """
    try:
        page = _page(engine, filters, order, None)
        yield ""
        yield _lines([COLUMNS])
        yield _lines(map(_cells, page.watches))
        while page.following:
            page = _following_page(engine, filters, order, page.following, request_id)
            yield _lines(map(_cells, page.watches))
    finally:
        EXPORTS.leave()


def _following_page(engine: Engine, filters: Filters, order: Order, cursor: Cursor, request_id: str) -> Page:
    """Return the page at `cursor`.

    When the page cannot be read, the error is logged with `request_id`, as for any failed request. Then
    ConnectionAbortedError is raised.
    """
    try:
        return _page(engine, filters, order, cursor)
    except Exception as error:
        with bound_contextvars(request_id=request_id):
            problem_of(error)
        # The response has begun, and can only break off: after an OSError waitress closes the connection silently.
        raise ConnectionAbortedError from error


def _cells(watch: Watch) -> Sequence[object]:
    members = watch_members(watch)
    return [members[name] for name in COLUMNS]


def _lines(rows: Iterable[Sequence[object]]) -> str:
    text = StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
