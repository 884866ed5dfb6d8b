"""The simulated routes of HubSpot's API."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from bridge.sandbox.replies import Reply, json_reply, unsupported_media_type
from bridge.sandbox.starts import (
    CrmExport,
    FolderUpdate,
    ImportFromUrl,
    SourceCodeExtract,
    StartBody,
    parsed,
    parsed_import,
)
from bridge.sandbox.state import ApiRequest, State
from bridge.sandbox.tasks import Kind
from bridge.sandbox.wire import to_response

# The host in `links.status` of HubSpot's responses. It differs from the API's host, and accepts no tokens.
LINK_HOST = "https://api-na1.hubspot.com"

_ANY = "<any('v3','2026-03','2026-09'):_version>"
_DATED = "<any('2026-03','2026-09'):_version>"
_STATUS = "tasks/<task_id>/status"
_STATUS_PATHS = {
    Kind.FILE_IMPORT: (f"/files/{_ANY}/files/import-from-url/async/{_STATUS}",),
    Kind.FOLDER_UPDATE: (f"/files/{_ANY}/folders/update/async/{_STATUS}",),
    Kind.CRM_EXPORT: (
        f"/crm/v3/exports/export/async/{_STATUS}",
        f"/crm/exports/{_DATED}/export/async/{_STATUS}",
    ),
    Kind.CRM_IMPORT: ("/crm/v3/imports/<task_id>", f"/crm/imports/{_DATED}/<task_id>"),
    Kind.SOURCE_CODE_EXTRACT: (
        f"/cms/v3/source-code/extract/async/{_STATUS}",
        f"/cms/source-code/{_DATED}/extract/async/{_STATUS}",
    ),
}
# Each kind that a JSON body starts, with its endpoint's name in the ledger, the model of the body, and the paths.
_STARTS: tuple[tuple[Kind, str, type[StartBody], tuple[str, ...]], ...] = (
    (Kind.FILE_IMPORT, "start-import", ImportFromUrl, (f"/files/{_ANY}/files/import-from-url/async",)),
    (Kind.FOLDER_UPDATE, "start-folder-update", FolderUpdate, (f"/files/{_ANY}/folders/update/async",)),
    (
        Kind.CRM_EXPORT,
        "start-crm-export",
        CrmExport,
        ("/crm/v3/exports/export/async", f"/crm/exports/{_DATED}/export/async"),
    ),
    (
        Kind.SOURCE_CODE_EXTRACT,
        "start-source-code-extract",
        SourceCodeExtract,
        ("/cms/v3/source-code/extract/async", f"/cms/source-code/{_DATED}/extract/async"),
    ),
)
_CRM_IMPORT_PATHS = ("/crm/v3/imports", f"/crm/imports/{_DATED}")
_ACCOUNT = {
    "portalId": 17,
    "accountType": "STANDARD",
    "timeZone": "UTC",
    "companyCurrency": "USD",
    "additionalCurrencies": [],
    "utcOffset": "+00:00",
    "utcOffsetMilliseconds": 0,
    "uiDomain": "app.hubspot.com",
    "dataHostingLocation": "na1",
}
# Requests by which callers check a token and its scopes: each with its endpoint's name in the ledger, the body that
# is always the same (no files are kept, and no imports listed), and the paths.
_CHECKS: tuple[tuple[str, object, tuple[str, ...]], ...] = (
    ("search-files", {"results": []}, (f"/files/{_ANY}/files/search",)),
    ("list-imports", {"results": []}, _CRM_IMPORT_PATHS),
    ("account-details", _ACCOUNT, (f"/account-info/{_ANY}/details",)),
)


def blueprint(state: State) -> Blueprint:
    """Return a blueprint with HubSpot's routes, answered from `state`."""
    routes = Blueprint("hubspot", __name__)

    def add(endpoint: str, paths: Iterable[str], answer: Callable[..., Reply], **options: Any) -> None:
        """Add a route for each path; the ledger counts the requests to all these routes as `endpoint`.

        `answer` makes the reply; its arguments are the path's variables without `_version`. `options` are those of
        Flask's `add_url_rule`.
        """

        def view(_version: str = "", **values: str) -> Response:
            api_request = ApiRequest(endpoint=endpoint, token=_bearer(), task_id=values.get("task_id"))
            return to_response(state.answer(api_request, partial(answer, **values)), state.stopping)

        for path in paths:
            routes.add_url_rule(path, endpoint, view, **options)

    for kind, paths in _STATUS_PATHS.items():
        add(kind.value, paths, partial(state.status, kind))
    for kind, endpoint, model, paths in _STARTS:
        add(endpoint, paths, partial(_started, state, kind, model), methods=["POST"])
    # The official clients end this path with a slash.
    importing = partial(_import_started, state)
    add("start-crm-import", _CRM_IMPORT_PATHS, importing, methods=["POST"], strict_slashes=False)
    add("file", [f"/files/{_ANY}/files/<file_id>"], state.file)
    for endpoint, document, paths in _CHECKS:
        add(endpoint, paths, partial(json_reply, 200, document), strict_slashes=False)
    routes.add_url_rule("/oauth/2026-03/token", "token", partial(_token, state), methods=["POST"])
    return routes


def _started(state: State, kind: Kind, model: type[StartBody]) -> Reply:
    if not request.is_json:
        return unsupported_media_type()
    source = parsed(model, request.get_data())
    if isinstance(source, Reply):
        return source
    task_id = state.start(kind, source)
    return json_reply(
        202, {"id": task_id, "links": {"status": f"{LINK_HOST}{request.path}/tasks/{task_id}/status"}}
    )


def _import_started(state: State) -> Reply:
    if request.mimetype != "multipart/form-data":
        return unsupported_media_type()
    uploaded = {file.filename for file in request.files.getlist("files")}
    source = parsed_import(request.form.get("importRequest"), uploaded)
    if isinstance(source, Reply):
        return source
    return state.started(state.start(Kind.CRM_IMPORT, source))


def _token(state: State) -> Response:
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    return to_response(state.refresh(request.form if is_form else None), state.stopping)


def _bearer() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
