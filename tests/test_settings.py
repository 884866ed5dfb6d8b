"""Settings: their defaults, the problems that are reported, and that no secret is shown."""

import re
import subprocess
import sys

import pytest
from pydantic import SecretStr, ValidationError

from bridge.settings import NAMES, Settings
from tests.environments import KEY, OPERATOR, problems

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


def test_an_empty_environment_gives_the_defaults_of_the_contract() -> None:
    assert dict(Settings.load({})) == DEFAULTS


def test_an_empty_or_blank_variable_counts_as_not_set() -> None:
    assert dict(Settings.load(dict.fromkeys(NAMES, "") | {"PORT": "  "})) == DEFAULTS


def test_the_rest_of_the_environment_is_nobody_s_business() -> None:
    assert dict(Settings.load({"PATH": "/bin", "HUBSPOTTER": "x", "bridge_concurrency": "7"})) == DEFAULTS


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
    assert problems(DATABASE_URI="postgresql://db/bridge", WEB_CONCURENCY="2") == [
        "DATABASE_URI: is no setting of the bridge; did you mean DATABASE_URL?",
        "WEB_CONCURENCY: is no setting of the bridge; did you mean WEB_CONCURRENCY?",
    ]


def test_a_name_near_ours_that_begins_otherwise_is_another_program_s_where_ours_is_set() -> None:
    other = {
        "DATABASE_USER": "app",
        "DATABASE_URI": "postgresql://db/app",
        "DATABASE_URL_RO": "postgresql://db/app",
    }
    ours = {"DATABASE_URL": "sqlite:///bridge.db"}
    assert Settings.load(other | ours) == Settings.load(ours)
    assert Settings.load({"DATABASE_USER": "app", "OLD_HUBSPOT_ACCESS_TOKEN": "pat"}) == Settings.load({})


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


def test_postgresql_needs_a_secret_key() -> None:
    [problem] = problems(DATABASE_URL=POSTGRES["DATABASE_URL"])
    assert problem.startswith("BRIDGE_SECRET_KEY: is required with PostgreSQL")


def test_sqlite_is_refused_on_a_dyno_unless_it_is_allowed() -> None:
    [problem] = problems(DYNO="web.1")
    assert problem.startswith("DATABASE_URL: a dyno's disk is wiped daily")
    settings = Settings.load({"DYNO": "web.1", "BRIDGE_ALLOW_SQLITE_ON_DYNO": "true"})
    assert settings.database_url == SecretStr("sqlite:///bridge.db")


def test_a_token_and_oauth_exclude_each_other() -> None:
    assert Settings.load(OAUTH).hubspot_client_secret == SecretStr("hush-client")
    [problem] = problems(**OAUTH, HUBSPOT_ACCESS_TOKEN="pat-hush")
    assert problem.startswith("HUBSPOT_ACCESS_TOKEN: excludes")


@pytest.mark.parametrize(
    ("wrong", "missing"),
    [
        ({"BRIDGE_OPERATOR_URL": "http://ops.example.com/"}, "BRIDGE_OPERATOR_SECRET, or neither"),
        ({"HUBSPOT_CLIENT_ID": "two words"}, "all three"),
        ({**OAUTH, "HUBSPOT_ACCESS_TOKEN": "two words"}, "set the one or the three"),
    ],
)
def test_an_invalid_setting_and_one_that_it_needs_or_excludes_are_named_at_once(
    wrong: dict[str, str], missing: str
) -> None:
    invalid, combination = sorted(problems(**wrong), key=lambda problem: missing in problem)
    assert missing in combination
    assert missing not in invalid


@pytest.mark.parametrize("missing", OAUTH)
def test_oauth_needs_all_three(missing: str) -> None:
    [problem] = problems(**{name: text for name, text in OAUTH.items() if name != missing})
    assert problem.endswith("all three")


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


@pytest.mark.parametrize(
    ("wrong", "url"),
    [
        ("BRIDGE_CALLBACK_HTTPS_ONLY", "http://ops.example.com/"),
        ("BRIDGE_CALLBACK_ALLOW", "https://10.0.0.1/"),
        ("BRIDGE_CALLBACK_PORTS", "https://ops.example.com:8443/"),
    ],
)
def test_an_operators_url_is_not_blamed_for_the_default_of_a_wrong_setting(wrong: str, url: str) -> None:
    [problem] = problems(**OPERATOR | {"BRIDGE_OPERATOR_URL": url, wrong: "nonsense"})
    assert problem.startswith(wrong)


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
    assert {problem.split(":")[0].split(",")[0] for problem in told} == NAMES - {"DYNO"}  # it takes anything
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
