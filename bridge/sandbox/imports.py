"""Starting a file import: HubSpot's checks of the body, and what a file name asks for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from bridge.sandbox import faults
from bridge.sandbox.replies import Reply, envelope
from bridge.sandbox.tasks import Outcome, Source

# Files whose stem is one of these end so; `tasks.Outcome` says what it means.
OUTCOMES: Mapping[str, Outcome] = {
    "errors": Outcome.COMPLETED_WITH_ERRORS,
    "fail": Outcome.FAILED,
    "cancel": Outcome.CANCELED,
    "stuck": Outcome.STUCK,
    "reject": Outcome.REJECTED,
}
# By how much the durations of such a file are multiplied.
PACES: Mapping[str, float] = {"slow": 10.0, "fast": 0.0}
_UNREADABLE = "Invalid input JSON on line 1, column 1"
_TIMES = re.compile(r"(?P<name>.+?)-x(?P<times>[1-9]\d{0,5})")


class Access(StrEnum):
    """Who may read the file."""

    PUBLIC_INDEXABLE = "PUBLIC_INDEXABLE"
    PUBLIC_NOT_INDEXABLE = "PUBLIC_NOT_INDEXABLE"
    HIDDEN_INDEXABLE = "HIDDEN_INDEXABLE"
    HIDDEN_NOT_INDEXABLE = "HIDDEN_NOT_INDEXABLE"
    HIDDEN_PRIVATE = "HIDDEN_PRIVATE"
    HIDDEN_SENSITIVE = "HIDDEN_SENSITIVE"
    PRIVATE = "PRIVATE"
    SENSITIVE = "SENSITIVE"


class DuplicateValidationStrategy(StrEnum):
    """What to do about an equal file; the sandbox keeps no files, so it only checks the word."""

    NONE = "NONE"
    REJECT = "REJECT"
    RETURN_EXISTING = "RETURN_EXISTING"


class DuplicateValidationScope(StrEnum):
    """Where to look for an equal file."""

    ENTIRE_PORTAL = "ENTIRE_PORTAL"
    EXACT_FOLDER = "EXACT_FOLDER"


class ImportFromUrl(BaseModel):
    """The body of `import-from-url/async`; fields that HubSpot does not know are passed over, as it does."""

    model_config = ConfigDict(alias_generator=to_camel)

    access: Access
    url: str
    name: str | None = None
    folder_path: str | None = None
    folder_id: str | None = None
    duplicate_validation_strategy: DuplicateValidationStrategy | None = None
    duplicate_validation_scope: DuplicateValidationScope | None = None
    overwrite: bool = False
    ttl: Annotated[str, Field(pattern=r"^P")] | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a file name asks for: the task's outcome and pace, and a fault of its status answers."""

    outcome: Outcome = Outcome.COMPLETED
    pace: float = 1.0
    fault: str | None = None
    fault_times: int | None = None


def plan(url: str) -> Plan:
    """What the file name of this URL asks for; see `bridge.sandbox` for the names."""
    stem = PurePosixPath(urlsplit(url).path).stem
    repeated = _TIMES.fullmatch(stem)
    name = repeated["name"] if repeated else stem
    return Plan(
        outcome=OUTCOMES.get(stem, Outcome.COMPLETED),
        pace=PACES.get(stem, 1.0),
        fault=name if name in faults.NAMES else None,
        fault_times=int(repeated["times"]) if repeated else None,
    )


def parsed(document: Any) -> Source | Reply:
    """What to import, or the 400 with which HubSpot refuses `document`, which may be anything."""
    try:
        body = ImportFromUrl.model_validate(document)
    except ValidationError as problem:
        return _invalid(_message(problem))
    if body.folder_path is None and body.folder_id is None:
        return _invalid("One of folderPath or folderId is required.")
    if not _fetchable(body.url):
        return _invalid(f"Invalid URL: {body.url[:200]}")
    return _source(body)


def _invalid(message: str) -> Reply:
    return envelope(400, message, category="VALIDATION_ERROR")


def _fetchable(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _source(body: ImportFromUrl) -> Source:
    return Source(
        url=body.url,
        name=body.name or PurePosixPath(urlsplit(body.url).path).name or "file",
        folder_path=body.folder_path or "/imports",
        folder_id=body.folder_id or Source().folder_id,
        access=body.access.value,
    )


def _message(problem: ValidationError) -> str:
    details = problem.errors(include_url=False, include_input=False)
    missing = [str(detail["loc"][0]) for detail in details if detail["type"] == "missing"]
    if missing:
        return f"{_UNREADABLE}: Some required fields were not set: [{', '.join(missing)}]"
    where = ".".join(str(part) for part in details[0]["loc"]) or "body"
    return f"{_UNREADABLE}: Cannot deserialize value of `{where}`: {details[0]['msg']}"
