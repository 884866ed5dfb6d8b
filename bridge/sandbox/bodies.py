"""The bodies of the responses about tasks, for each kind of task."""

from pathlib import PurePosixPath
from typing import Any

from bridge.sandbox.options import PendingBody
from bridge.sandbox.replies import Reply, instant, json_reply
from bridge.sandbox.tasks import ENDINGS, Kind, Outcome, Phase, Task

Document = dict[str, Any]

FILE_BYTES = 48_213
FILE_LIFE_SECONDS = 90 * 86_400


def status_reply(task: Task, now: float, pending_body: PendingBody) -> Reply:
    """Return the response to a poll of `task` at `now`, in epoch seconds.

    The status code is 202 until the task has ended, then 200; for a CRM import it is always 200. `pending_body` is
    the sandbox's option of this name.
    """
    phase = task.phase(now)
    if task.kind is Kind.CRM_IMPORT:
        return json_reply(200, _crm_import(task, phase))
    if phase is Phase.PENDING and pending_body is PendingBody.NULL:
        return json_reply(202, None)
    if phase is Phase.ENDED:
        return json_reply(200, _ended_action(task))
    return json_reply(202, _running_action(task, phase, pending_body))


def file_reply(task: Task) -> Reply:
    """Return the response that describes the file that a file import has made."""
    return json_reply(200, _file(task))


def _running_action(task: Task, phase: Phase, pending_body: PendingBody) -> Document:
    document = _action(task, phase)
    if pending_body is PendingBody.DATES_NULL:
        document |= {"startedAt": None, "completedAt": None}
    if phase is Phase.PROCESSING:
        document["startedAt"] = instant(task.started_at)
    return document


def _word(task: Task, phase: Phase) -> str:
    if phase is Phase.ENDED:
        return ENDINGS[task.kind][task.outcome]
    if phase is Phase.PROCESSING:
        return phase.value
    return task.pending_status or ("STARTED" if task.kind is Kind.CRM_IMPORT else phase.value)


def _ended_action(task: Task) -> Document:
    dates = {"startedAt": instant(task.started_at), "completedAt": instant(task.completed_at)}
    document = _action(task, Phase.ENDED) | dates
    if task.kind is Kind.SOURCE_CODE_EXTRACT or task.outcome is Outcome.CANCELED:
        return document
    errors = [] if task.outcome is Outcome.COMPLETED else [_standard_error(task)]
    document |= {"numErrors": len(errors), "errors": errors}
    if task.outcome is not Outcome.FAILED:
        document["result"] = _result(task)
    return document


def _action(task: Task, phase: Phase) -> Document:
    document = {"status": _word(task, phase), "requestedAt": instant(task.requested_at), "links": {}}
    if task.kind in (Kind.FILE_IMPORT, Kind.FOLDER_UPDATE):
        document["taskId"] = task.task_id
    return document


def _standard_error(task: Task) -> Document:
    """Return an item for the `errors` of a status body; HubSpot's HTTP errors have another form."""
    return {
        "status": "error",
        "category": "VALIDATION_ERROR",
        "subCategory": {"name": "SOURCE_UNREADABLE"},
        "message": "The source could not be read completely.",
        "context": {"url": [task.source.url]},
        "errors": [{"message": "The source answered 404.", "code": "SOURCE_NOT_FOUND", "in": "url"}],
        "links": {},
    }


def _result(task: Task) -> Document | str:
    match task.kind:
        case Kind.FOLDER_UPDATE:
            return _folder(task)
        case Kind.CRM_EXPORT:
            return f"https://exports.example.com/{task.number}.csv?signature=sandbox"
        case _:
            return _file(task)


def _folder(task: Task) -> Document:
    name = "imports" if task.source.updated_folder_id is None else task.source.name
    return {
        "id": task.source.updated_folder_id or str(task.number),
        "createdAt": instant(task.requested_at),
        "updatedAt": instant(task.completed_at),
        "archived": False,
        "parentFolderId": task.source.folder_id,
        "name": name,
        "path": f"/{name}",
    }


def _file(task: Task) -> Document:
    source = task.source
    file = PurePosixPath(source.name)
    location = f"{source.folder_path.rstrip('/')}/{source.name}"
    url = f"https://files.example.com/hubfs{location}"
    done_at = instant(task.completed_at)
    return {
        "id": str(task.number),
        "createdAt": done_at,
        "updatedAt": done_at,
        "archived": False,
        "parentFolderId": source.folder_id,
        "name": file.stem,
        "path": location,
        "size": FILE_BYTES,
        "type": _file_type(file),
        "extension": file.suffix.removeprefix("."),
        "encoding": "utf-8",
        "defaultHostingUrl": url,
        "url": url,
        "isUsableInContent": True,
        "access": source.access,
        "expiresAt": int((task.completed_at + FILE_LIFE_SECONDS) * 1000),
        "fileMd5": f"{task.number:032x}",
        "sourceGroup": "CONTENT",
    }


def _file_type(file: PurePosixPath) -> str:
    return "IMG" if file.suffix.lower() in {".gif", ".jpg", ".jpeg", ".png", ".webp"} else "DOCUMENT"


def _crm_import(task: Task, phase: Phase) -> Document:
    ended = phase is Phase.ENDED
    return {
        "id": task.task_id,
        "state": _word(task, phase),
        "createdAt": instant(task.requested_at),
        "updatedAt": instant(task.completed_at if ended else task.requested_at),
        "importName": task.source.name,
        "importSource": "API",
        "optOutImport": False,
        "mappedObjectTypeIds": ["0-1"],
        "importRequestJson": {"name": task.source.name, "files": []},
        "metadata": {
            "counters": {"TOTAL_ROWS": 3, "CREATED_OBJECTS": 3 if ended else 0},
            "fileIds": [str(task.number)],
            "objectLists": [{"listId": "1", "objectType": "CONTACT"}],
        },
    }
