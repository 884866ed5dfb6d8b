"""Configures logging: what the bridge and its libraries log goes to standard error.

No log call raises: what cannot be rendered is replaced or dropped, and what cannot be written is dropped.
"""

import logging
import logging.config
import re
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bridge.stderr import STDERR, protect

LogFormat = Literal["console", "json"]

# Fields with such names are redacted. This is a second safeguard: no code is meant to log a secret.
SECRET_NAME = re.compile(r"token|secret|authorization|password|(^|[_-])keys?($|[_-])", re.IGNORECASE)

# The lowest level at which a library's lines are logged. Alembic is not listed: its lines about migrations are wanted.
LEVELS = {
    # APScheduler warns when a job is due while its last run still goes on. For the worker's loop this is normal.
    "apscheduler": "ERROR",
    "sqlalchemy": "WARNING",
    # urllib3's warnings of malformed headers contain the URL and all headers, which may hold secrets.
    "urllib3": "CRITICAL",
    "werkzeug": "WARNING",
}

# gunicorn gives these loggers handlers of their own, and does not propagate their lines to the root logger.
# `configure` undoes both.
GUNICORN = ("gunicorn.error", "gunicorn.access")


def configure(log_format: LogFormat | None = None, *, level: int = logging.INFO) -> None:
    """Send the log lines of this process to standard error.

    A process may call `configure` more than once, always with the same arguments. Lines below `level` are not logged;
    the loggers in LEVELS and GUNICORN have levels of their own. If `log_format` is None, the format is `console` on a
    terminal, else `json`.
    """
    protect()
    if log_format is None:
        log_format = "console" if sys.stderr.isatty() else "json"
    # The bridge's own events do not pass through the standard library, where a line costs three times as much.
    structlog.configure(
        processors=[_safely([_add_logger_name, *_shared(), *_renderers(log_format)])],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(_stdlib(log_format, level))
    logging.captureWarnings(capture=True)


class LineHandler(logging.StreamHandler):  # type: ignore[type-arg]  # not generic at run time
    """A StreamHandler that drops and counts a line that it cannot format, instead of printing a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except RecursionError:  # the only exception that StreamHandler raises
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the library's name
        STDERR.drop()


def _safely(processors: Sequence[Processor]) -> Processor:
    """Return a processor that renders an event by `processors`, and never raises."""

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        try:
            return _rendered(processors, logger, method, dict(event))
        except Exception:  # noqa: BLE001 -- the `str` of a field's value may raise anything
            plain = {name: _plain(value) for name, value in event.items()}
        # Outside the `except` block: inside it, `log.exception` would log this error instead of its caller's.
        return _rendered(processors, logger, method, plain)

    return render


def _rendered(processors: Sequence[Processor], logger: WrappedLogger, method: str, event: Any) -> str:
    for processor in processors:
        event = processor(logger, method, event)
    return str(event)


def _plain(value: object) -> object:
    """Return a str, a bool or None as it is; for any other value, its class's name, such as `<dict>`.

    Rendering the returned value cannot fail.
    """
    return value if type(value) in {str, bool, NoneType} else f"<{type(value).__name__}>"


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the value of each field whose name matches SECRET_NAME, at any depth, by `[redacted]`."""
    return {name: _redacted(name, value) for name, value in event.items()}


def _add_logger_name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["logger"] = "bridge"
    return event


def common_fields_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put the fields that every line has (`timestamp`, `level`, `logger`, `event`) before the others."""
    common = {name: event[name] for name in ("timestamp", "level", "logger", "event")}
    return {**common, **event}


def _redacted(name: object, value: object) -> object:
    if _is_secret(str(name)):
        return "[redacted]"
    if isinstance(value, Mapping):
        return {inner: _redacted(inner, held) for inner, held in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", held) for held in value]
    return value


@lru_cache(maxsize=1024)  # the same few names occur in every line
def _is_secret(name: str) -> bool:
    return SECRET_NAME.search(name) is not None


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,  # the request's id, in threads that answer requests
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]


def _renderers(log_format: LogFormat) -> list[Processor]:
    if log_format == "console":
        # If rich is installed, the default prints the variables of every frame, which may hold secrets.
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return [
        structlog.processors.format_exc_info,
        common_fields_first,
        structlog.processors.JSONRenderer(default=str),
    ]


def _stdlib(log_format: LogFormat, level: int) -> dict[str, object]:
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [structlog.stdlib.add_logger_name, *_shared()],
        "processors": [
            _safely([structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(log_format)])
        ],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"stderr": {"()": LineHandler, "formatter": "line"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            **{name: {"level": of_library} for name, of_library in LEVELS.items()},
            **{name: {"level": "INFO", "propagate": True} for name in GUNICORN},
        },
    }
