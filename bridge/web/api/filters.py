"""Which watches a request means: the same filters for a list and for a redelivery."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from functools import partial
from typing import Annotated

from pydantic import BaseModel, Field, PlainValidator, WithJsonSchema

from bridge.core.kinds import KINDS
from bridge.core.watch import Outcome, State
from bridge.core.words import one_or_more
from bridge.db.watch_lists import Filters
from bridge.web.auth import Caller
from bridge.web.problems import Problem
from bridge.web.requests import Host, Instant, Name, TaskId

STATES = {state.value: state for state in State}
OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def _schema(words: Collection[str]) -> WithJsonSchema:
    several = {"type": "array", "items": {"type": "string", "enum": list(words)}, "minItems": 1}
    return WithJsonSchema({"anyOf": [several, {"type": "string"}]})


States = Annotated[Sequence[State], PlainValidator(partial(one_or_more, STATES)), _schema(STATES)]
Outcomes = Annotated[Sequence[Outcome], PlainValidator(partial(one_or_more, OUTCOMES)), _schema(OUTCOMES)]
Kinds = Annotated[
    Sequence[str], PlainValidator(partial(one_or_more, {kind: kind for kind in KINDS})), _schema(KINDS)
]


class FilterFields(BaseModel):
    """Filters, each optional; a watch must pass all that are given."""

    state: States | None = Field(default=None, description="Any of these.")
    outcome: Outcomes | None = Field(default=None, description="Any of these.")
    kind: Kinds | None = Field(default=None, description="Any of these.")
    account: Name | None = None
    client: Name | None = Field(default=None, description="Who registered it: for admins alone.")
    task_id: TaskId | None = None
    callback_host: Host | None = Field(default=None, description="The URL's host, without the port.")
    created_after: Instant | None = Field(default=None, description="Registered later than this instant.")
    created_before: Instant | None = Field(default=None, description="Registered earlier than this instant.")
    ended_after: Instant | None = Field(default=None, description="Seen to end later than this instant.")
    ended_before: Instant | None = Field(default=None, description="Seen to end earlier than this instant.")
    settled_after: Instant | None = Field(default=None, description="Settled later than this instant.")
    settled_before: Instant | None = Field(default=None, description="Settled earlier than this instant.")

    def filters(self, caller: Caller) -> Filters | Problem:
        """Return the filters for this caller: a client means its own watches only."""
        if self.client is not None and not caller.admin:
            return Problem(status=403, detail="Only an admin may filter by client.")
        given = {field.name: getattr(self, field.name) for field in fields(Filters)}
        return Filters(**given | ({} if caller.admin else {"client": caller.name}))
