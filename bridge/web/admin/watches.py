"""The list of watches, with the API's filters in its URL; the search for a watch; bulk redelivery."""

import json
import re
from collections.abc import Mapping
from urllib.parse import urlencode

from flask import flash, redirect, request, url_for
from werkzeug.wrappers import Response

from bridge.core.instants import read_rfc3339, rfc3339
from bridge.core.kinds import KINDS
from bridge.core.watch import REDELIVERABLE, Outcome, State
from bridge.db import pagination, watches
from bridge.db.engine import reading
from bridge.db.watch_filters import Filters
from bridge.steps import changes
from bridge.web.admin.blueprint import admin, call, or_abort, page
from bridge.web.api.changes import BulkRedelivery, redeliver_watches
from bridge.web.api.filters import FilterFields
from bridge.web.api.watches import ListQuery
from bridge.web.operations import WATCH_ID
from bridge.web.problems import Problem
from bridge.web.request_models import validated

# The value of a browser's datetime-local field. It has no zone; here it is taken as UTC.
_LOCAL_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(:\d\d(?:\.\d+)?)?", re.ASCII)
CHOICES = {"states": list(State), "outcomes": list(Outcome), "kinds": list(KINDS)}


@admin.get("/watches")
def list_watches() -> Response:
    """Show one page of the list of watches.

    If the query string is not in the API's form (because of empty fields, for example), redirect to the same list
    with a query string in that form.
    """
    parameters = _query_parameters()
    if dict(request.args.lists()) != {name: [value] for name, value in parameters.items()}:
        return redirect(_url(parameters))
    query = validated(ListQuery, parameters)
    if isinstance(query, Problem):
        return page("admin/watches.html", query.status, parameters=parameters, problem=query, **CHOICES)
    filters = or_abort(query.filters(call().caller))
    with reading(call().dependencies.engine) as connection:
        found = pagination.page(
            connection, filters, order=query.order, cursor=query.cursor, limit=query.limit
        )
    if query.cursor and query.cursor.backwards and not (found.watches or found.previous):
        # No watch is newer than the cursor any more: show the first page.
        return redirect(_url({name: value for name, value in parameters.items() if name != "cursor"}))
    return page(
        "admin/watches.html",
        parameters=parameters,
        filters=_filters(parameters),
        newer=found.previous and _url({**parameters, "cursor": str(found.previous)}),
        older=found.following and _url({**parameters, "cursor": str(found.following)}),
        watches=found.watches,
        **CHOICES,
    )


def _query_parameters() -> dict[str, str]:
    """Return the request's query parameters in the API's form.

    Empty parameters are left out; several values of one parameter are joined by commas. Instants are converted to
    UTC; an instant without a zone is taken as UTC. A text that is no instant stays as it is.
    """
    joined = {name: ",".join(value for value in values if value) for name, values in request.args.lists()}
    return {name: _in_utc(name, value) for name, value in joined.items() if value}


def _filters(parameters: Mapping[str, str]) -> dict[str, str]:
    return {name: parameters[name] for name in FilterFields.model_fields if name in parameters}


def _in_utc(name: str, value: str) -> str:
    if not name.endswith(("_after", "_before")) or value.endswith("Z"):
        return value
    if local := _LOCAL_INSTANT.fullmatch(value):
        return f"{local[1]}{local[2] or ':00'}Z"
    try:
        return rfc3339(read_rfc3339(value))
    except ValueError:
        return value  # the page says what is wrong with it


def _url(parameters: Mapping[str, str]) -> str:
    query = urlencode(parameters, safe=",:")
    return url_for("admin.list_watches") + (f"?{query}" if query else "")


@admin.get("/search")
def search() -> Response:
    """Redirect to the watch whose id or HubSpot task id was searched for, or to a list of watches.

    If several watches have the task id, the list shows them. If the text is no watch's id or task id, it is taken for
    a callback host, and the list shows the watches with that host. After an empty search, the list shows all watches.
    """
    text = request.args.get("q", "").strip()
    if not text:
        return redirect(url_for("admin.list_watches"))
    with reading(call().dependencies.engine) as connection:
        if WATCH_ID.fullmatch(text) and watches.get(connection, text):
            return redirect(url_for("admin.show_watch", watch_id=text))
        by_task = pagination.page(
            connection, Filters(task_id=text), order=pagination.Order.CREATED_AT, cursor=None, limit=2
        ).watches
    match by_task:
        case [only]:
            return redirect(url_for("admin.show_watch", watch_id=only.id))
        case []:
            return redirect(url_for("admin.list_watches", callback_host=text))
        case _:
            return redirect(url_for("admin.list_watches", task_id=text))


@admin.get("/watches/redeliver")
def count_redelivery() -> Response:
    """Show how many delivered and undelivered watches the filters match, and ask whether to redeliver them.

    Only the newest watches are examined, up to a limit; if older ones may match too, the page says so.
    """
    filters = or_abort(_redelivery().filters(call().caller))
    count, is_all = changes.count_some_redeliverable(call().dependencies.engine, filters)
    settled = " or ".join(sorted(REDELIVERABLE))
    return page(
        "admin/redeliver.html",
        filters=_filters(_query_parameters()),
        count=count,
        is_all=is_all,
        settled=settled,
    )


@admin.post("/watches/redeliver")
def redeliver_all() -> Response:
    """Redeliver all delivered and undelivered watches that match the filters."""
    answer = or_abort(redeliver_watches(call(), _redelivery()))
    count = json.loads(str(answer.text))["count"]
    flash(f"{count:,} {'callback is' if count == 1 else 'callbacks are'} being sent again.")
    return redirect(_url(_filters(_query_parameters())), 303)


def _redelivery() -> BulkRedelivery:
    return or_abort(validated(BulkRedelivery, _filters(_query_parameters())))
