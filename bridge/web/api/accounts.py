"""`/v1/accounts`: HubSpot accounts. For admins only; secrets can be written, but not read."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import structlog
from pydantic import AfterValidator, Field, SecretStr

from bridge.core.kinds import API_VERSION, parse_api_version
from bridge.core.parsing import parse_base_url, parse_header_safe
from bridge.core.quota import RATE_LIMIT, parse_rate_limit
from bridge.db.accounts import AccountChange, Credentials
from bridge.steps import accounts
from bridge.web.operations import Access, ApiCall, Reply, Resource, ResponseSpec, reply
from bridge.web.problems import FieldError, Problem, not_found
from bridge.web.request_models import Body
from bridge.web.response_models import Output, examples

log = structlog.get_logger()

resource = Resource("Accounts")


def _secret(given: SecretStr) -> SecretStr:
    parse_header_safe(given.get_secret_value())
    return given


def _rate_limit(text: str) -> str:
    parse_rate_limit(text)
    return text


Secret = Annotated[
    SecretStr,
    AfterValidator(_secret),
    Field(json_schema_extra={"pattern": "^[!-~]{1,4096}$"}),
]

BaseUrl = Annotated[
    str,
    Field(max_length=2048, json_schema_extra={"format": "uri", "pattern": r"^https?://[^?#@\s]+$"}),
    AfterValidator(parse_base_url),
]

ApiVersion = Annotated[
    str, Field(json_schema_extra={"pattern": f"^{API_VERSION}$"}), AfterValidator(parse_api_version)
]

RateLimit = Annotated[
    str, Field(json_schema_extra={"pattern": f"^{RATE_LIMIT}$"}), AfterValidator(_rate_limit)
]

_OAUTH = ("client_id", "client_secret", "refresh_token")


class AccountSettings(Body):
    """The settings of an account, which replace all its old ones.

    The credentials must always be given; any other field that is left out gets the bridge's default.
    """

    model_config = examples(
        {
            "access_token": "pat-na1-11111111-2222-3333-4444-555555555555",
            "base_url": "https://api.hubapi.com",
            "api_version": "v3",
            "rate_limit": "190/10",
            "rate_share": 0.5,
        },
        {
            "client_id": "11111111-2222-3333-4444-555555555555",
            "client_secret": "66666666-7777-8888-9999-000000000000",
            "refresh_token": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        },
    )

    access_token: Secret | None = Field(
        default=None,
        description="The token of a service key or private app; not together with the three OAuth fields.",
    )
    client_id: Secret | None = Field(default=None, description="With OAuth: the app's client id.")
    client_secret: Secret | None = Field(default=None, description="With OAuth: the app's client secret.")
    refresh_token: Secret | None = Field(default=None, description="With OAuth: the account's refresh token.")
    base_url: BaseUrl | None = Field(
        default=None, description="Where HubSpot's API is; HUBSPOT_BASE_URL when left out."
    )
    api_version: ApiVersion | None = Field(
        default=None,
        description="The version in HubSpot's paths: `v3`, or a year and a month; HUBSPOT_API_VERSION when left out.",
    )
    rate_limit: RateLimit | None = Field(
        default=None,
        description="HubSpot's burst limit: `190/10` allows 190 requests in 10 seconds; HUBSPOT_RATE_LIMIT when left out.",
    )
    rate_share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="The share of `rate_limit` that the bridge may use; HUBSPOT_RATE_SHARE when left out.",
    )

    @classmethod
    def cross_field_faults(cls, given: Mapping[str, Any]) -> Sequence[FieldError]:
        """Return an error unless the credentials are an access token alone, or the three OAuth fields alone."""
        oauth = [given.get(name) is not None for name in _OAUTH]
        if all(oauth) if given.get("access_token") is None else not any(oauth):
            return ()
        detail = "must have either access_token, or client_id, client_secret and refresh_token"
        return [FieldError(pointer="", detail=detail)]

    def change(self) -> AccountChange:
        """Return the settings as an AccountChange; its secrets are plain text, which `Accounts.put` encrypts."""
        return AccountChange(
            credentials=Credentials(
                access_token=_revealed(self.access_token),
                client_id=_revealed(self.client_id),
                client_secret=_revealed(self.client_secret),
                refresh_token=_revealed(self.refresh_token),
            ),
            base_url=self.base_url,
            api_version=self.api_version,
            rate_limit=parse_rate_limit(self.rate_limit) if self.rate_limit else None,
            rate_share=self.rate_share,
        )


EXAMPLE: dict[str, Any] = {
    "name": "default",
    "source": "stored",
    "auth": "token",
    "base_url": "https://api.hubapi.com",
    "api_version": "v3",
    "rate_limit": "190/10",
    "rate_share": 0.5,
    "paused_until": None,
    "paused_reason": None,
}
PAUSED_EXAMPLE = EXAMPLE | {
    "paused_until": "2026-11-05T13:15:00.000000Z",
    "paused_reason": "HubSpot answered 401",
}


class AccountSchema(Output):
    """A HubSpot account, without its secrets."""

    model_config = examples(EXAMPLE, PAUSED_EXAMPLE)

    name: str = Field(description="The account's name.")
    source: str = Field(
        description="`stored`: the account is in the bridge's database. `environment`: the account comes from environment variables."
    )
    auth: str = Field(
        description="How the bridge signs in at HubSpot: with a `token`, by `oauth`, or `none` without credentials."
    )
    base_url: str = Field(description="Where HubSpot's API is.")
    api_version: str = Field(description="The version in HubSpot's paths.")
    rate_limit: str = Field(description="HubSpot's burst limit: `190/10` allows 190 requests in 10 seconds.")
    rate_share: float = Field(description="The share of `rate_limit` that the bridge may use.", gt=0, le=1)
    paused_until: datetime | None = Field(
        description="When the bridge asks HubSpot again; null when the account is not paused."
    )
    paused_reason: str | None = Field(description="Why the account is paused; null when it is not paused.")


class AccountListSchema(Output):
    """All accounts, sorted by name."""

    model_config = examples({"accounts": [EXAMPLE]})

    accounts: list[AccountSchema] = Field(description="All accounts, by name; always with `default`.")


@resource.operation(
    "GET /v1/accounts",
    access=Access.ADMIN,
    responses={200: ResponseSpec(description="All accounts.", model=AccountListSchema)},
)
def list_accounts(call: ApiCall) -> Reply:
    """List the HubSpot accounts."""
    every = accounts.list_all(call.dependencies.engine, call.dependencies.accounts, now=call.now)
    return reply({"accounts": [accounts.to_json(each) for each in every]})


@resource.operation(
    "GET /v1/accounts/{name}",
    access=Access.ADMIN,
    responses={200: ResponseSpec(description="The account.", model=AccountSchema)},
)
def show_account(call: ApiCall, name: str) -> Reply | Problem:
    """Show a HubSpot account."""
    every = accounts.list_all(call.dependencies.engine, call.dependencies.accounts, now=call.now)
    found = next((each for each in every if each.account.name == name), None)
    return reply(accounts.to_json(found)) if found else not_found("account")


@resource.operation(
    "PUT /v1/accounts/{name}",
    access=Access.ADMIN,
    body=AccountSettings,
    responses={
        200: ResponseSpec(description="The account, changed.", model=AccountSchema),
        201: ResponseSpec(description="The account, new.", model=AccountSchema),
    },
)
def put_account(call: ApiCall, name: str, body: AccountSettings) -> Reply:
    """Add a HubSpot account, or replace all settings of an existing one.

    If the account is paused, a trial request is due at once; its success ends the pause.
    """
    dependencies = call.dependencies
    status, new = accounts.put(dependencies.engine, dependencies.accounts, name, body.change(), now=call.now)
    log.info("account_set", account=name, auth=status.account.credentials.scheme, by=call.caller.name)
    return reply(accounts.to_json(status), status=201 if new else 200)


@resource.operation(
    "DELETE /v1/accounts/{name}",
    access=Access.ADMIN,
    responses={200: ResponseSpec(description="The account, as it was.", model=AccountSchema)},
    problems=(409,),
)
def remove_account(call: ApiCall, name: str) -> Reply | Problem:
    """Remove a stored HubSpot account.

    While tasks in the account are being watched, the answer is a 409: withdraw their watches first. The account
    `default` is an exception: its stored settings can be removed at any time. After that, the environment's settings
    apply to `default` again.
    """
    dependencies = call.dependencies
    removed = accounts.remove(
        dependencies.engine, dependencies.accounts, name, outbox=dependencies.outbox, now=call.now
    )
    if isinstance(removed, accounts.AccountNotRemoved):
        if not removed.known:
            return Problem(status=404, detail=removed.reason)
        return Problem(status=409, detail=removed.reason, cause="account-in-use")
    log.info("account_removed", account=name, by=call.caller.name)
    return reply(accounts.to_json(removed))


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
