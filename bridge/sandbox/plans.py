"""Derives a task's outcome, pace and fault from the name of the task's file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from bridge.sandbox import faults
from bridge.sandbox.tasks import ENDINGS, Kind, Outcome

# The outcome by the stem of the file's name.
OUTCOMES: Mapping[str, Outcome] = {
    "errors": Outcome.COMPLETED_WITH_ERRORS,
    "fail": Outcome.FAILED,
    "cancel": Outcome.CANCELED,
    "stuck": Outcome.STUCK,
    "reject": Outcome.REJECTED,
}
# The factor for the durations by the stem of the file's name.
PACES: Mapping[str, float] = {"slow": 10.0, "fast": 0.0}
_TIMES = re.compile(r"(?P<name>.+?)-x(?P<times>[1-9]\d{0,5})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a task's file name asks for: the outcome, the pace, and a fault in place of status responses.

    `pace` multiplies the task's durations. The fault named `fault`, if any, replaces the first `fault_times`
    status responses; all of them if `fault_times` is None.
    """

    outcome: Outcome = Outcome.COMPLETED
    pace: float = 1.0
    fault: str | None = None
    fault_times: int | None = None


def plan(kind: Kind, file_name: str) -> Plan:
    """Return the plan for a task of this `kind`; `file_name` is the name or the path of the task's file.

    `bridge.sandbox.GUIDE` lists the names that have an effect. An outcome that tasks of this `kind` cannot have is
    replaced by COMPLETED.
    """
    stem = PurePosixPath(file_name).stem
    repeated = _TIMES.fullmatch(stem)
    name = repeated["name"] if repeated else stem
    outcome = OUTCOMES.get(stem, Outcome.COMPLETED)
    return Plan(
        outcome=outcome if outcome in ENDINGS[kind] else Outcome.COMPLETED,
        pace=PACES.get(stem, 1.0),
        fault=name if name in faults.NAMES else None,
        fault_times=int(repeated["times"]) if repeated else None,
    )
