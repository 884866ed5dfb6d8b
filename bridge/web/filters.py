"""Which watches a request means: the same filters for a list and for a redelivery."""

from dataclasses import fields
from typing import Annotated

from pydantic import BaseModel, Field

from bridge.core.watch import Outcome, State
from bridge.edges.store.listing import Filters
from bridge.web.auth import Caller
from bridge.web.fields import Host, Instant, Kind, Name, TaskId
from bridge.web.problems import Problem


class FilterFields(BaseModel):
    """Filters, each optional; a watch must pass all that are given."""

    state: Annotated[State, Field(strict=False)] | None = None
    outcome: Annotated[Outcome, Field(strict=False)] | None = None
    kind: Kind | None = None
    account: Name | None = None
    client: Name | None = Field(default=None, description="Who registered it: for admins alone.")
    task_id: TaskId | None = None
    callback_host: Host | None = Field(default=None, description="The URL's host, without the port.")
    created_after: Instant | None = Field(default=None, description="Registered later than this instant.")
    created_before: Instant | None = Field(default=None, description="Registered earlier than this instant.")

    def filters(self, caller: Caller) -> Filters | Problem:
        """Return the filters for this caller: a client means its own watches only."""
        if self.client is not None and not caller.admin:
            return Problem(status=403, detail="Only an admin may filter by client.")
        given = {field.name: getattr(self, field.name) for field in fields(Filters)}
        return Filters(**given | ({} if caller.admin else {"client": caller.name}))
