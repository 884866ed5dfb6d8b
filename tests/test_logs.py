"""Log lines: one form for all, on standard error, and no secret in them."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge.logs import redact

# Logging is a whole process's: each case configures one of its own.
PROGRAM = """
import logging, warnings, structlog
from bridge import logs
logs.configure({log_format!r})
{lines}
"""


def said(lines: str, log_format: str | None = "json") -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(log_format=log_format, lines=lines)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


def logged(lines: str, log_format: str | None = "json") -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(lines, log_format).splitlines()]


def test_a_line_is_an_event_name_and_fields_with_an_instant_in_utc() -> None:
    [line] = logged("structlog.get_logger().info('poll_saved', watch_id='wat_1')")
    assert list(line) == ["timestamp", "level", "logger", "event", "watch_id"]
    assert (line["level"], line["event"], line["watch_id"]) == ("info", "poll_saved", "wat_1")
    assert line["timestamp"].endswith("Z")
    assert datetime.fromisoformat(line["timestamp"]) <= datetime.now(UTC)


def test_without_a_terminal_lines_are_json() -> None:
    assert logged("structlog.get_logger().info('x')", log_format=None)[0]["event"] == "x"


def test_the_console_s_lines_are_for_people() -> None:
    assert "[info     ] poll_saved" in said("structlog.get_logger().info('poll_saved')", "console")


def test_libraries_lines_take_the_same_way() -> None:
    lines = logged("logging.getLogger('alembic.runtime').info('Running %s', 'upgrade')")
    assert [(line["logger"], line["event"]) for line in lines] == [("alembic.runtime", "Running upgrade")]


def test_every_line_that_a_request_causes_has_its_id() -> None:
    lines = logged(
        "structlog.contextvars.bind_contextvars(request_id='one')\n"
        "structlog.get_logger().info('ours')\n"
        "logging.getLogger('alembic').warning('theirs')\n"
        "structlog.contextvars.clear_contextvars()\n"
        "structlog.get_logger().info('later')"
    )
    assert [line.get("request_id") for line in lines] == ["one", "one", None]


@pytest.mark.parametrize(
    ("name", "logged_levels"),
    [
        ("apscheduler.scheduler", ["error", "critical"]),
        ("sqlalchemy.engine", ["warning", "error", "critical"]),
        ("urllib3.connection", ["critical"]),
        ("werkzeug", ["warning", "error", "critical"]),
    ],
)
def test_libraries_that_log_too_much_are_logged_only_when_something_is_wrong(
    name: str, logged_levels: list[str]
) -> None:
    lines = logged(
        f"""
log = logging.getLogger({name!r})
for level in ('info', 'warning', 'error', 'critical'):
    getattr(log, level)('x')
"""
    )
    assert [line["level"] for line in lines] == logged_levels


def test_gunicorn_s_own_handlers_give_way() -> None:
    [line] = logged(
        """
log = logging.getLogger('gunicorn.error')
log.propagate = False
log.addHandler(logging.StreamHandler())
logs.configure('json')
log.info('Listening')
"""
    )
    assert line["event"] == "Listening"


def test_a_warning_is_a_line_as_well() -> None:
    [line] = logged("warnings.warn('careful')")
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("logger", ["structlog.get_logger()", "logging.getLogger()"])
def test_a_traceback_is_told_without_the_variables_of_its_frames(log_format: str, logger: str) -> None:
    told = said(
        f"""
token = ''.join(['hu', 'sh'])
try:
    1 / 0
except ZeroDivisionError:
    {logger}.exception('step_failed')
""",
        log_format,
    )
    assert "ZeroDivisionError: division by zero" in told
    assert "hush" not in told


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_field_that_is_named_like_a_secret_is_redacted(log_format: str) -> None:
    told = said("structlog.get_logger().info('x', access_token='hush')", log_format)
    assert "[redacted]" in told
    assert "hush" not in told


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "refresh_token",
        "signing_secret",
        "Authorization",
        "api_key",
        "X-Api-Key",
        "key",
        "keys",
        "Password",
    ],
)
def test_names_of_secrets_are_known_in_every_spelling(name: str) -> None:
    assert redact(None, "info", {name: "hush"}) == {name: "[redacted]"}


@pytest.mark.parametrize("name", ["task_id", "event", "monkey", "keyboard", "host"])
def test_other_names_are_left_alone(name: str) -> None:
    assert redact(None, "info", {name: "told"}) == {name: "told"}


def test_secrets_are_found_however_deep_they_lie() -> None:
    headers = {"answers": [{"headers": {"Authorization": "hush", "host": "a.example"}}]}
    assert redact(None, "info", headers) == {
        "answers": [{"headers": {"Authorization": "[redacted]", "host": "a.example"}}]
    }
