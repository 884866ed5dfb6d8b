"""The kinds of HubSpot task: KINDS has an entry for each.

A new kind also needs:
- a row in each of the three tables of kinds in docs/hubspot.md;
- its simulation in bridge/sandbox: a member of the enumeration `Kind` and an entry of ENDINGS in tasks.py, its routes
  in api.py, its request bodies in starts.py, its response bodies in bodies.py;
- its statuses in tests/core/test_kinds.py;
- in tests/acceptance/test_kinds.py: the kind's outcomes in ENDS;
- in tests/sandbox: an entry of STATUS_PATHS in caller.py and of APIS and ENDS in test_official_client.py, a task in
  official_client.mjs, and the tables of test_starting_other_kinds.py and test_task_life.py;
- a line in bridge/sandbox/guide.txt, and the sentences that name the kinds in README.md and docs/sandbox.md.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bridge.core.watch import Outcome

API_VERSION = r"(v3|20[0-9]{2}-(0[1-9]|1[0-2]))"


def parse_api_version(text: str) -> str:
    """Return `text` if it is a version in HubSpot's paths, such as `v3` or `2026-03`, or raise ValueError."""
    if not re.fullmatch(API_VERSION, text):
        raise ValueError("must be v3, or a year and a month such as 2026-03")
    return text


# HubSpot's details of the account, for which HubSpot asks for no scope but `oauth`, which every token has.
ANY_SCOPE = ("/account-info/{v}/details", "/account-info/{v}/details")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of task: the endpoint that reports its status, and what each status means.

    `name` is the kind's key in KINDS. `v3` and `dated` are templates of the endpoint's path, for HubSpot's version v3
    and for a version such as 2026-03. `field` names the status field of the answer; `running` holds the statuses of
    tasks that have not ended. `ends` maps every other known status to a function that returns the outcome for the
    answer's body. `event_prefix` begins the `type` of callbacks. `scope_check` holds two path templates for the check
    of a token: one for v3, and one for a dated version. A GET of such a path needs the kind's scope, and changes
    nothing. `scope_check` is None if HubSpot has no such path.
    """

    name: str
    v3: str
    dated: str
    field: str = "status"
    running: frozenset[str] = frozenset({"PENDING", "PROCESSING"})
    ends: Mapping[str, Callable[[Mapping[str, Any]], Outcome]]
    event_prefix: str
    scope_check: tuple[str, str] | None = None

    def path(self, version: str, task_id: str) -> str:
        """Return the path of a task's status, with `task_id` percent-encoded as one segment.

        `version` is a version of HubSpot's API, such as `v3` or `2026-03`.
        """
        return _versioned(self.v3, self.dated, version).format(v=version, task_id=_segment(task_id))

    def check_path(self, version: str) -> str:
        """Return the path of a GET that checks a token and needs the kind's scope.

        If the kind's `scope_check` is None, the GET needs a valid token, but no particular scope.
        """
        return _versioned(*(self.scope_check or ANY_SCOPE), version).format(v=version)


def _versioned(v3: str, dated: str, version: str) -> str:
    return v3 if version == "v3" else dated


def _segment(task_id: str) -> str:
    # The segments `.` and `..` would change the path (RFC 3986, 5.2.4).
    encoded = quote(task_id, safe="")
    return encoded.replace(".", "%2E") if set(task_id) == {"."} else encoded


def _has_id(result: object) -> bool:
    return isinstance(result, Mapping) and result.get("id") not in (None, "")


def _is_url(result: object) -> bool:
    return isinstance(result, str) and result != ""


def _judged_by(has_result: Callable[[object], bool]) -> Callable[[Mapping[str, Any]], Outcome]:
    """Return a function that finds the outcome in the body of an answer with the status COMPLETE.

    `has_result` gets the body's `result`. If it returns False, the task has failed, despite its status.
    """

    def outcome(body: Mapping[str, Any]) -> Outcome:
        # HubSpot reports failed tasks as COMPLETE, too.
        if not has_result(body.get("result")):
            return Outcome.FAILED
        if body.get("errors") or body.get("numErrors"):
            return Outcome.COMPLETED_WITH_ERRORS
        return Outcome.COMPLETED

    return outcome


def _always(outcome: Outcome) -> Callable[[Mapping[str, Any]], Outcome]:
    return lambda _: outcome


_CANCELED = _always(Outcome.CANCELED)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            name="file-import",
            v3="/files/{v}/files/import-from-url/async/tasks/{task_id}/status",
            dated="/files/{v}/files/import-from-url/async/tasks/{task_id}/status",
            ends={"COMPLETE": _judged_by(_has_id), "CANCELED": _CANCELED},
            event_prefix="import",
            scope_check=("/files/{v}/files/search?limit=1", "/files/{v}/files/search?limit=1"),
        ),
        Kind(
            name="folder-update",
            v3="/files/{v}/folders/update/async/tasks/{task_id}/status",
            dated="/files/{v}/folders/update/async/tasks/{task_id}/status",
            ends={"COMPLETE": _judged_by(_has_id), "CANCELED": _CANCELED},
            event_prefix="folder-update",
        ),
        Kind(
            name="crm-export",
            v3="/crm/{v}/exports/export/async/tasks/{task_id}/status",
            dated="/crm/exports/{v}/export/async/tasks/{task_id}/status",
            ends={"COMPLETE": _judged_by(_is_url), "CANCELED": _CANCELED},
            event_prefix="crm-export",
        ),
        Kind(
            name="crm-import",
            v3="/crm/{v}/imports/{task_id}",
            dated="/crm/imports/{v}/{task_id}",
            field="state",
            running=frozenset({"STARTED", "PROCESSING", "DEFERRED"}),
            ends={
                "DONE": _always(Outcome.COMPLETED),
                "FAILED": _always(Outcome.FAILED),
                "CANCELED": _CANCELED,
                "REVERTED": _CANCELED,
            },
            event_prefix="import",
            scope_check=("/crm/{v}/imports?limit=1", "/crm/imports/{v}?limit=1"),
        ),
        Kind(
            name="source-code-extract",
            v3="/cms/{v}/source-code/extract/async/tasks/{task_id}/status",
            dated="/cms/source-code/{v}/extract/async/tasks/{task_id}/status",
            ends={"COMPLETE": _always(Outcome.COMPLETED), "CANCELED": _CANCELED},
            event_prefix="source-code-extract",
        ),
    )
}

DEFAULT_KIND = "file-import"
