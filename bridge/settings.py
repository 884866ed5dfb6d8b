"""The settings, read from the environment when a process starts, and checked; problems are reported together."""

import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from bridge.logs import LogFormat
from bridge.setting_types import (
    DAY_SECONDS,
    AdminKey,
    ApiVersion,
    BaseUrl,
    DatabaseUrl,
    FernetKeys,
    Networks,
    OperatorUrl,
    Port,
    Ports,
    ProxyUrl,
    RateLimit,
    Seconds,
    Share,
    SigningSecret,
    Token,
    Waits,
)

# A claimed watch may wait 0.4 s before its request is sent; the request must time out before the lease ends.
LEASE_MARGIN_SECONDS = 0.5


class SettingsProblem(Exception):
    """The settings are wrong; the message has a line for each problem, and repeats no secret."""


class Settings(BaseModel):
    """The settings, as `load` returns them; each field's `alias` is the name of its environment variable.

    What each variable means is in `docs/operating.md`.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    # Set by Heroku. DYNO, the dyno's name, comes first, because the check of DATABASE_URL depends on it.
    dyno: str | None = Field(default=None, alias="DYNO")
    port: Port = Field(default=8000, alias="PORT")
    web_concurrency: int = Field(default=1, ge=1, le=256, alias="WEB_CONCURRENCY")

    database_url: DatabaseUrl = Field(default=SecretStr("sqlite:///bridge.db"), alias="DATABASE_URL")
    allow_sqlite_on_dyno: bool = Field(default=False, alias="BRIDGE_ALLOW_SQLITE_ON_DYNO")
    secret_keys: FernetKeys = Field(default=(), alias="BRIDGE_SECRET_KEY")
    admin_key: AdminKey | None = Field(default=None, alias="BRIDGE_ADMIN_KEY")
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
    hubspot_api_version: ApiVersion = Field(default="v3", alias="HUBSPOT_API_VERSION")
    hubspot_rate_limit: RateLimit = Field(default=(100, 10.0), alias="HUBSPOT_RATE_LIMIT")
    hubspot_rate_share: Share = Field(default=0.5, gt=0, le=1, alias="HUBSPOT_RATE_SHARE")
    hubspot_timeout_seconds: Seconds = Field(default=10, le=300, alias="HUBSPOT_TIMEOUT")
    hubspot_proxy: ProxyUrl | None = Field(default=None, alias="HUBSPOT_PROXY")

    callback_timeout_seconds: Seconds = Field(default=20, le=300, alias="BRIDGE_CALLBACK_TIMEOUT")
    retry_schedule_seconds: Waits = Field(
        default=(5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400), alias="BRIDGE_RETRY_SCHEDULE"
    )
    retry_jitter_share: Share = Field(default=0.2, ge=0, lt=1, alias="BRIDGE_RETRY_JITTER")
    callback_https_only: bool = Field(default=True, alias="BRIDGE_CALLBACK_HTTPS_ONLY")
    callback_allow: Networks = Field(default=(), alias="BRIDGE_CALLBACK_ALLOW")
    callback_ports: Ports = Field(default=frozenset(), alias="BRIDGE_CALLBACK_PORTS")
    callback_proxy: ProxyUrl | None = Field(default=None, alias="BRIDGE_CALLBACK_PROXY")

    # The operator's URL comes after the settings for callbacks, because its check depends on them. The path of this URL
    # may hold a secret.
    operator_url: OperatorUrl | None = Field(default=None, alias="BRIDGE_OPERATOR_URL")
    operator_secret: SigningSecret | None = Field(default=None, alias="BRIDGE_OPERATOR_SECRET")

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Return the settings in `environ`; a blank variable counts as not set.

        Raises SettingsProblem when a setting is wrong or misspelled.
        """
        given = {name: text for name in NAMES if (text := environ.get(name, "").strip())}
        settings, faults = cls._read(given)
        invalid = given.keys() - {cls.model_fields[name].alias for name in settings.model_fields_set}
        problems = [
            *map(_problem_line, faults),
            *_conflicts(settings, set(given), invalid),
            *_misspelled(environ, set(given)),
        ]
        if problems:
            raise SettingsProblem("\n".join(sorted(problems)))
        return settings

    @classmethod
    def load_or_exit(cls, environ: Mapping[str, str]) -> Self:
        """Return the settings; if there are problems, write them to standard error and exit with status 2."""
        try:
            return cls.load(environ)
        except SettingsProblem as problem:
            sys.stderr.write(f"The bridge does not start, because of its settings:\n{problem}\n")
            sys.exit(2)

    @classmethod
    def _read(cls, given: Mapping[str, str]) -> tuple[Self, list[ErrorDetails]]:
        """Return the settings, with defaults in place of invalid values, and the errors of those values."""
        try:
            return cls.model_validate(given), []
        except ValidationError as error:
            faults = error.errors()
        valid = {name: given[name] for name in given.keys() - {_name(fault) for fault in faults}}
        # BRIDGE_OPERATOR_URL may break the default that stands for an invalid setting: it is left out, too.
        return cls._read(valid)[0], faults


