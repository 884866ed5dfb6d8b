"""The filters for watches, which are the same in lists, exports and bulk redeliveries."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from enum import StrEnum
from functools import partial
from typing import Annotated, ClassVar

from pydantic import BaseModel, Field, PlainValidator, conlist

from bridge.core.kinds import DEFAULT_KIND, KINDS
from bridge.core.parsing import parse_choices
from bridge.core.watch import Outcome, State
from bridge.db.watch_filters import Filters
from bridge.web.auth import Caller
from bridge.web.problems import Problem
from bridge.web.request_models import Host, Instant, Name, TaskId, TaskKind

EARLY, LATE = "2026-11-05T00:00:00Z", "2026-11-06T00:00:00Z"  # in examples


def _choices(choices: Iterable[str], one: type[StrEnum]) -> PlainValidator:
    given = conlist(one, min_length=1) | str
    return PlainValidator(partial(parse_choices, choices), json_schema_input_type=given)


States = Annotated[Sequence[State], _choices(State, State)]
Outcomes = Annotated[Sequence[Outcome], _choices(Outcome, Outcome)]
Kinds = Annotated[Sequence[str], _choices(KINDS, TaskKind)]


class FilterFields(BaseModel):
    """Filters for watches, each optional; a watch must match all that are given."""

    LISTS: ClassVar[Collection[str]] = ("state", "outcome", "kind")

    state: States | None = Field(
        default=None,
        description="Only watches in any of these states.",
        examples=[["delivering", "undelivered"]],
    )
    outcome: Outcomes | None = Field(
        default=None, description="Only watches whose task ended in any of these ways.", examples=[["failed"]]
    )
    kind: Kinds | None = Field(
        default=None, description="Only watches of any of these kinds.", examples=[[DEFAULT_KIND]]
    )
    account: Name | None = Field(
        default=None, description="Only watches of this HubSpot account.", examples=["default"]
    )
    client: Name | None = Field(
        default=None,
        description="Only watches that this client registered. For admins only.",
        examples=["cms"],
    )
    task_id: TaskId | None = Field(
        default=None, description="Only watches of the task with this id.", examples=["AAAAEZ6whGI"]
    )
    callback_host: Host | None = Field(
        default=None,
        description="Only watches whose callback URL has this host; without the port.",
        examples=["app.example.com"],
    )
    created_after: Instant | None = Field(
        default=None, description="Only watches registered later than this instant.", examples=[EARLY]
    )
    created_before: Instant | None = Field(
        default=None, description="Only watches registered earlier than this instant.", examples=[LATE]
    )
    ended_after: Instant | None = Field(
        default=None,
        description="Only watches whose `ended_at` is later than this instant.",
        examples=[EARLY],
    )
    ended_before: Instant | None = Field(
        default=None,
        description="Only watches whose `ended_at` is earlier than this instant.",
        examples=[LATE],
    )
    settled_after: Instant | None = Field(
        default=None,
        description="Only watches whose `settled_at` is later than this instant.",
        examples=[EARLY],
    )
    settled_before: Instant | None = Field(
        default=None,
        description="Only watches whose `settled_at` is earlier than this instant.",
        examples=[LATE],
    )
    last_attempt_after: Instant | None = Field(
        default=None,
        description="Only watches whose last attempt began later than this instant.",
        examples=[EARLY],
    )
    last_attempt_before: Instant | None = Field(
        default=None,
        description="Only watches whose last attempt began earlier than this instant.",
        examples=[LATE],
    )

    def filters(self, caller: Caller) -> Filters | Problem:
        """Return the filters for the database; unless the caller is an admin, they match only the caller's watches.

        Returns a 403 Problem when `client` is given and the caller is not an admin.
        """
        if self.client is not None and not caller.admin:
            return Problem(status=403, detail="Only an admin may filter by client.")
        given = {field.name: getattr(self, field.name) for field in fields(Filters)}
        return Filters(**given | ({} if caller.admin else {"client": caller.name}))
