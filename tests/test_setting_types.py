"""The types of the settings' values: what each variable's text becomes, and with which message it is refused."""

from ipaddress import ip_network
from typing import Any

import pytest
from cryptography.fernet import Fernet
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from bridge.settings import Settings
from tests.environments import KEY, OPERATOR, problems


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DATABASE_URL", "sqlite:////var/b.db", "database_url", SecretStr("sqlite:////var/b.db")),
        ("DATABASE_URL", "sqlite:///a b%3F.db", "database_url", SecretStr("sqlite:///a b%3F.db")),
        ("BRIDGE_SECRET_KEY", "-_" * 21 + "A=", "secret_keys", (SecretStr("-_" * 21 + "A="),)),
        ("BRIDGE_SECRET_KEY", "+/" * 21 + "A=", "secret_keys", (SecretStr("+/" * 21 + "A="),)),
        ("BRIDGE_EMBEDDED_WORKER", "false", "embedded_worker", False),
        ("BRIDGE_CALLBACK_HTTPS_ONLY", "0", "callback_https_only", False),
        ("BRIDGE_CONCURRENCY", "1024", "concurrency", 1024),
        ("BRIDGE_CONCURRENCY", " 8\n", "concurrency", 8),
        ("BRIDGE_LEASE_SECONDS", "20.5", "lease_seconds", 20.5),
        ("BRIDGE_WATCH_TIMEOUT", "10", "watch_timeout_seconds", 10),
        ("BRIDGE_WATCH_TIMEOUT", "2592000", "watch_timeout_seconds", 2_592_000),
        ("BRIDGE_RETRY_SCHEDULE", "0.5", "retry_schedule_seconds", (0.5,)),
        ("BRIDGE_RETRY_SCHEDULE", "1, 2592000", "retry_schedule_seconds", (1, 2_592_000)),
        ("BRIDGE_RETRY_JITTER", "0", "retry_jitter_share", 0),
        ("BRIDGE_CALLBACK_PORTS", "443,8443", "callback_ports", frozenset({443, 8443})),
        ("BRIDGE_CALLBACK_ALLOW", "::1/128", "callback_allow", (ip_network("::1/128"),)),
        ("BRIDGE_PUBLIC_URL", "https://a.example/b/", "public_url", "https://a.example/b"),
        ("BRIDGE_LOG_FORMAT", "json", "log_format", "json"),
        ("HUBSPOT_BASE_URL", "http://127.0.0.1:8001/", "hubspot_base_url", "http://127.0.0.1:8001"),
        ("HUBSPOT_API_VERSION", "2026-09", "hubspot_api_version", "2026-09"),
        ("HUBSPOT_RATE_LIMIT", "190/10", "hubspot_rate_limit", (190, 10.0)),
        ("HUBSPOT_RATE_SHARE", "1", "hubspot_rate_share", 1),
        ("HUBSPOT_PROXY", "http://me:pw@proxy:3128", "hubspot_proxy", SecretStr("http://me:pw@proxy:3128")),
        ("DYNO", "", "dyno", None),
        ("PORT", "65535", "port", 65_535),
    ],
)
def test_a_good_value_gets_its_type(name: str, text: str, field: str, value: Any) -> None:
    assert getattr(Settings.load({name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("DATABASE_URL", "mysql://host/name", "sqlite"),
        ("DATABASE_URL", "postgresql+asyncpg://host/name", "postgresql"),
        ("DATABASE_URL", "bridge.db", "address"),
        ("DATABASE_URL", "postgresql://host:port/name", "address"),
        ("DATABASE_URL", "sqlite://", "file"),
        ("DATABASE_URL", "sqlite:///:memory:", "file"),
        ("DATABASE_URL", "sqlite:///file::memory:?uri=true", "by its path"),
        ("DATABASE_URL", "sqlite:///file:/var/b.db?uri=true", "by its path"),
        ("DATABASE_URL", "sqlite:///file%3A/var/b.db", "by its path"),
        ("DATABASE_URL", "sqlite:////var/b.db?uri=true", "by its path"),
        ("DATABASE_URL", "sqlite:////var/b.db?timeout=abc", "by its path"),
        ("DATABASE_URL", "sqlite:////var/b.db?mode", "by its path"),
        ("DATABASE_URL", "sqlite://data/b.db", "by its path"),
        ("DATABASE_URL", "sqlite://me:x@host:1/b.db", "by its path"),
        ("DATABASE_URL", "sqlite://host:port/b.db", "by its path"),
        ("DATABASE_URL", "sqlite:////var/%00.db", "by its path"),
        ("DATABASE_URL", "sqlite:////var/\udcff.db", "by its path"),
        ("BRIDGE_SECRET_KEY", f"{KEY},short", "entry 2: is not a Fernet key"),
        ("BRIDGE_SECRET_KEY", "é" * 44, "Fernet"),
        ("BRIDGE_SECRET_KEY", f"{KEY};{KEY}", "separated by commas"),
        ("BRIDGE_SECRET_KEY", f"{KEY} {KEY}", "separated by commas"),
        ("BRIDGE_SECRET_KEY", f"{KEY}x", "separated by commas"),
        ("BRIDGE_SECRET_KEY", f'"{KEY}"', "without quotes"),
        ("BRIDGE_SECRET_KEY", ",", "at least 1"),
        ("BRIDGE_SECRET_KEY", "0f" * 31, "64 hexadecimal digits"),
        ("BRIDGE_SECRET_KEY", "0g" * 32, "64 hexadecimal digits"),
        ("BRIDGE_ADMIN_KEY", "x" * 31, "32 to 512 ASCII characters"),
        ("BRIDGE_ADMIN_KEY", "x" * 513, "32 to 512 ASCII characters"),
        ("BRIDGE_ADMIN_KEY", "x" * 32 + " y", "white space"),
        ("BRIDGE_PUBLIC_URL", "a.example", "http"),
        ("BRIDGE_PUBLIC_URL", "https://", "host"),
        ("BRIDGE_PUBLIC_URL", "https://a.example/?b", "query"),
        ("BRIDGE_EMBEDDED_WORKER", "perhaps", "boolean"),
        ("BRIDGE_CONCURRENCY", "0", "greater"),
        ("BRIDGE_CONCURRENCY", "1025", "less"),
        ("BRIDGE_CONCURRENCY", "2.5", "integer"),
        ("BRIDGE_LEASE_SECONDS", "nan", "finite"),
        ("BRIDGE_LEASE_SECONDS", "3601", "less"),
        ("BRIDGE_WATCH_TIMEOUT", "9", "greater"),
        ("BRIDGE_WATCH_TIMEOUT", "2592001", "less"),
        ("BRIDGE_RETRY_SCHEDULE", "5,0", "entry 2: should be greater than 0"),
        ("BRIDGE_RETRY_SCHEDULE", "2592001", "less"),
        ("BRIDGE_RETRY_SCHEDULE", "5,inf", "entry 2"),
        ("BRIDGE_RETRY_SCHEDULE", ",", "at least 1"),
        ("BRIDGE_RETRY_SCHEDULE", ",".join("5" * 51), "at most 50"),
        ("BRIDGE_RETRY_JITTER", "1", "less"),
        ("BRIDGE_RETRY_JITTER", "-0.1", "greater"),
        ("BRIDGE_CALLBACK_ALLOW", "127.0.0.1/8", "network"),
        ("BRIDGE_CALLBACK_ALLOW", "::/0,localhost", "entry 2"),
        ("BRIDGE_CALLBACK_PORTS", "443,65536", "less"),
        ("BRIDGE_CALLBACK_PROXY", "socks5://proxy", "http"),
        ("BRIDGE_CALLBACK_TIMEOUT", "0", "greater"),
        ("BRIDGE_RETENTION_DAYS", "0", "greater"),
        ("BRIDGE_OPEN_WATCH_LIMIT", "0", "greater"),
        ("BRIDGE_OPERATOR_URL", "ops.example.com", "http"),
        ("BRIDGE_OPERATOR_URL", "http://ops.example.com/", "because of BRIDGE_CALLBACK_HTTPS_ONLY"),
        ("BRIDGE_OPERATOR_URL", "https://me:hush@ops.example.com/", "a user name or password"),
        ("BRIDGE_OPERATOR_URL", "https://127.1/", "BRIDGE_CALLBACK_ALLOW does not name it"),
        ("BRIDGE_OPERATOR_SECRET", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begins with whsec_"),
        ("BRIDGE_OPERATOR_SECRET", "whsec_MfKQ9r8GKYqr", "24 to 64 bytes"),
        ("BRIDGE_OPERATOR_SECRET", "whsec_?", "base64"),
        ("BRIDGE_LOG_FORMAT", "xml", "'console' or 'json'"),
        ("HUBSPOT_ACCESS_TOKEN", "pat-é", "ASCII"),
        ("HUBSPOT_BASE_URL", "https://me:hush@api.example", "user"),
        ("HUBSPOT_BASE_URL", "https://api.example:x", "http"),
        ("HUBSPOT_BASE_URL", "https://api.example/a b", "http"),
        ("HUBSPOT_API_VERSION", "2026-13", "v3"),
        ("HUBSPOT_API_VERSION", "v4", "v3"),
        ("HUBSPOT_RATE_LIMIT", "100", "100/10"),
        ("HUBSPOT_RATE_LIMIT", "0/10", "100/10"),
        ("HUBSPOT_RATE_LIMIT", "100/0", "100/10"),
        ("HUBSPOT_RATE_SHARE", "0", "greater"),
        ("HUBSPOT_RATE_SHARE", "1.1", "less"),
        ("HUBSPOT_TIMEOUT", "soon", "number"),
        ("PORT", "0", "greater"),
        ("WEB_CONCURRENCY", "0", "greater"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name_and_in_words(name: str, text: str, word: str) -> None:
    [problem] = problems(**OPERATOR | {name: text})
    assert problem.startswith(name)
    assert word in problem


def test_a_secret_key_may_be_spelled_as_heroku_generates_it() -> None:
    spelled = bytes(range(32)).hex()
    for given in (spelled, spelled.upper()):
        assert Settings.load({"BRIDGE_SECRET_KEY": given}).secret_keys == (SecretStr(KEY),)


def test_secret_keys_keep_their_order() -> None:
    newest, older = KEY, Fernet.generate_key().decode()
    keys = Settings.load({"BRIDGE_SECRET_KEY": f"{newest}, {older}"}).secret_keys
    assert [key.get_secret_value() for key in keys] == [newest, older]


def libpq(address: str, **environ: str) -> dict[str, Any]:
    """Return the address as the parameters that libpq reads from it."""
    settings = Settings.load({"DATABASE_URL": address, "BRIDGE_SECRET_KEY": KEY} | environ)
    return conninfo_to_dict(settings.database_url.get_secret_value())


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_name_of_postgresql_is_known(scheme: str) -> None:
    expected = {"user": "me", "password": "p@s s", "host": "host", "port": "5432", "dbname": "name"}
    assert libpq(f"{scheme}://me:p%40s%20s@host:5432/name") == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (
            "postgres://me@a:5432,b:5433/db?target_session_attrs=read-write",
            {"host": "a,b", "port": "5432,5433", "target_session_attrs": "read-write"},
        ),
        ("postgres://me@a,[::1]:5433/db", {"host": "a,::1", "port": ",5433"}),
        ("postgres://me@%2Fvar%2Frun%2Fpostgresql/db", {"host": "/var/run/postgresql"}),
        ("postgres://me@/db?host=/var/run/postgresql", {"host": "/var/run/postgresql"}),
        ("postgres://me@%40abstract/db", {"host": "@abstract"}),
        ("postgres://h/db?user=me&password=x@x", {"host": "h", "password": "x@x"}),
        ("postgres://me@/db?options=-csearch_path%3Dbridge", {"options": "-csearch_path=bridge"}),
        (
            "postgres://me@h/db?connect_timeout=3&keepalives=0",
            {"host": "h", "connect_timeout": "3", "keepalives": "0"},
        ),
    ],
)
def test_whatever_libpq_takes_is_passed_on(address: str, expected: dict[str, str]) -> None:
    assert libpq(address) == {"user": "me", "dbname": "db"} | expected


@pytest.mark.parametrize(
    "address",
    [
        "postgres://me:hush/hush@host/name",
        "postgres://me:hush%hush@host/name",
        "postgres://me:x@host/name?hush=hush",
        "postgres://host:hush/name",
        "postgres://[hush",
        "postgres://me:x@hush@host/name",
        "postgres://me:x@hush/hush@host:5432/name",
        "postgres://me:x?x@hush@host/name",
        "postgres://me:12/hush@host/name",
        "postgres://me:hush\udcff@host/name",
        "postgres://host?user=me&password=x@hush",
        "postgres://host:5432?user=me&password=hush@x",
    ],
)
def test_an_address_that_cannot_be_read_is_not_repeated(address: str) -> None:
    [problem] = problems(DATABASE_URL=address, BRIDGE_SECRET_KEY=KEY)
    assert problem.startswith("DATABASE_URL: is not a database address like postgresql://")
    assert "hush" not in problem


def test_postgresql_is_encrypted_on_a_dyno_unless_the_address_says_how() -> None:
    assert "sslmode" not in libpq("postgres://me@host/name")
    assert libpq("postgres://me@host/name", DYNO="web.1")["sslmode"] == "require"
    assert libpq("postgres://me@host/name?sslmode=verify-full", DYNO="web.1")["sslmode"] == "verify-full"
