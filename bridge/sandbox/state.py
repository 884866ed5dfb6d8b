"""The state of the sandbox, under one lock; used by the routes and by tests in the same process."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from bridge.sandbox import faults
from bridge.sandbox.bodies import file_reply, status_reply
from bridge.sandbox.faults import ENDPOINTS, OAUTH_ENDPOINT, Faults, Target
from bridge.sandbox.ledger import Ledger
from bridge.sandbox.oauth import OAuthServer
from bridge.sandbox.options import SandboxOptions
from bridge.sandbox.plans import plan
from bridge.sandbox.quota import DAILY_HEADERS, Quota
from bridge.sandbox.replies import (
    Reply,
    malformed_id,
    merged_headers,
    rate_limited,
    unknown_file,
    unknown_task,
    unsupported_media_type,
)
from bridge.sandbox.tasks import ENDINGS, Kind, Outcome, Phase, Source, Task, number_of, task_id_of

_WITH_FILE = frozenset({Outcome.COMPLETED, Outcome.COMPLETED_WITH_ERRORS})
_INT64 = 2**63


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiRequest:
    """The properties of an API request that the ledger and the faults use.

    `token` is None when the request has no bearer token; `task_id` is None unless the request is for a task's status.
    """

    endpoint: str
    token: str | None
    task_id: str | None = None


class State:
    """The simulated HubSpot behind the routes: tasks, tokens, quotas, faults, and a ledger of requests."""

    def __init__(self, options: SandboxOptions) -> None:
        self.stopping = threading.Event()
        self._started_with = options
        # Starts at the time in microseconds, so that a restarted sandbox gives ids that were not used before.
        self._numbers = count(int(options.clock() * 1_000_000))
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Restore the initial state and options, except that ids of tasks are not used again."""
        with self._lock:
            self.options = self._started_with
            self._tasks: dict[str, Task] = {}
            self._oauth = OAuthServer()
            self._quotas: defaultdict[str, Quota] = defaultdict(Quota)
            self._faults = Faults()
            self._ledger = Ledger()

    def change_options(self, changes: Mapping[str, Any]) -> None:
        """Change options, given by name. Raises ValidationError when a name or a value is wrong."""
        with self._lock:
            self.options = replace(self.options, **changes)

    # For the routes of HubSpot's API.

    def answer(self, api_request: ApiRequest, work: Callable[[], Reply]) -> Reply:
        """Count a request, and return its response: a 401, a 429, a fault's reply, or the reply of `work`.

        `work` is called only if none of the others applies.
        """
        with self._lock:
            now = self._now()
            self._ledger.count_request(api_request.endpoint)
            if api_request.task_id is not None:
                self._ledger.record_poll(api_request.task_id, now)
            account = self._oauth.authenticate(self.options, api_request.token, now)
            reply = account if isinstance(account, Reply) else self._serve(api_request, account, now, work)
            self._ledger.count_status(reply.ledger_status)
            return reply

    def _serve(self, api_request: ApiRequest, account: str, now: float, work: Callable[[], Reply]) -> Reply:
        self._ledger.count_account(account, now, self.options.burst_seconds)
        quota = self._quotas[account]
        policy = quota.take(self.options, now)
        reply = (
            rate_limited(policy) if policy else self._faults.pick(*_targets(api_request, account)) or work()
        )
        headers = merged_headers(quota.headers(self.options, now), reply.headers)
        hidden = frozenset() if api_request.token in self.options.tokens else DAILY_HEADERS
        return replace(reply, headers={name: headers[name] for name in headers if name not in hidden})

    def status(self, kind: Kind, task_id: str) -> Reply:
        """Return the status response for a task of this kind; a 400 for a malformed id, a 404 for an unknown id."""
        if number_of(kind, task_id) is None:
            return malformed_id()
        task = self._tasks.get(task_id)
        if task is None or task.kind is not kind or task.outcome is Outcome.REJECTED:
            return unknown_task()
        return status_reply(task, self._now(), self.options.pending_body)

    def file(self, file_id: str) -> Reply:
        """Return the response for the file with this id; a 404 unless a finished file import has made it."""
        number = number_of(Kind.CRM_IMPORT, file_id)  # the ids of files are digits, like those of CRM imports
        if number is None or number not in range(_INT64):
            return unknown_file()
        task = self._tasks.get(task_id_of(Kind.FILE_IMPORT, number))
        if task is None or task.outcome not in _WITH_FILE or task.phase(self._now()) is not Phase.ENDED:
            return unknown_file()
        return file_reply(task)

    def start(self, kind: Kind, source: Source) -> str:
        """Start a task and return its id; its outcome, pace and fault follow from `source.file_name`."""
        task_plan = plan(kind, source.file_name)
        with self._lock:
            [task_id] = self.add_tasks(
                kind,
                task_plan.outcome,
                pending_seconds=self.options.pending_seconds * task_plan.pace,
                processing_seconds=self.options.processing_seconds * task_plan.pace,
                source=source,
            )
            if task_plan.fault is not None:
                self.set_fault(task_plan.fault, Target(task_id=task_id), task_plan.fault_times)
            return task_id

    def started(self, task_id: str) -> Reply:
        """Return the reply to the request that started this task: a response with the task's status.

        The outcome `rejected` makes no difference here. Later, `State.status` answers 404 for a task with this
        outcome.
        """
        return status_reply(self._tasks[task_id], self._now(), self.options.pending_body)

    def refresh(self, form: Mapping[str, str] | None) -> Reply:
        """Count a request for an access token, and return its reply.

        If a fault is set for such requests, the reply is the fault's. `form` is None when the request's body is no
        form.
        """
        with self._lock:
            self._ledger.count_request(OAUTH_ENDPOINT)
            fault = self._faults.pick(Target(endpoint=OAUTH_ENDPOINT))
            reply = fault or self._refreshed(form)
            self._ledger.refreshes += fault is None and reply.status_code == 200
            self._ledger.count_status(reply.ledger_status)
            return reply

    def _refreshed(self, form: Mapping[str, str] | None) -> Reply:
        if form is None:
            return unsupported_media_type()
        return self._oauth.refresh(self.options, form, self._now())

    def count_unrouted(self, reply: Reply) -> Reply:
        """Count a request to an unknown route, and its `reply`; return `reply`."""
        with self._lock:
            self._ledger.count_request("no-route")
            self._ledger.count_status(reply.ledger_status)
            return reply

    # For tests, and for the control routes.

    def add_tasks(
        self,
        kind: Kind = Kind.FILE_IMPORT,
        outcome: Outcome = Outcome.COMPLETED,
        *,
        pending_seconds: float | None = None,
        processing_seconds: float | None = None,
        pending_status: str | None = None,
        source: Source | None = None,
        tasks: int = 1,
    ) -> list[str]:
        """Start `tasks` tasks of the same kind, and return their ids.

        If `pending_seconds` or `processing_seconds` is None, the sandbox's option of the same name applies.
        `pending_status` is the status that is reported while a task's phase is PENDING; None means the kind's usual
        one. If `source` is None, the defaults of `Source` apply. Raises ValueError when a task of this kind cannot
        have this outcome.
        """
        if outcome not in ENDINGS[kind]:
            raise ValueError(f"a {kind} cannot end as {outcome}")
        with self._lock:
            first = Task(
                number=0,
                kind=kind,
                outcome=outcome,
                requested_at=self._now(),
                pending_seconds=_or(pending_seconds, self.options.pending_seconds),
                processing_seconds=_or(processing_seconds, self.options.processing_seconds),
                pending_status=pending_status,
                source=source or Source(),
            )
            return [self._keep(replace(first, number=next(self._numbers))) for _ in range(tasks)]

    def _keep(self, task: Task) -> str:
        self._tasks[task.task_id] = task
        return task.task_id

    def set_fault(self, fault: str | Reply, target: Target | None = None, times: int | None = None) -> str:
        """Set a fault for the requests that `target` selects; return the fault's id.

        `fault` is a fault's name or a custom reply. The fault applies to the next `times` requests; with None, the
        fault applies until it is cleared. A `target` of None selects all requests to HubSpot's API, except requests
        for OAuth tokens. Raises ValueError for an unknown name of a fault or of an endpoint.
        """
        target = target or Target()
        if target.endpoint is not None and target.endpoint not in ENDPOINTS:
            raise ValueError(
                f"no endpoint is named {target.endpoint}; there are {', '.join(sorted(ENDPOINTS))}"
            )
        make = (lambda: fault) if isinstance(fault, Reply) else faults.factory(fault)
        with self._lock:
            return self._faults.set(target, make, times)

    def clear_fault(self, fault_id: str) -> bool:
        """Remove a fault; return False when there is none with this id."""
        with self._lock:
            return self._faults.clear(fault_id)

    def clear_faults(self) -> None:
        with self._lock:
            self._faults.clear_all()

    def take_quota(self, token: str, requests: int) -> int:
        """Take up to `requests` requests from an account's quota, as another app would; return how many.

        `token` is an access token of the account, or the account's name. Raises ValueError if no account has this
        token or name.
        """
        with self._lock:
            now = self._now()
            quota = self._quotas[self._oauth.account(self.options, token)]
            refused = (quota.take(self.options, now) for _ in range(requests))
            return sum(policy is None for policy in refused)

    def ledger(self) -> dict[str, Any]:
        """Return the ledger's counts; see `Ledger.report`."""
        with self._lock:
            return self._ledger.report()

    def clear_ledger(self) -> None:
        with self._lock:
            self._ledger = Ledger()

    def _now(self) -> float:
        return self.options.clock()


def _targets(api_request: ApiRequest, account: str) -> list[Target]:
    task = [Target(task_id=api_request.task_id)] if api_request.task_id is not None else []
    return [
        *task,
        Target(token=api_request.token),
        Target(token=account),
        Target(endpoint=api_request.endpoint),
        Target(),
    ]


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
