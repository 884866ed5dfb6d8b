"""The simulated routes of HubSpot's API."""

from functools import partial

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

_ANY = "<any('v3','2026-03','2026-09'):version>"
_DATED = "<any('2026-03','2026-09'):version>"
_STATUS = "tasks/<task_id>/status"
_STATUS_PATHS = (
    (Kind.FILE_IMPORT, f"/files/{_ANY}/files/import-from-url/async/{_STATUS}"),
    (Kind.FOLDER_UPDATE, f"/files/{_ANY}/folders/update/async/{_STATUS}"),
    (Kind.CRM_EXPORT, f"/crm/v3/exports/export/async/{_STATUS}"),
    (Kind.CRM_EXPORT, f"/crm/exports/{_DATED}/export/async/{_STATUS}"),
    (Kind.CRM_IMPORT, "/crm/v3/imports/<task_id>"),
    (Kind.CRM_IMPORT, f"/crm/imports/{_DATED}/<task_id>"),
    (Kind.SOURCE_CODE_EXTRACT, f"/cms/v3/source-code/extract/async/{_STATUS}"),
    (Kind.SOURCE_CODE_EXTRACT, f"/cms/source-code/{_DATED}/extract/async/{_STATUS}"),
)
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
_CRM_IMPORT_ENDPOINT = "start-crm-import"
_CRM_IMPORT_PATHS = ("/crm/v3/imports", f"/crm/imports/{_DATED}")
_FILE_ENDPOINT = "file"
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
    for number, (kind, path) in enumerate(_STATUS_PATHS):
        routes.add_url_rule(path, f"{kind}-{number}", partial(_status, state, kind))
    for kind, endpoint, model, paths in _STARTS:
        for number, path in enumerate(paths):
            start = partial(_start, state, kind, endpoint, model)
            routes.add_url_rule(path, f"{endpoint}-{number}", start, methods=["POST"])
    for number, path in enumerate(_CRM_IMPORT_PATHS):
        name = f"{_CRM_IMPORT_ENDPOINT}-{number}"
        # The official clients end this path with a slash.
        routes.add_url_rule(path, name, partial(_import, state), methods=["POST"], strict_slashes=False)
    routes.add_url_rule(f"/files/{_ANY}/files/<file_id>", _FILE_ENDPOINT, partial(_file, state))
    for endpoint, document, paths in _CHECKS:
        for number, path in enumerate(paths):
            fixed = partial(_fixed, state, endpoint, document)
            routes.add_url_rule(path, f"{endpoint}-{number}", fixed, strict_slashes=False)
    routes.add_url_rule("/oauth/2026-03/token", "token", partial(_token, state), methods=["POST"])
    return routes


def _status(state: State, kind: Kind, task_id: str, **_version: str) -> Response:
    api_request = ApiRequest(endpoint=kind.value, token=_bearer(), task_id=task_id)
    return to_response(state.answer(api_request, lambda: state.status(kind, task_id)), state.stopping)


def _file(state: State, file_id: str, **_version: str) -> Response:
    api_request = ApiRequest(endpoint=_FILE_ENDPOINT, token=_bearer())
    return to_response(state.answer(api_request, lambda: state.file(file_id)), state.stopping)


def _start(state: State, kind: Kind, endpoint: str, model: type[StartBody], **_version: str) -> Response:
    api_request = ApiRequest(endpoint=endpoint, token=_bearer())
    return to_response(state.answer(api_request, lambda: _started(state, kind, model)), state.stopping)


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


def _import(state: State, **_version: str) -> Response:
    api_request = ApiRequest(endpoint=_CRM_IMPORT_ENDPOINT, token=_bearer())
    return to_response(state.answer(api_request, lambda: _import_started(state)), state.stopping)


def _import_started(state: State) -> Reply:
    if request.mimetype != "multipart/form-data":
        return unsupported_media_type()
    uploaded = {file.filename for file in request.files.getlist("files")}
    source = parsed_import(request.form.get("importRequest"), uploaded)
    if isinstance(source, Reply):
        return source
    return state.started(state.start(Kind.CRM_IMPORT, source))


def _fixed(state: State, endpoint: str, document: object, **_version: str) -> Response:
    api_request = ApiRequest(endpoint=endpoint, token=_bearer())
    return to_response(state.answer(api_request, lambda: json_reply(200, document)), state.stopping)


def _token(state: State) -> Response:
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    return to_response(state.refresh(request.form if is_form else None), state.stopping)


def _bearer() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
