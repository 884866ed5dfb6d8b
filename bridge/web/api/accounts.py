"""HubSpot accounts over REST: for admins alone; secrets go in, and never out."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import structlog
from pydantic import AfterValidator, ConfigDict, Field, SecretStr, WithJsonSchema
from pydantic.config import JsonDict

from bridge.core.kinds import API_VERSION, api_version
from bridge.core.quota import RATE_LIMIT, rate_limit
from bridge.db.accounts import AccountChange, Credentials
from bridge.steps import accounts
from bridge.web.operations import Access, Answered, Call, Reply, Resource, reply
from bridge.web.problems import Fault, Problem, not_found
from bridge.web.requests import Body
from bridge.web.responses import Shown

log = structlog.get_logger()

resource = Resource("Accounts")

# RFC 9110, 5.5: what a header value may hold, less the white space that only a slip brings in.
_HEADER_SAFE = re.compile(r"[!-~]{1,4096}")


def _secret(given: SecretStr) -> SecretStr:
    if not _HEADER_SAFE.fullmatch(given.get_secret_value()):
        raise ValueError("must be 1 to 4,096 printable ASCII characters, without white space")
    return given


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    else:
        well_formed = well_formed and not (parts.query or parts.fragment or "@" in parts.netloc)
    if not (well_formed and _HEADER_SAFE.fullmatch(text)):
        raise ValueError("must be an http:// or https:// address without user, query and fragment")
    return text.rstrip("/")


def _rate_limit(text: str) -> str:
    rate_limit(text)
    return text


Secret = Annotated[
    SecretStr,
    AfterValidator(_secret),
    WithJsonSchema({"type": "string", "format": "password", "writeOnly": True, "pattern": "^[!-~]{1,4096}$"}),
]

BaseUrl = Annotated[
    str,
    Field(max_length=2048, json_schema_extra={"format": "uri", "pattern": r"^https?://[^?#@\s]+$"}),
    AfterValidator(_base_url),
]

ApiVersion = Annotated[
    str, Field(json_schema_extra={"pattern": f"^{API_VERSION}$"}), AfterValidator(api_version)
]

RateLimit = Annotated[
    str, Field(json_schema_extra={"pattern": f"^{RATE_LIMIT}$"}), AfterValidator(_rate_limit)
]

_OAUTH = ("client_id", "client_secret", "refresh_token")


def _exactly(*names: str) -> JsonDict:
    """Return the schema of an object that has these secrets, and none of the others."""
    others = {"access_token", *_OAUTH} - {*names}
    given: JsonDict = {name: {"type": "string"} for name in names}
    absent: JsonDict = {name: {"type": "null"} for name in sorted(others)}
    return {"required": list(names), "properties": given | absent}


class AccountSettings(Body):
    """An account as it shall be: what is left out has the bridge's own default, whatever it was before."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [_exactly("access_token"), _exactly(*_OAUTH)],
            "examples": [
                {"access_token": "pat-na1-11111111-2222-3333-4444-555555555555", "rate_limit": "190/10"}
            ],
        }
    )

    access_token: Secret | None = Field(default=None, description="A service key or private app's token.")
    client_id: Secret | None = Field(default=None, description="With OAuth: these three, and no token.")
    client_secret: Secret | None = None
    refresh_token: Secret | None = None
    base_url: BaseUrl | None = None
    api_version: ApiVersion | None = None
    rate_limit: RateLimit | None = Field(
        default=None, description="HubSpot's burst limit, in requests / seconds."
    )
    rate_share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="The share of it that the bridge may use."
    )

    @classmethod
    def faults_between(cls, given: Mapping[str, Any]) -> Sequence[Fault]:
        """See that there is one way to prove who it is."""
        oauth = [given.get(name) is not None for name in _OAUTH]
        if all(oauth) if given.get("access_token") is None else not any(oauth):
            return ()
        detail = "must have either access_token, or client_id, client_secret and refresh_token"
        return [Fault(pointer="", detail=detail)]

    def change(self) -> AccountChange:
        """Return what is to be stored."""
        return AccountChange(
            credentials=Credentials(
                access_token=_revealed(self.access_token),
                client_id=_revealed(self.client_id),
                client_secret=_revealed(self.client_secret),
                refresh_token=_revealed(self.refresh_token),
            ),
            base_url=self.base_url,
            api_version=self.api_version,
            rate_limit=rate_limit(self.rate_limit) if self.rate_limit else None,
            rate_share=self.rate_share,
        )


class ShownAccount(Shown):
    """A HubSpot account, without its secrets."""

    name: str
    source: Literal["environment", "stored"]
    auth: Literal["token", "oauth", "none"] = Field(description="How it proves who it is.")
    base_url: str
    api_version: str
    rate_limit: str = Field(description="HubSpot's burst limit, in requests / seconds.")
    rate_share: float = Field(description="The share of it that the bridge may use.")
    paused_until: datetime | None = Field(description="When the bridge asks again.")
    paused_reason: str | None


class ShownAccounts(Shown):
    """All accounts, by name."""

    accounts: list[ShownAccount]


@resource.operation(
    "GET /v1/accounts",
    access=Access.ADMIN,
    answers={200: Answered(what="All accounts.", model=ShownAccounts)},
)
def list_accounts(call: Call) -> Reply:
    """List the HubSpot accounts."""
    every = accounts.every(call.parts.engine, call.parts.accounts, now=call.now)
    return reply({"accounts": [accounts.public(standing) for standing in every]})


@resource.operation(
    "GET /v1/accounts/{name}",
    access=Access.ADMIN,
    answers={200: Answered(what="The account.", model=ShownAccount)},
    problems=(404,),
)
def show_account(call: Call, name: str) -> Reply | Problem:
    """Show a HubSpot account."""
    every = accounts.every(call.parts.engine, call.parts.accounts, now=call.now)
    found = next((each for each in every if each.account.name == name), None)
    return reply(accounts.public(found)) if found else not_found("account")


@resource.operation(
    "PUT /v1/accounts/{name}",
    access=Access.ADMIN,
    body=AccountSettings,
    answers={
        200: Answered(what="The account, changed.", model=ShownAccount),
        201: Answered(what="The account, new.", model=ShownAccount),
    },
)
def put_account(call: Call, name: str, body: AccountSettings) -> Reply:
    """Set a HubSpot account.

    The whole of it is replaced. An account that was paused is tried again at once.
    """
    parts = call.parts
    standing, new = accounts.put(parts.engine, parts.accounts, name, body.change(), now=call.now)
    log.info("account_set", account=name, auth=standing.account.credentials.scheme, by=call.caller.name)
    return reply(accounts.public(standing), status=201 if new else 200)


@resource.operation(
    "DELETE /v1/accounts/{name}",
    access=Access.ADMIN,
    answers={200: Answered(what="The account, as it was.", model=ShownAccount)},
    problems=(404, 409),
)
def remove_account(call: Call, name: str) -> Reply | Problem:
    """Remove a stored HubSpot account.

    While some task in it is being watched, this is a 409: withdraw the watches first. `default` can always be
    removed: what the environment says of it holds again.
    """
    removed = accounts.remove(call.parts.engine, call.parts.accounts, name, now=call.now)
    if isinstance(removed, accounts.Refused):
        return Problem(status=409 if removed.known else 404, detail=removed.reason)
    log.info("account_removed", account=name, by=call.caller.name)
    return reply(accounts.public(removed))


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
