"""Clients over REST: for admins alone."""

from datetime import datetime

import structlog
from pydantic import ConfigDict, Field

from bridge import clients
from bridge.web.fields import Body, Name
from bridge.web.operations import Access, Answered, Call, Reply, Resource, reply
from bridge.web.problems import Fault, Problem
from bridge.web.shown import Shown

log = structlog.get_logger()

resource = Resource("Clients")


class NewClient(Body):
    """A client to be made."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "cms", "admin": False}]})

    name: Name
    admin: bool = Field(default=False, description="May see and change everything.")


class ShownClientWithSecrets(Shown):
    """A new client, with its key and secret: they are shown once."""

    name: str
    admin: bool
    api_key: str
    signing_secret: str


class ShownClient(Shown):
    """An application that registers watches and receives callbacks."""

    name: str
    admin: bool
    key_prefix: str | None = Field(description="The start of its API key.")
    created_at: datetime
    last_used_at: datetime | None = Field(description="When its key was used last, to the minute.")
    revoked_at: datetime | None


class ShownClients(Shown):
    """All clients, by name."""

    clients: list[ShownClient]


@resource.operation(
    "GET /v1/clients",
    access=Access.ADMIN,
    answers={200: Answered(what="All clients, the revoked ones too.", model=ShownClients)},
)
def list_clients(call: Call) -> Reply:
    """List the clients."""
    return reply({"clients": [clients.public(client) for client in clients.every(call.parts.engine)]})


@resource.operation(
    "POST /v1/clients",
    access=Access.ADMIN,
    body=NewClient,
    answers={
        201: Answered(what="The client, its API key and its signing secret.", model=ShownClientWithSecrets)
    },
    problems=(409,),
)
def add_client(call: Call, body: NewClient) -> Reply | Problem:
    """Make a client.

    Its API key and signing secret are shown in this answer, and never again. The name of a revoked client
    stays taken.
    """
    parts = call.parts
    new = clients.add(parts.engine, parts.cipher, body.name, admin=body.admin, now=call.now)
    if isinstance(new, clients.NameTaken):
        fault = Fault(pointer="/name", detail="is taken, perhaps by a revoked client")
        return Problem(status=409, detail=f"The name {new.name} is taken.", faults=[fault])
    log.info("client_added", client=new.name, admin=new.admin, by=call.caller.name)
    shown = {"api_key": new.api_key, "signing_secret": new.signing_secret}
    return reply({"name": new.name, "admin": new.admin} | shown, status=201)


@resource.operation(
    "DELETE /v1/clients/{name}",
    access=Access.ADMIN,
    answers={200: Answered(what="The client, now revoked.", model=ShownClient)},
    problems=(404, 409),
)
def revoke_client(call: Call, name: str) -> Reply | Problem:
    """Revoke a client's API key, for good.

    Its open watches go on, and their callbacks are signed as before. A key cannot revoke itself.
    """
    if name == call.caller.name:
        return Problem(
            status=409, detail="A key cannot revoke itself: use another admin's, or the command line."
        )
    revoked = clients.revoke(call.parts.engine, name, now=call.now)
    if isinstance(revoked, clients.Refused):
        return Problem(status=404, detail=revoked.reason)
    log.info("client_revoked", client=name, by=call.caller.name)
    return reply(clients.public(revoked))
