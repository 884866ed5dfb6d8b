"""Settings: which values are accepted and refused, with which messages, and that secrets are never shown."""

import re
import subprocess
import sys
from base64 import urlsafe_b64encode
from ipaddress import ip_network
from typing import Any

import pytest
from cryptography.fernet import Fernet
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr, ValidationError

from bridge.settings import NAMES, Settings, SettingsProblem

# Any 32 bytes: the same in every process of a run, because it names test cases.
KEY = urlsafe_b64encode(bytes(range(32))).decode()
OAUTH = {
    "HUBSPOT_CLIENT_ID": "id",
    "HUBSPOT_CLIENT_SECRET": "hush-client",
    "HUBSPOT_REFRESH_TOKEN": "hush-refresh",
}
POSTGRES = {"DATABASE_URL": "postgres://me:hush@db.example.com:5432/bridge", "BRIDGE_SECRET_KEY": KEY}
# The contract's table, in its own words.
DEFAULTS = {
    "database_url": SecretStr("sqlite:///bridge.db"),
    "allow_sqlite_on_dyno": False,
    "secret_keys": (),
    "admin_key": None,
    "public_url": None,
    "log_format": None,
    "embedded_worker": True,
    "concurrency": 32,
    "lease_seconds": 60,
    "watch_timeout_seconds": 86_400,
    "retention_days": 30,
    "open_watch_limit": 100_000,
    "hubspot_access_token": None,
    "hubspot_client_id": None,
    "hubspot_client_secret": None,
    "hubspot_refresh_token": None,
    "hubspot_base_url": "https://api.hubapi.com",
    "hubspot_api_version": "v3",
    "hubspot_rate_limit": (100, 10.0),
    "hubspot_rate_share": 0.5,
    "hubspot_timeout_seconds": 10,
    "hubspot_proxy": None,
    "callback_timeout_seconds": 20,
    "retry_schedule_seconds": (5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400),
    "retry_jitter_share": 0.2,
    "callback_https_only": True,
    "callback_allow": (),
    "callback_ports": frozenset(),
    "callback_proxy": None,
    "operator_url": None,
    "operator_secret": None,
    "dyno": None,
    "port": 8000,
    "web_concurrency": 1,
}


def problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsProblem) as caught:
        Settings.load(environ)
    return str(caught.value).splitlines()


def database_url(**environ: str) -> str:
    return Settings.load(environ).database_url.get_secret_value()


def test_an_empty_environment_gives_the_defaults_of_the_contract() -> None:
    assert dict(Settings.load({})) == DEFAULTS


def test_a_secret_key_may_be_spelled_as_heroku_generates_it() -> None:
    spelled = bytes(range(32)).hex()
    for given in (spelled, spelled.upper()):
        assert Settings.load({"BRIDGE_SECRET_KEY": given}).secret_keys == (SecretStr(KEY),)


def test_an_empty_or_blank_variable_counts_as_not_set() -> None:
    assert dict(Settings.load(dict.fromkeys(NAMES, "") | {"PORT": "  "})) == DEFAULTS


def test_the_rest_of_the_environment_is_nobody_s_business() -> None:
    assert dict(Settings.load({"PATH": "/bin", "HUBSPOTTER": "x", "bridge_concurrency": "7"})) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DATABASE_URL", "sqlite:////var/b.db", "database_url", SecretStr("sqlite:////var/b.db")),
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
        ("BRIDGE_SECRET_KEY", f"{KEY},short", "entry 2: is not a Fernet key"),
        ("BRIDGE_SECRET_KEY", "é" * 44, "Fernet"),
        ("BRIDGE_SECRET_KEY", "0f" * 31, "64 hexadecimal digits"),
        ("BRIDGE_SECRET_KEY", "0g" * 32, "64 hexadecimal digits"),
        ("BRIDGE_ADMIN_KEY", "x" * 31, "32 characters"),
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
    [problem] = problems(**{name: text})
    assert problem.startswith(name)
    assert word in problem


