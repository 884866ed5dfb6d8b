"""Admins manage clients with `/v1/clients`; a client manages its own key and secret with `/v1/me`."""

from datetime import datetime
from typing import Annotated, Any

import structlog
from pydantic import AfterValidator, Field

from bridge.core import parsing
from bridge.steps import clients
from bridge.web.auth import unauthenticated
from bridge.web.operations import Access, ApiCall, Reply, Resource, ResponseSpec, reply
from bridge.web.problems import FieldError, Problem, not_found
from bridge.web.request_models import Body, Name
from bridge.web.response_models import Output, examples

log = structlog.get_logger()

resource = Resource("Clients")


class NewClient(Body):
    """A client to add."""

    model_config = examples({"name": "cms", "admin": False})

    name: Name = Field(description=f"The client's name, which cannot be changed later: {parsing.NAME_RULE}.")
    admin: bool = Field(
        default=False, description="Whether the client is an admin, who may see and change everything."
    )


def _overlap(text: str) -> str:
    parsing.parse_duration(text)
    return text


class SecretRotation(Body):
    """The rotation of a signing secret."""

    model_config = examples({"overlap": "24h"})

    overlap: Annotated[
        str, Field(json_schema_extra={"pattern": f"^{parsing.DURATION_PATTERN}$"}), AfterValidator(_overlap)
    ] = Field(
        default=parsing.OVERLAP,
        description="For how long callbacks are signed with the old secret too: a number and a unit (s, m, h, d), such as 90s or 24h.",
    )


KEY_EXAMPLE = "hib_5s7jK0Qw3xVb8nLr2TfYcAeDgHiMpOuZ"
SECRET_EXAMPLE = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"  # noqa: S105 -- an example, which opens nothing
CLIENT_EXAMPLE: dict[str, Any] = {
    "name": "cms",
    "admin": False,
    "key_prefix": "hib_5s7jK0",
    "created_at": "2026-11-01T09:00:00.000000Z",
    "last_used_at": "2026-11-05T13:00:00.000000Z",
    "revoked_at": None,
}
REVOKED_EXAMPLE = CLIENT_EXAMPLE | {"name": "old-cms", "revoked_at": "2026-11-04T08:30:00.000000Z"}


class NewApiKeySchema(Output):
    """A client's new API key: it is shown once."""

    model_config = examples({"name": "cms", "api_key": KEY_EXAMPLE})

    name: str = Field(description="The client's name.")
    api_key: str = Field(description="The client's new API key; the one before has stopped working.")


class NewSigningSecretSchema(Output):
    """A client's new signing secret: it is shown once."""

    model_config = examples({"name": "cms", "signing_secret": SECRET_EXAMPLE})

    name: str = Field(description="The client's name.")
    signing_secret: str = Field(
        description="The secret with which the client's callbacks are signed from now on."
    )


class ClientWithSecretsSchema(Output):
    """A new client, with its key and secret: they are shown once."""

    model_config = examples(
        {
            "name": "cms",
            "admin": False,
            "api_key": KEY_EXAMPLE,
            "signing_secret": SECRET_EXAMPLE,
        }
    )

    name: str = Field(description="The client's name.")
    admin: bool = Field(description="Whether the client is an admin, who may see and change everything.")
    api_key: str = Field(
        description="The client's API key, which goes into each of its requests as `Authorization: Bearer …`."
    )
    signing_secret: str = Field(description="The secret with which the client's callbacks are signed.")


class ClientSchema(Output):
    """An application that registers watches and receives callbacks."""

    model_config = examples(CLIENT_EXAMPLE, REVOKED_EXAMPLE)

    name: str = Field(description="The client's name.")
    admin: bool = Field(description="Whether the client is an admin, who may see and change everything.")
    key_prefix: str | None = Field(
        description="The first ten characters of the client's API key; null when the only key is BRIDGE_ADMIN_KEY."
    )
    created_at: datetime | None = Field(
        description="When the client was stored. Null only for the client `admin` of BRIDGE_ADMIN_KEY, before its first registration, import, test callback or secret rotation."
    )
    last_used_at: datetime | None = Field(
        description="When the client's API key was used last, to the minute; null when no use is recorded."
    )
    revoked_at: datetime | None = Field(description="When the client was revoked; null while it is not.")


class ClientListSchema(Output):
    """All clients, sorted by name."""

    model_config = examples({"clients": [CLIENT_EXAMPLE]})

    clients: list[ClientSchema] = Field(description="All clients, the revoked ones too.")


@resource.operation(
    "GET /v1/clients",
    access=Access.ADMIN,
    responses={200: ResponseSpec(description="All clients, the revoked ones too.", model=ClientListSchema)},
)
def list_clients(call: ApiCall) -> Reply:
    """List the clients."""
    return reply(
        {"clients": [clients.to_json(client) for client in clients.list_all(call.dependencies.engine)]}
    )


@resource.operation(
    "POST /v1/clients",
    access=Access.ADMIN,
    body=NewClient,
    responses={
        201: ResponseSpec(
            description="The client, its API key and its signing secret.", model=ClientWithSecretsSchema
        )
    },
    problems=(409,),
)
def add_client(call: ApiCall, body: NewClient) -> Reply | Problem:
    """Add a client.

    Its API key and signing secret are shown in this answer, and never again. The name of a revoked client cannot be
    used again.
    """
    dependencies = call.dependencies
    new = clients.add(dependencies.engine, dependencies.cipher, body.name, admin=body.admin, now=call.now)
    if new is None:
        fault = FieldError(pointer="/name", detail="is taken, perhaps by a revoked client")
        return Problem(
            status=409, detail=f"The name {body.name} is taken.", cause="name-taken", faults=[fault]
        )
    log.info("client_added", client=new.name, admin=new.admin, by=call.caller.name)
    shown = {"api_key": new.api_key, "signing_secret": new.signing_secret}
    return reply({"name": new.name, "admin": new.admin} | shown, status=201)


