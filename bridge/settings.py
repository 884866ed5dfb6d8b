"""What the environment asks for: read once, typed, bounded, every problem named at once.

Values become plain types with bounds; whatever may hold a secret becomes a `SecretStr`.
"""

import re
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Self
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from bridge.core.kinds import api_version
from bridge.core.quota import rate_limit
from bridge.core.signing import SECRET_PREFIX, secret_key
from bridge.http.addresses import host_refusal, problem_with
from bridge.logs import LogFormat

PORTS = re.compile(r"[0-9,]*")  # one for each of several hosts, or none
# The names that people, Heroku and SQLAlchemy write.
POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
DAY_SECONDS = 86_400
# A claimed request may wait 0.4 s until it starts. A lease that is over before the time-out would never let it end.
LEASE_MARGIN_SECONDS = 0.5
# RFC 9110, 5.5: what a header value may hold, less the white space that only a slip brings in.
HEADER_SAFE = re.compile(r"[!-~]{1,4096}")


class SettingsProblem(Exception):
    """Settings are wrong: one line for each problem, by the variable's name, never with a secret."""


def _database_url(given: SecretStr, info: ValidationInfo) -> SecretStr:
    scheme, _, rest = given.get_secret_value().partition("://")
    if scheme == "sqlite":
        return SecretStr(_sqlite_url(f"sqlite://{rest}"))
    if scheme in POSTGRESQL:
        return SecretStr(_postgresql_address(f"postgresql://{rest}", tls=bool(info.data.get("dyno"))))
    raise ValueError("must be a sqlite:// or postgresql:// address")


def _sqlite_url(text: str) -> str:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("is not a database address like sqlite:////var/lib/bridge/bridge.db") from None
    if url.database in {None, "", ":memory:"}:
        raise ValueError("must name a file: what is only in memory is lost with the process")
    return url.render_as_string(hide_password=False)


def _postgresql_address(text: str, *, tls: bool) -> str:
    """Return the address, with every option that it names, as a connection string of libpq."""
    with suppress(ProgrammingError):
        parts = conninfo_to_dict(text)
        if PORTS.fullmatch(str(parts.get("port", ""))):
            return make_conninfo("", **({"sslmode": "require"} if tls else {}) | parts)
    # libpq's own message repeats a part of the address, and that may be of the password.
    raise ValueError(
        "is not a database address like postgresql://user:password@host/name; special characters are "
        "written percent-encoded, in the password too, and options are named as libpq names them"
    )