NAMES = frozenset(field.alias for field in Settings.model_fields.values() if field.alias)


def _name(fault: ErrorDetails) -> str:
    return str(fault["loc"][0])


def _problem_line(fault: ErrorDetails) -> str:
    """Return an error as a line of text, without the invalid value, which may be a secret."""
    place = fault["loc"][1:]
    entry = f", entry {place[0] + 1}" if place and isinstance(place[0], int) else ""
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{_name(fault)}{entry}: {message}"


def _misspelled(environ: Mapping[str, str], given: set[str]) -> Iterator[str]:
    """Yield a problem for each variable that is probably a misspelled setting; `given` names the settings that are set."""
    for name in environ.keys() - NAMES:
        # Other unknown names are ignored: Kubernetes sets BRIDGE_… variables for a service named `bridge`. A DATABASE_…
        # or WEB_… may be another program's, unless it is nearly the same and ours is missing.
        is_ours = name.startswith(("BRIDGE_", "HUBSPOT_"))
        near = get_close_matches(name, NAMES, n=1, cutoff=0.85 if is_ours else 0.9)
        may_be_ours = name.startswith(("DATABASE_", "WEB_")) and given.isdisjoint(near)
        if near and (is_ours or may_be_ours):
            yield f"{name}: is no setting of the bridge; did you mean {near[0]}?"


def _conflicts(settings: Settings, given: set[str], invalid: set[str]) -> Iterator[str]:
    """Yield a problem for each rule on several settings at once that is broken.

    `given` names all variables that are given, valid or not. `invalid` names those whose values are invalid: no rule
    judges them, because the settings hold a default in place of each.
    """
    if len(given & {"BRIDGE_OPERATOR_URL", "BRIDGE_OPERATOR_SECRET"}) == 1:
        yield (
            "BRIDGE_OPERATOR_URL: set it and BRIDGE_OPERATOR_SECRET, or neither; make a secret with: python -c "
            "'import base64, os; print(\"whsec_\" + base64.b64encode(os.urandom(32)).decode())'"
        )
    slowest = max(settings.hubspot_timeout_seconds, settings.callback_timeout_seconds)
    if settings.lease_seconds < slowest + LEASE_MARGIN_SECONDS and not invalid & {
        "BRIDGE_LEASE_SECONDS",
        "HUBSPOT_TIMEOUT",
        "BRIDGE_CALLBACK_TIMEOUT",
    }:
        yield (
            "BRIDGE_LEASE_SECONDS: must exceed both HUBSPOT_TIMEOUT and BRIDGE_CALLBACK_TIMEOUT, by half a second or "
            "more"
        )
    on_sqlite = settings.database_url.get_secret_value().startswith("sqlite:")
    if not on_sqlite and "BRIDGE_SECRET_KEY" not in given:
        yield (
            "BRIDGE_SECRET_KEY: is required with PostgreSQL; make one with: python -c "
            "'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
        )
    may_use_sqlite = "DYNO" not in given or settings.allow_sqlite_on_dyno
    if on_sqlite and not may_use_sqlite and not invalid & {"DATABASE_URL", "BRIDGE_ALLOW_SQLITE_ON_DYNO"}:
        yield (
            "DATABASE_URL: a dyno's disk is wiped daily, and SQLite with it; add a PostgreSQL database, "
            "or set BRIDGE_ALLOW_SQLITE_ON_DYNO=true to lose the data"
        )
    oauth = given & {"HUBSPOT_CLIENT_ID", "HUBSPOT_CLIENT_SECRET", "HUBSPOT_REFRESH_TOKEN"}
    if oauth and "HUBSPOT_ACCESS_TOKEN" in given:
        yield (
            "HUBSPOT_ACCESS_TOKEN: excludes HUBSPOT_CLIENT_ID, HUBSPOT_CLIENT_SECRET and "
            "HUBSPOT_REFRESH_TOKEN; set the one or the three"
        )
    if len(oauth) in {1, 2}:
        yield (
            "HUBSPOT_REFRESH_TOKEN: OAuth needs HUBSPOT_CLIENT_ID, HUBSPOT_CLIENT_SECRET and "
            "HUBSPOT_REFRESH_TOKEN, all three"
        )