@resource.operation(
    "DELETE /v1/clients/{name}",
    access=Access.ADMIN,
    responses={200: ResponseSpec(description="The client, now revoked.", model=ClientSchema)},
    problems=(409,),
)
def revoke_client(call: ApiCall, name: str) -> Reply | Problem:
    """Revoke a client's API key, permanently.

    The client's open watches go on, and their callbacks are signed as before. A client cannot revoke itself: the
    answer is a 409. The setting BRIDGE_ADMIN_KEY is a second key of the client `admin`: a request with this key
    cannot revoke `admin`, and the key stays valid when `admin` is revoked.
    """
    if name == call.caller.name:
        return Problem(
            status=409,
            detail="A key cannot revoke itself: use another admin's, or the command line.",
            cause="own-key",
        )
    revoked = clients.revoke(call.dependencies.engine, name, now=call.now)
    if isinstance(revoked, clients.ClientUnchanged):
        return Problem(status=404, detail=revoked.reason)
    log.info("client_revoked", client=name, by=call.caller.name)
    return reply(clients.to_json(revoked))


@resource.operation(
    "GET /v1/clients/{name}",
    access=Access.ADMIN,
    responses={200: ResponseSpec(description="The client.", model=ClientSchema)},
)
def show_client(call: ApiCall, name: str) -> Reply | Problem:
    """Show a client."""
    client = clients.get(call.dependencies.engine, name)
    return reply(clients.to_json(client)) if client else not_found("client")


@resource.operation(
    "POST /v1/clients/{name}/rotate-key",
    access=Access.ADMIN,
    responses={200: ResponseSpec(description="The new API key.", model=NewApiKeySchema)},
)
def rotate_client_key(call: ApiCall, name: str) -> Reply | Problem:
    """Give a client a new API key; the old key stops working at once.

    The setting BRIDGE_ADMIN_KEY is a second key of the client `admin`. This second key stays valid.
    """
    return _new_key(call, name)


@resource.operation(
    "POST /v1/clients/{name}/rotate-secret",
    access=Access.ADMIN,
    body=SecretRotation,
    responses={200: ResponseSpec(description="The new signing secret.", model=NewSigningSecretSchema)},
)
def rotate_client_secret(call: ApiCall, name: str, body: SecretRotation) -> Reply | Problem:
    """Give a client a new signing secret; for the time of `overlap`, the old one signs callbacks too."""
    return _new_secret(call, name, body)


@resource.operation(
    "GET /v1/me",
    responses={200: ResponseSpec(description="The client whose API key was sent.", model=ClientSchema)},
)
def show_me(call: ApiCall) -> Reply:
    """Show the client that the API key belongs to."""
    client = clients.get(call.dependencies.engine, call.caller.name)
    return reply(clients.to_json(client) if client else clients.ADMIN_BEFORE_FIRST_USE)


@resource.operation(
    "POST /v1/me/rotate-key",
    responses={200: ResponseSpec(description="The new API key.", model=NewApiKeySchema)},
    problems=(409,),
)
def rotate_own_key(call: ApiCall) -> Reply | Problem:
    """Get a new API key; the one that this request was sent with stops working at once.

    For BRIDGE_ADMIN_KEY the answer is a 409: that key is a setting, which no request can change.
    """
    if call.caller.from_environment:
        detail = "This key is the setting BRIDGE_ADMIN_KEY: change it there."
        return Problem(status=409, detail=detail, cause="key-is-a-setting")
    return _new_key(call, call.caller.name)


@resource.operation(
    "POST /v1/me/rotate-secret",
    body=SecretRotation,
    responses={200: ResponseSpec(description="The new signing secret.", model=NewSigningSecretSchema)},
)
def rotate_own_secret(call: ApiCall, body: SecretRotation) -> Reply | Problem:
    """Get a new signing secret; for the time of `overlap`, the old one signs callbacks too."""
    call.ensure_client()
    return _new_secret(call, call.caller.name, body)


def _own_key(call: ApiCall, name: str) -> str | None:
    """Return the API key that this request was sent with, if the client `name` sent it; else None."""
    return call.caller.api_key if name == call.caller.name else None


def _unchanged(found: clients.ClientUnchanged, sent_with: str | None) -> Problem:
    return unauthenticated(found.reason) if sent_with else Problem(status=404, detail=found.reason)


def _new_key(call: ApiCall, name: str) -> Reply | Problem:
    sent_with = _own_key(call, name)
    key = clients.rotate_key(call.dependencies.engine, name, sent_with=sent_with)
    if isinstance(key, clients.ClientUnchanged):
        return _unchanged(key, sent_with)
    log.info("client_key_rotated", client=name, by=call.caller.name)
    return reply({"name": name, "api_key": key})


def _new_secret(call: ApiCall, name: str, body: SecretRotation) -> Reply | Problem:
    sent_with = _own_key(call, name)
    secret = clients.rotate_secret(
        call.dependencies.engine,
        call.dependencies.cipher,
        name,
        overlap_seconds=parsing.parse_duration(body.overlap),
        now=call.now,
        sent_with=sent_with,
    )
    if isinstance(secret, clients.ClientUnchanged):
        return _unchanged(secret, sent_with)
    log.info("client_secret_rotated", client=name, by=call.caller.name, overlap=body.overlap)
    return reply({"name": name, "signing_secret": secret})
