"""HubSpot's own routes."""

from functools import partial

from flask import Blueprint, Response, request

from bridge.sandbox import imports
from bridge.sandbox.replies import Reply, json_reply, unsupported_media_type
from bridge.sandbox.state import State, Visit
from bridge.sandbox.tasks import Kind
from bridge.sandbox.wire import to_response

START_ENDPOINT = "start-import"
SEARCH_ENDPOINT = "search-files"
# HubSpot's own links name another host, which refuses tokens.
LINK_HOST = "https://api-na1.hubspot.com"

_ANY = "<any('v3','2026-03','2026-09'):version>"
_DATED = "<any('2026-03','2026-09'):version>"
_STATUS = "tasks/<task_id>/status"
_START_PATH = f"/files/{_ANY}/files/import-from-url/async"
_SEARCH_PATH = f"/files/{_ANY}/files/search"
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


def blueprint(state: State) -> Blueprint:
    """HubSpot's routes, answered from `state`."""
    routes = Blueprint("hubspot", __name__)
    for number, (kind, path) in enumerate(_STATUS_PATHS):
        routes.add_url_rule(path, f"{kind}-{number}", partial(_status, state, kind))
    routes.add_url_rule(_START_PATH, START_ENDPOINT, partial(_start, state), methods=["POST"])
    routes.add_url_rule(_SEARCH_PATH, SEARCH_ENDPOINT, partial(_search, state))
    routes.add_url_rule("/oauth/2026-03/token", "token", partial(_token, state), methods=["POST"])
    return routes


def _status(state: State, kind: Kind, task_id: str, **_version: str) -> Response:
    visit = Visit(endpoint=kind.value, token=_bearer(), task_id=task_id)
    return to_response(state.answer(visit, lambda: state.status(kind, task_id)), state.stopping)


def _start(state: State, version: str) -> Response:
    visit = Visit(endpoint=START_ENDPOINT, token=_bearer())
    return to_response(state.answer(visit, lambda: _started(state, version)), state.stopping)


def _started(state: State, version: str) -> Reply:
    if not request.is_json:
        return unsupported_media_type()
    source = imports.parsed(request.get_json(silent=True))
    return source if isinstance(source, Reply) else _located(version, state.start_import(source))


def _located(version: str, task_id: str) -> Reply:
    link = f"{LINK_HOST}/files/{version}/files/import-from-url/async/tasks/{task_id}/status"
    return json_reply(202, {"id": task_id, "links": {"status": link}})


def _search(state: State, **_version: str) -> Response:
    """No files are kept, so that none is found; who asks wants to know whether the token has the scope."""
    visit = Visit(endpoint=SEARCH_ENDPOINT, token=_bearer())
    return to_response(state.answer(visit, lambda: json_reply(200, {"results": []})), state.stopping)


def _token(state: State) -> Response:
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    return to_response(state.refresh(request.form if is_form else None), state.stopping)


def _bearer() -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