def test_every_problem_is_named_at_once() -> None:
    told = problems(
        PORT="x",
        BRIDGE_RETRY_SCHEDULE="0,5,-1",
        HUBSPOT_TIMEOUT="100",
        BRIDGE_CONCURENCY="9",
        HUBSPOT_CLIENT_ID="id",
    )
    assert [re.split(r":", line)[0] for line in told] == [
        "BRIDGE_CONCURENCY",
        "BRIDGE_LEASE_SECONDS",
        "BRIDGE_RETRY_SCHEDULE, entry 1",
        "BRIDGE_RETRY_SCHEDULE, entry 3",
        "HUBSPOT_REFRESH_TOKEN",
        "PORT",
    ]


def test_a_mistyped_name_is_a_problem_and_the_nearest_name_is_suggested() -> None:
    assert problems(BRIDGE_CALLBACK_PORT="443") == [
        "BRIDGE_CALLBACK_PORT: is no setting of the bridge; did you mean BRIDGE_CALLBACK_PORTS?"
    ]


def test_a_name_that_only_begins_like_ours_belongs_to_somebody_else() -> None:
    assert Settings.load({"HUBSPOT_PORTAL_ID": "1", "BRIDGE_SERVICE_HOST": "10.0.0.1"}) == Settings.load({})


@pytest.mark.parametrize(
    ("name", "seconds"), [("HUBSPOT_TIMEOUT", "59.6"), ("BRIDGE_CALLBACK_TIMEOUT", "61")]
)
def test_a_lease_must_exceed_both_time_outs_by_what_a_request_may_wait(name: str, seconds: str) -> None:
    [problem] = problems(**{name: seconds})
    assert problem.startswith("BRIDGE_LEASE_SECONDS: must exceed both")
    assert Settings.load({name: seconds, "BRIDGE_LEASE_SECONDS": "62"}).lease_seconds == 62


def test_what_hangs_on_a_wrong_value_is_not_told_as_well() -> None:
    assert len(problems(DYNO="web.1", DATABASE_URL="mysql://host/name")) == 1
    assert len(problems(**{**POSTGRES, "BRIDGE_SECRET_KEY": "short"})) == 1


def libpq(address: str, **environ: str) -> dict[str, Any]:
    """Return the address as the parameters that libpq reads from it."""
    return conninfo_to_dict(database_url(DATABASE_URL=address, BRIDGE_SECRET_KEY=KEY, **environ))


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
    ],
)
def test_an_address_that_cannot_be_read_is_not_repeated(address: str) -> None:
    [problem] = problems(DATABASE_URL=address, BRIDGE_SECRET_KEY=KEY)
    assert problem.startswith("DATABASE_URL: is not a database address like postgresql://")
    assert "hush" not in problem


def test_postgresql_needs_a_secret_key() -> None:
    [problem] = problems(DATABASE_URL=POSTGRES["DATABASE_URL"])
    assert problem.startswith("BRIDGE_SECRET_KEY: is required with PostgreSQL")


def test_secret_keys_keep_their_order() -> None:
    newest, older = KEY, Fernet.generate_key().decode()
    keys = Settings.load({"BRIDGE_SECRET_KEY": f"{newest}, {older}"}).secret_keys
    assert [key.get_secret_value() for key in keys] == [newest, older]


def test_postgresql_is_encrypted_on_a_dyno_unless_the_address_says_how() -> None:
    assert "sslmode" not in libpq("postgres://me@host/name")
    assert libpq("postgres://me@host/name", DYNO="web.1")["sslmode"] == "require"
    assert libpq("postgres://me@host/name?sslmode=verify-full", DYNO="web.1")["sslmode"] == "verify-full"


def test_sqlite_is_refused_on_a_dyno_unless_it_is_allowed() -> None:
    [problem] = problems(DYNO="web.1")
    assert problem.startswith("DATABASE_URL: a dyno's disk is wiped daily")
    assert database_url(DYNO="web.1", BRIDGE_ALLOW_SQLITE_ON_DYNO="true") == "sqlite:///bridge.db"


