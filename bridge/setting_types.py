"""Pydantic types for the settings: they parse and check the texts of environment variables.

A value that may be secret is a `SecretStr`, and error messages never repeat it.
"""

import re
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import Annotated

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, SecretStr, ValidationInfo
from sqlalchemy import URL, make_url

from bridge.core.kinds import parse_api_version
from bridge.core.parsing import API_KEY, parse_base_url, parse_header_safe, parse_http_url
from bridge.core.quota import parse_rate_limit
from bridge.core.signing import SECRET_PREFIX, signing_key
from bridge.http.addresses import blocked_host_reason, callback_url_problem

PORTS = re.compile(r"[0-9,]*")  # in a database address: none, one, or one for each of several hosts
# For libpq the first `@` ends the password, unless a `/` comes before it. With another `@` in front of the options, a
# part of the password would be taken for the host or the name of the database, which error messages repeat. So would
# one in options that no `/` precedes.
ONE_AT_SIGN = re.compile(r"postgresql://(?![^@/]*\?[^@/]*=[^@/]*@)(?:[^@/]*@)?+[^@?]*(?:\?.*)?", re.DOTALL)
# A path after three slashes, and neither a host nor options; bytes that are not UTF-8 have become surrogates.
SQLITE_URL = re.compile(r"sqlite:///[^?\ud800-\udfff]*")
# The schemes of a PostgreSQL address: Heroku writes `postgres`, SQLAlchemy `postgresql+psycopg`.
POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
DAY_SECONDS = 86_400


def _database_url(text: str, info: ValidationInfo) -> str:
    scheme, _, rest = text.partition("://")
    if scheme == "sqlite":
        return _sqlite_url(f"sqlite://{rest}")
    if scheme in POSTGRESQL:
        return _postgresql_address(f"postgresql://{rest}", tls=bool(info.data.get("dyno")))
    raise ValueError("must be a sqlite:// or postgresql:// address")


def _sqlite_url(text: str) -> str:
    path = make_url(text).database if SQLITE_URL.fullmatch(text) else None
    if not path or path == ":memory:" or path.startswith("file:") or "\0" in path:
        raise ValueError(
            "must name a file by its path alone, after three slashes, as in sqlite:////var/lib/bridge/bridge.db"
        )
    return URL.create("sqlite", database=path).render_as_string()


def _postgresql_address(text: str, *, tls: bool) -> str:
    """Return a PostgreSQL URL in libpq's `key=value` form; raise ValueError when `text` is not valid.

    `tls` adds `sslmode=require` if the URL sets no `sslmode`.
    """
    with suppress(ProgrammingError, UnicodeError):
        parts = conninfo_to_dict(text)
        if ONE_AT_SIGN.fullmatch(text) and PORTS.fullmatch(str(parts.get("port", ""))):
            return make_conninfo("", **({"sslmode": "require"} if tls else {}) | parts)
    # libpq's own message repeats a part of the address, perhaps of the password.
    raise ValueError(
        "is not a database address like postgresql://user:password@host/name; special characters are "
        "written percent-encoded, in the password too, and options are named as libpq names them"
    )


def _admin_key(text: str) -> str:
    if len(text) < 32 or not API_KEY.fullmatch(text):
        raise ValueError("must have 32 to 512 ASCII characters, without white space")
    return text


def _fernet_key(key: str) -> str:
    # The form in which Heroku's generator and `openssl rand -hex 32` write 32 bytes.
    if re.fullmatch("[0-9A-Fa-f]{64}", key):
        key = urlsafe_b64encode(bytes.fromhex(key)).decode()
    # Fernet itself skips characters that are not base64, and ignores what follows the `=`: perhaps another key.
    if not re.fullmatch("[0-9A-Za-z_/+-]{43}=", key):
        raise ValueError(
            "is not a Fernet key (32 random bytes in url-safe base64, or as 64 hexadecimal digits) "
            "without quotes; several keys are separated by commas"
        )
    return key


def _operator_url(url: str, info: ValidationInfo) -> str:
    """Return `url`; raise ValueError when `url` breaks a rule for callback URLs.

    Some rules come from other settings, such as BRIDGE_CALLBACK_PORTS. A rule that comes from an invalid setting is
    not checked.
    """
    rules = info.data
    problem = callback_url_problem(
        url,
        https_only=rules.get("callback_https_only", False),
        ports=rules.get("callback_ports", frozenset()),
    )
    if not problem and "callback_allow" in rules:
        problem = blocked_host_reason(url, allow=rules["callback_allow"])
    if problem:
        raise ValueError(problem)
    return url


def _signing_secret(text: str) -> str:
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(f"a signing secret begins with {SECRET_PREFIX}")
    signing_key(text)
    return text


def _comma_separated(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


DatabaseUrl = Annotated[SecretStr, BeforeValidator(_database_url)]
BaseUrl = Annotated[str, AfterValidator(parse_base_url)]
ProxyUrl = Annotated[SecretStr, BeforeValidator(parse_http_url)]
OperatorUrl = Annotated[SecretStr, BeforeValidator(_operator_url)]

Token = Annotated[SecretStr, BeforeValidator(parse_header_safe)]
AdminKey = Annotated[SecretStr, BeforeValidator(_admin_key)]
FernetKey = Annotated[SecretStr, BeforeValidator(_fernet_key)]
FernetKeys = Annotated[tuple[FernetKey, ...], BeforeValidator(_comma_separated), Field(min_length=1)]
SigningSecret = Annotated[SecretStr, BeforeValidator(_signing_secret)]

ApiVersion = Annotated[str, AfterValidator(parse_api_version)]
# A number of requests, and the seconds in which HubSpot permits so many.
RateLimit = Annotated[tuple[int, float], BeforeValidator(parse_rate_limit)]
Share = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Wait = Annotated[Seconds, Field(le=30 * DAY_SECONDS)]
Waits = Annotated[tuple[Wait, ...], BeforeValidator(_comma_separated), Field(min_length=1, max_length=50)]

Networks = Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_comma_separated)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Ports = Annotated[frozenset[Port], BeforeValidator(_comma_separated)]
