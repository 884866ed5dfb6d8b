"""The control routes under `/sandbox/`, for tests: tasks, faults, quotas, options and the ledger."""

from dataclasses import fields, replace
from typing import Annotated, Any, Self, TypeVar

from flask import Blueprint, Response, abort, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bridge.sandbox import faults
from bridge.sandbox.faults import Target
from bridge.sandbox.options import Seconds
from bridge.sandbox.replies import Reply, merged_headers
from bridge.sandbox.state import State
from bridge.sandbox.tasks import Kind, Outcome

LOOPBACK = frozenset({"127.0.0.1", "::1"})

Printable = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


Body = TypeVar("Body", bound=_Body)


class NewTasks(_Body):
    """The body of `POST /sandbox/tasks`: starts `count` tasks of the same kind.

    A duration that is None is taken from the sandbox's options. `pending_status` is the status that is reported while
    a task's phase is PENDING; None means the kind's usual status.
    """

    kind: Kind = Kind.FILE_IMPORT
    outcome: Outcome = Outcome.COMPLETED
    pending_seconds: Seconds | None = None
    processing_seconds: Seconds | None = None
    pending_status: str | None = None
    count: Count = 1


class NewFault(_Body):
    """The body of `POST /sandbox/faults`; `fault` or `status_code` must be given.

    `task_id`, `token` or `endpoint` selects requests, as in `Target`; at most one of the three may be given. The next
    `times` of the selected requests get the reply. Without `times`, all selected requests get the reply until the fault
    is cleared.

    Without `fault`, the reply consists of `status_code`, `headers` and `body`; `seconds` has no effect. With `fault`,
    the name of a fault, the reply is that of the fault, with two changes: `headers` are merged into its headers, and
    each of `status_code`, `body` and `seconds` that is not None replaces its value. `seconds` has an effect only if the
    reply is slow or hangs: see `SendMode`.
    """

    fault: str | None = None
    status_code: Annotated[int, Field(ge=200, le=599)] | None = None
    headers: dict[Name, Printable] = Field(default_factory=dict)
    body: str | None = None
    seconds: Seconds | None = None
    times: Count | None = None
    task_id: str | None = None
    token: str | None = None
    endpoint: str | None = None

    @model_validator(mode="after")
    def _says_what_and_where(self) -> Self:
        if self.fault is None and self.status_code is None:
            raise ValueError("fault or status_code is needed")
        if sum(where is not None for where in (self.task_id, self.token, self.endpoint)) > 1:
            raise ValueError("at most one of task_id, token and endpoint")
        return self

    def target(self) -> Target:
        return Target(task_id=self.task_id, token=self.token, endpoint=self.endpoint)

    def reply_or_name(self) -> str | Reply:
        """Return the fault's name if no field of the reply is given; otherwise the reply to send.

        The fields of the reply are `status_code`, `headers`, `body` and `seconds`.
        """
        changes: dict[str, Any] = self.model_dump(include={"status_code", "seconds"}, exclude_none=True)
        if self.body is not None:
            changes["body"] = self.body.encode()
        if self.fault is not None and not changes and not self.headers:
            return self.fault
        base = Reply() if self.fault is None else faults.factory(self.fault)()
        return replace(base, headers=merged_headers(base.headers, self.headers), **changes)


class TakenQuota(_Body):
    """The body of `POST /sandbox/quota/take`; `State.take_quota` explains the fields."""

    token: str
    requests: Count


def blueprint(state: State) -> Blueprint:
    """Return a blueprint with routes that control `state`; callers that are not on 127.0.0.1 or ::1 get a 403."""
    routes = Blueprint("control", __name__, url_prefix="/sandbox")
    routes.before_request(_refuse_other_hosts)
    routes.register_error_handler(ValueError, _bad_request)
    _add_task_routes(routes, state)
    _add_fault_routes(routes, state)
    _add_other_routes(routes, state)
    return routes


def _add_task_routes(routes: Blueprint, state: State) -> None:
    @routes.post("/tasks")
    def add_tasks() -> tuple[Response, int]:
        wanted = _read(NewTasks)
        ids = state.add_tasks(
            wanted.kind,
            wanted.outcome,
            pending_seconds=wanted.pending_seconds,
            processing_seconds=wanted.processing_seconds,
            pending_status=wanted.pending_status,
            tasks=wanted.count,
        )
        return jsonify(id=ids[0], ids=ids), 201


def _add_fault_routes(routes: Blueprint, state: State) -> None:
    @routes.post("/faults")
    def set_fault() -> tuple[Response, int]:
        wanted = _read(NewFault)
        return jsonify(id=state.set_fault(wanted.reply_or_name(), wanted.target(), wanted.times)), 201

    @routes.delete("/faults")
    def clear_faults() -> Response:
        state.clear_faults()
        return Response(status=204)

    @routes.delete("/faults/<fault_id>")
    def clear_fault(fault_id: str) -> Response:
        return Response(status=204 if state.clear_fault(fault_id) else 404)


def _add_other_routes(routes: Blueprint, state: State) -> None:
    @routes.post("/quota/take")
    def take_quota() -> Response:
        wanted = _read(TakenQuota)
        return jsonify(taken=state.take_quota(wanted.token, wanted.requests))

    @routes.get("/ledger")
    def ledger() -> Response:
        return jsonify(state.ledger())

    @routes.delete("/ledger")
    def clear_ledger() -> Response:
        state.clear_ledger()
        return Response(status=204)

    @routes.get("/options")
    def options() -> Response:
        return jsonify(_options_members(state))

    @routes.patch("/options")
    def change_options() -> Response:
        state.change_options(_document())
        return jsonify(_options_members(state))

    @routes.post("/reset")
    def reset() -> Response:
        state.reset()
        return Response(status=204)


def _options_members(state: State) -> dict[str, Any]:
    names = (field.name for field in fields(state.options) if field.name != "clock")
    return {name: getattr(state.options, name) for name in names}


def _read(model: type[Body]) -> Body:
    return model.model_validate(_document())


def _document() -> dict[str, Any]:
    document = request.get_json(force=True, silent=True)
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004  # an error in the request, not in the code
    return document


def _refuse_other_hosts() -> None:
    if request.remote_addr not in LOOPBACK:
        abort(403)


def _bad_request(problem: ValueError) -> tuple[Response, int]:
    if isinstance(problem, ValidationError):
        return jsonify(
            errors=problem.errors(include_url=False, include_input=False, include_context=False)
        ), 400
    return jsonify(errors=[{"msg": str(problem)}]), 400