def _is_http(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _http_url(text: str) -> str:
    if not (_is_http(text) and HEADER_SAFE.fullmatch(text)):
        raise ValueError("must be an http:// or https:// address with a host")
    return text


def _base_url(text: str) -> str:
    parts = urlsplit(_http_url(text))
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must hold no user, query or fragment")
    return text.rstrip("/")


def _proxy_url(given: SecretStr) -> SecretStr:
    _http_url(given.get_secret_value())
    return given


def _header_safe(given: SecretStr) -> SecretStr:
    if not HEADER_SAFE.fullmatch(given.get_secret_value()):
        raise ValueError("must be at most 4096 printable ASCII characters, without white space")
    return given


def _long_enough(given: SecretStr) -> SecretStr:
    if len(given.get_secret_value()) < 32:
        raise ValueError("must have at least 32 characters")
    return given


def _fernet_key(given: SecretStr) -> SecretStr:
    key = given.get_secret_value()
    # What Heroku generates, and `openssl rand -hex 32`: the same 32 bytes, spelled otherwise.
    if re.fullmatch("[0-9A-Fa-f]{64}", key):
        key = urlsafe_b64encode(bytes.fromhex(key)).decode()
    try:
        Fernet(key)
    except ValueError:
        raise ValueError(
            "is not a Fernet key (32 random bytes in url-safe base64, or as 64 hexadecimal digits)"
        ) from None
    return SecretStr(key)


def _operator_url(given: SecretStr, info: ValidationInfo) -> SecretStr:
    """Hold it to the rules of callback URLs, as far as the settings of these could be read."""
    url, rules = given.get_secret_value(), info.data
    problem = problem_with(
        url,
        https_only=rules.get("callback_https_only", False),
        ports=rules.get("callback_ports", frozenset()),
    )
    if not problem and "callback_allow" in rules:
        problem = host_refusal(url, allow=rules["callback_allow"])
    if problem:
        raise ValueError(problem)
    return given


def _signing_secret(given: SecretStr) -> SecretStr:
    if not given.get_secret_value().startswith(SECRET_PREFIX):
        raise ValueError(f"a signing secret begins with {SECRET_PREFIX}")
    secret_key(given.get_secret_value())
    return given


def _comma_separated(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


BaseUrl = Annotated[str, AfterValidator(_base_url)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy_url)]
Token = Annotated[SecretStr, AfterValidator(_header_safe)]
Share = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Wait = Annotated[Seconds, Field(le=30 * DAY_SECONDS)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class Settings(BaseModel):
    """Everything that the environment decides. Made by `load`."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    # Heroku's. The name of the dyno comes first, because the database address depends on it.
    dyno: str | None = Field(default=None, alias="DYNO")
    port: Port = Field(default=8000, alias="PORT")
    web_concurrency: int = Field(default=1, ge=1, le=256, alias="WEB_CONCURRENCY")

    database_url: Annotated[SecretStr, AfterValidator(_database_url)] = Field(
        default=SecretStr("sqlite:///bridge.db"), alias="DATABASE_URL"
    )
    allow_sqlite_on_dyno: bool = Field(default=False, alias="BRIDGE_ALLOW_SQLITE_ON_DYNO")
    secret_keys: Annotated[
        tuple[Annotated[SecretStr, AfterValidator(_fernet_key)], ...], BeforeValidator(_comma_separated)
    ] = Field(default=(), alias="BRIDGE_SECRET_KEY")
    admin_key: Annotated[Token, AfterValidator(_long_enough)] | None = Field(
        default=None, alias="BRIDGE_ADMIN_KEY"
    )
    public_url: BaseUrl | None = Field(default=None, alias="BRIDGE_PUBLIC_URL")
    log_format: LogFormat | None = Field(default=None, alias="BRIDGE_LOG_FORMAT")

    embedded_worker: bool = Field(default=True, alias="BRIDGE_EMBEDDED_WORKER")
    concurrency: int = Field(default=32, ge=1, le=1024, alias="BRIDGE_CONCURRENCY")
    lease_seconds: Seconds = Field(default=60, le=3600, alias="BRIDGE_LEASE_SECONDS")
    watch_timeout_seconds: int = Field(
        default=DAY_SECONDS, ge=10, le=30 * DAY_SECONDS, alias="BRIDGE_WATCH_TIMEOUT"
    )
    retention_days: int = Field(default=30, ge=1, le=3650, alias="BRIDGE_RETENTION_DAYS")

    open_watch_limit: int = Field(default=100_000, ge=1, le=10_000_000, alias="BRIDGE_OPEN_WATCH_LIMIT")

    hubspot_access_token: Token | None = Field(default=None, alias="HUBSPOT_ACCESS_TOKEN")
    hubspot_client_id: Token | None = Field(default=None, alias="HUBSPOT_CLIENT_ID")
    hubspot_client_secret: Token | None = Field(default=None, alias="HUBSPOT_CLIENT_SECRET")
    hubspot_refresh_token: Token | None = Field(default=None, alias="HUBSPOT_REFRESH_TOKEN")
    hubspot_base_url: BaseUrl = Field(default="https://api.hubapi.com", alias="HUBSPOT_BASE_URL")
    hubspot_api_version: Annotated[str, AfterValidator(api_version)] = Field(
        default="v3", alias="HUBSPOT_API_VERSION"
    )
    # How many requests, in how many seconds.
    hubspot_rate_limit: Annotated[tuple[int, float], BeforeValidator(rate_limit)] = Field(
        default=(100, 10.0), alias="HUBSPOT_RATE_LIMIT"
    )
    hubspot_rate_share: Share = Field(default=0.5, gt=0, le=1, alias="HUBSPOT_RATE_SHARE")
    hubspot_timeout_seconds: Seconds = Field(default=10, le=300, alias="HUBSPOT_TIMEOUT")
    hubspot_proxy: ProxyUrl | None = Field(default=None, alias="HUBSPOT_PROXY")

    callback_timeout_seconds: Seconds = Field(default=20, le=300, alias="BRIDGE_CALLBACK_TIMEOUT")
    retry_schedule_seconds: Annotated[
        tuple[Wait, ...], BeforeValidator(_comma_separated), Field(min_length=1, max_length=50)
    ] = Field(
        default=(5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400), alias="BRIDGE_RETRY_SCHEDULE"
    )
    retry_jitter_share: Share = Field(default=0.2, ge=0, lt=1, alias="BRIDGE_RETRY_JITTER")
    callback_https_only: bool = Field(default=True, alias="BRIDGE_CALLBACK_HTTPS_ONLY")
    callback_allow: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_comma_separated)] = Field(
        default=(), alias="BRIDGE_CALLBACK_ALLOW"
    )
    callback_ports: Annotated[frozenset[Port], BeforeValidator(_comma_separated)] = Field(
        default=frozenset(), alias="BRIDGE_CALLBACK_PORTS"
    )
    callback_proxy: ProxyUrl | None = Field(default=None, alias="BRIDGE_CALLBACK_PROXY")

    # Held to the rules of callbacks, which therefore come first. A path may be a secret, too.
    operator_url: Annotated[SecretStr, AfterValidator(_operator_url)] | None = Field(
        default=None, alias="BRIDGE_OPERATOR_URL"
    )
    operator_secret: Annotated[SecretStr, AfterValidator(_signing_secret)] | None = Field(
        default=None, alias="BRIDGE_OPERATOR_SECRET"
    )

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Read `environ`; a variable that is empty or blank counts as not set.

        Raises SettingsProblem, with every problem that there is.
        """
        given = {name: text for name in NAMES if (text := environ.get(name, "").strip())}
        settings, faults = cls._read(given)
        unread = {_name(fault) for fault in faults}
        problems = [
            *map(_problem_line, faults),
            *(rule.problem for rule in RULES if rule.names.isdisjoint(unread) and rule.is_broken(settings)),
            *_misspelled(environ),
        ]
        if problems:
            raise SettingsProblem("\n".join(sorted(problems)))
        return settings

    @classmethod
    def load_or_exit(cls, environ: Mapping[str, str]) -> Self:
        """As `load`, but a problem is told on standard error and ends the process with status 2."""
        try:
            return cls.load(environ)
        except SettingsProblem as problem:
            sys.stderr.write(f"The bridge does not start, because of its settings:\n{problem}\n")
            sys.exit(2)

    @classmethod
    def _read(cls, given: Mapping[str, str]) -> tuple[Self, list[ErrorDetails]]:
        """Return the settings, with the defaults for those that cannot be read, and why they cannot."""
        try:
            return cls.model_validate(given), []
        except ValidationError as error:
            faults = error.errors()
        unread = {_name(fault) for fault in faults}
        return cls.model_validate({name: given[name] for name in given.keys() - unread}), faults


NAMES = frozenset(field.alias for field in Settings.model_fields.values() if field.alias)


def _name(fault: ErrorDetails) -> str:
    return str(fault["loc"][0])


def _problem_line(fault: ErrorDetails) -> str:
    """Say it in words, without the value: it may be a secret."""
    place = fault["loc"][1:]
    entry = f", entry {place[0] + 1}" if place and isinstance(place[0], int) else ""
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{_name(fault)}{entry}: {message}"


def _misspelled(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a problem for each name that is nearly one of ours: a typo must not be silent.

    Others that begin like ours are not: Kubernetes sets some for a service that is named `bridge`.
    """
    for name in environ.keys() - NAMES:
        near = get_close_matches(name, NAMES, n=1, cutoff=0.85)
        if near and name.startswith(("BRIDGE_", "HUBSPOT_")):
            yield f"{name}: is no setting of the bridge; did you mean {near[0]}?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What several settings must hold together; it is asked when all of `names` could be read."""

    names: frozenset[str]
    is_broken: Callable[[Settings], bool]
    problem: str


def _on_sqlite(settings: Settings) -> bool:
    return settings.database_url.get_secret_value().startswith("sqlite:")


def _oauth_given(settings: Settings) -> list[SecretStr]:
    three = (settings.hubspot_client_id, settings.hubspot_client_secret, settings.hubspot_refresh_token)
    return [part for part in three if part]


OAUTH_NAMES = frozenset({"HUBSPOT_CLIENT_ID", "HUBSPOT_CLIENT_SECRET", "HUBSPOT_REFRESH_TOKEN"})
RULES = (
    Rule(
        names=frozenset({"BRIDGE_OPERATOR_URL", "BRIDGE_OPERATOR_SECRET"}),
        is_broken=lambda given: bool(given.operator_url) != bool(given.operator_secret),
        problem="BRIDGE_OPERATOR_URL: set it and BRIDGE_OPERATOR_SECRET, or neither; make a secret with: python -c "
        "'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(32)).decode())'",
    ),
    Rule(
        names=frozenset({"BRIDGE_LEASE_SECONDS", "HUBSPOT_TIMEOUT", "BRIDGE_CALLBACK_TIMEOUT"}),
        is_broken=lambda given: (
            given.lease_seconds
            < max(given.hubspot_timeout_seconds, given.callback_timeout_seconds) + LEASE_MARGIN_SECONDS
        ),
        problem="BRIDGE_LEASE_SECONDS: must exceed both HUBSPOT_TIMEOUT and BRIDGE_CALLBACK_TIMEOUT, by half a "
        "second or more",
    ),
    Rule(
        names=frozenset({"DATABASE_URL", "BRIDGE_SECRET_KEY"}),
        is_broken=lambda given: not _on_sqlite(given) and not given.secret_keys,
        problem="BRIDGE_SECRET_KEY: is required with PostgreSQL; make one with: python -c "
        "'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'",
    ),
    Rule(
        names=frozenset({"DATABASE_URL", "DYNO", "BRIDGE_ALLOW_SQLITE_ON_DYNO"}),
        is_broken=lambda given: bool(given.dyno) and _on_sqlite(given) and not given.allow_sqlite_on_dyno,
        problem="DATABASE_URL: a dyno's disk is wiped daily, and SQLite with it; add a PostgreSQL database, "
        "or set BRIDGE_ALLOW_SQLITE_ON_DYNO=true to lose the data",
    ),
    Rule(
        names=OAUTH_NAMES | {"HUBSPOT_ACCESS_TOKEN"},
        is_broken=lambda given: bool(given.hubspot_access_token and _oauth_given(given)),
        problem="HUBSPOT_ACCESS_TOKEN: excludes HUBSPOT_CLIENT_ID, HUBSPOT_CLIENT_SECRET and "
        "HUBSPOT_REFRESH_TOKEN; set the one or the three",
    ),
    Rule(
        names=OAUTH_NAMES,
        is_broken=lambda given: len(_oauth_given(given)) in {1, 2},
        problem="HUBSPOT_REFRESH_TOKEN: OAuth needs HUBSPOT_CLIENT_ID, HUBSPOT_CLIENT_SECRET and "
        "HUBSPOT_REFRESH_TOKEN, all three",
    ),
)