def test_a_token_and_oauth_exclude_each_other() -> None:
    assert Settings.load(OAUTH).hubspot_client_secret == SecretStr("hush-client")
    [problem] = problems(**OAUTH, HUBSPOT_ACCESS_TOKEN="pat-hush")
    assert problem.startswith("HUBSPOT_ACCESS_TOKEN: excludes")


@pytest.mark.parametrize("missing", OAUTH)
def test_oauth_needs_all_three(missing: str) -> None:
    [problem] = problems(**{name: text for name, text in OAUTH.items() if name != missing})
    assert problem.endswith("all three")


OPERATOR = {
    "BRIDGE_OPERATOR_URL": "https://ops.example.com/hush",
    "BRIDGE_OPERATOR_SECRET": f"whsec_{KEY.replace('-', '+').replace('_', '/')}",
}


@pytest.mark.parametrize("name", OPERATOR)
def test_an_operator_s_url_and_secret_are_set_together(name: str) -> None:
    [problem] = problems(**{name: OPERATOR[name]})
    assert "BRIDGE_OPERATOR_URL" in problem
    assert "BRIDGE_OPERATOR_SECRET" in problem
    settings = Settings.load(OPERATOR)
    assert settings.operator_url == SecretStr(OPERATOR["BRIDGE_OPERATOR_URL"])
    assert "hush" not in repr(settings)


def test_the_rules_of_callbacks_hold_for_the_operator_s_url() -> None:
    loopback = OPERATOR | {"BRIDGE_OPERATOR_URL": "http://127.0.0.1:9000/"}
    allowed = {"BRIDGE_CALLBACK_HTTPS_ONLY": "false", "BRIDGE_CALLBACK_ALLOW": "127.0.0.0/8"}
    assert Settings.load(loopback | allowed).operator_url
    [problem] = problems(**loopback, **allowed, BRIDGE_CALLBACK_PORTS="443")
    assert problem == "BRIDGE_OPERATOR_URL: the port 9000 is not among BRIDGE_CALLBACK_PORTS"


def test_the_command_that_makes_an_operator_s_secret_makes_one() -> None:
    [problem] = problems(BRIDGE_OPERATOR_URL=OPERATOR["BRIDGE_OPERATOR_URL"])
    [code] = re.findall(r"python -c '(.+)'$", problem)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert Settings.load(OPERATOR | {"BRIDGE_OPERATOR_SECRET": made}).operator_secret


def test_no_secret_is_in_the_repr() -> None:
    settings = Settings.load(
        {**POSTGRES, **OAUTH, "BRIDGE_ADMIN_KEY": "hush" * 8, "HUBSPOT_PROXY": "http://me:hush@proxy"}
    )
    assert "hush" not in repr(settings) + str(settings)
    assert KEY not in repr(settings)


def test_no_value_is_told_with_its_problem() -> None:
    wrong = dict.fromkeys(NAMES, "hush hush")
    told = problems(**wrong)
    assert len(told) == len(NAMES) - 1  # DYNO takes anything
    assert "hush" not in "\n".join(told)


def test_settings_never_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings.load({}).port = 1  # type: ignore[misc]  # that it is refused is the point


def test_a_wrong_setting_ends_the_process_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        Settings.load_or_exit({"PORT": "x", "BRIDGE_CONCURRENCY": "0"})
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told[1:]] == ["BRIDGE_CONCURRENCY", "PORT"]


def test_a_wrong_setting_stops_gunicorn_before_it_listens() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "app:app"],
        env={"BRIDGE_CONCURRENCY": "0", "BRIDGE_LEASE_SECONDS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "BRIDGE_CONCURRENCY: " in done.stderr
    assert "BRIDGE_LEASE_SECONDS: " in done.stderr
    assert "Traceback" not in done.stderr
