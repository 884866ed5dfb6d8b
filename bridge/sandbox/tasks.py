"""Simulated tasks: the phase of a task follows from its durations, its outcome and its age."""

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of tasks; each kind has status routes of its own."""

    FILE_IMPORT = "file-import"
    FOLDER_UPDATE = "folder-update"
    CRM_EXPORT = "crm-export"
    CRM_IMPORT = "crm-import"
    SOURCE_CODE_EXTRACT = "source-code-extract"


class Outcome(StrEnum):
    """How the task is to end."""

    COMPLETED = "completed"
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    FAILED = "failed"
    CANCELED = "canceled"
    REVERTED = "reverted"  # crm-import only
    STUCK = "stuck"  # PROCESSING for ever
    REJECTED = "rejected"  # from the start, HubSpot answers as if it did not know the task


class Phase(StrEnum):
    """How far a task has come."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    ENDED = "ENDED"


_EVERYWHERE = {Outcome.STUCK: "", Outcome.REJECTED: ""}
_ACTION = {Outcome.COMPLETED: "COMPLETE", Outcome.CANCELED: "CANCELED"}
_WITH_RESULT = {**_ACTION, Outcome.COMPLETED_WITH_ERRORS: "COMPLETE", Outcome.FAILED: "COMPLETE"}

# The final status of each outcome, by kind; outcomes that are not listed do not exist for the kind.
ENDINGS: Mapping[Kind, Mapping[Outcome, str]] = {
    Kind.FILE_IMPORT: {**_WITH_RESULT, **_EVERYWHERE},
    Kind.FOLDER_UPDATE: {**_WITH_RESULT, **_EVERYWHERE},
    Kind.CRM_EXPORT: {**_WITH_RESULT, **_EVERYWHERE},
    Kind.CRM_IMPORT: {
        Outcome.COMPLETED: "DONE",
        Outcome.FAILED: "FAILED",
        Outcome.CANCELED: "CANCELED",
        Outcome.REVERTED: "REVERTED",
        **_EVERYWHERE,
    },
    Kind.SOURCE_CODE_EXTRACT: {**_ACTION, **_EVERYWHERE},
}

# The official client types the ids of the other kinds as integers.
_ENCODED_IDS = frozenset({Kind.FILE_IMPORT, Kind.FOLDER_UPDATE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What the sandbox keeps of the request that started a task.

    `State.start` reads the task's outcome, pace and fault from `file_name`. The other fields are for later responses.
    """

    file_name: str = "report.csv"
    url: str = "https://files.example.com/report.csv"
    name: str = "report.csv"
    folder_path: str = "/imports"
    folder_id: str = "170000000001"
    access: str = "PRIVATE"
    updated_folder_id: str | None = None  # of the folder that a folder update changes


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """An asynchronous task; `number` stands for its id (see `task_id_of`).

    `pending_status` is the status that HubSpot reports while the task's phase is PENDING; None means the kind's usual
    one. `requested_at` is in epoch seconds.
    """

    number: int
    kind: Kind
    outcome: Outcome
    requested_at: float
    pending_seconds: float
    processing_seconds: float
    pending_status: str | None = None
    source: Source = Source()

    @property
    def task_id(self) -> str:
        return task_id_of(self.kind, self.number)

    @property
    def started_at(self) -> float:
        return self.requested_at + self.pending_seconds

    @property
    def completed_at(self) -> float:
        return self.started_at + self.processing_seconds

    def phase(self, now: float) -> Phase:
        """Return the phase at `now` (epoch seconds)."""
        if now < self.started_at:
            return Phase.PENDING
        if now < self.completed_at or self.outcome is Outcome.STUCK:
            return Phase.PROCESSING
        return Phase.ENDED


def task_id_of(kind: Kind, number: int) -> str:
    """Return a task's id: for some kinds the unpadded base64url of an int64 (`AAAAEZ6whGI`), else digits."""
    if kind not in _ENCODED_IDS:
        return str(number)
    return base64.urlsafe_b64encode(struct.pack(">q", number)).rstrip(b"=").decode()


def number_of(kind: Kind, task_id: str) -> int | None:
    """Return the number that a task's id stands for; None when the id is malformed."""
    try:
        number = _decoded(task_id) if kind in _ENCODED_IDS else int(task_id)
        return number if task_id_of(kind, number) == task_id else None
    except (binascii.Error, struct.error, ValueError):
        return None


def _decoded(task_id: str) -> int:
    (number,) = struct.unpack(">q", base64.urlsafe_b64decode(task_id.encode("ascii") + b"="))
    return int(number)
