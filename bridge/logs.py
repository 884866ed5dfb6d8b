"""Configures logging: each event of our code and of every library is one line on standard error.

No log call raises: a value that cannot be rendered is replaced, and a line that cannot be written is dropped.
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

# Names of fields whose values are redacted. This is the second safeguard: no code logs a secret on purpose.
SECRET_NAME = re.compile(r"token|secret|authorization|password|(^|[_-])keys?($|[_-])", re.IGNORECASE)

# The level from which on a library's lines are logged. `configure` resets what a module sets for itself. Alembic is
# not in the list, so that migrations are logged.
LEVELS = {
    # The worker's loop may outlast many ticks: APScheduler warns of each one that it leaves out.
    "apscheduler": "ERROR",
    "sqlalchemy": "WARNING",
    # It warns of malformed headers with the whole URL and all headers, and both may hold a secret.
    "urllib3": "CRITICAL",
    "werkzeug": "WARNING",
}

# gunicorn gives its loggers their own handlers, and does not propagate their lines to the root.
GUNICORN = ("gunicorn.error", "gunicorn.access")


def configure(log_format: LogFormat | None = None, *, level: int = logging.INFO) -> None:
    """Send every log line of this process, from `level` up, to standard error; safe to call again.

    `log_format` None means `console` on a terminal, else `json`. From here on, whatever cannot be written to
    standard error is dropped and counted.
    """
    protect()
    if log_format is None:
        log_format = "console" if sys.stderr.isatty() else "json"
    # Our own events do not pass through the standard library: a line there costs three times as much.
    structlog.configure(
        processors=[_safely([_add_logger_name, *_shared(), *_renderers(log_format)])],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(_stdlib(log_format, level))
    logging.captureWarnings(capture=True)


class LineHandler(logging.StreamHandler):  # type: ignore[type-arg]  # it is not generic when it runs
    """A StreamHandler that drops and counts a line that it cannot format, without a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except RecursionError:  # StreamHandler raises this one alone
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the library's name
        STDERR.drop()


def _safely(processors: Sequence[Processor]) -> Processor:
    """Return a processor that renders a line by `processors`, and never raises, whatever the fields hold."""

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        try:
            return _rendered(processors, logger, method, dict(event))
        except Exception:  # noqa: BLE001 -- a field may be of any class, and its text may raise anything
            plain = {name: _plain(value) for name, value in event.items()}
        # Outside the handler, so that `log.exception` logs the exception that its caller has caught.
        return _rendered(processors, logger, method, plain)

    return render


def _rendered(processors: Sequence[Processor], logger: WrappedLogger, method: str, event: Any) -> str:
    for processor in processors:
        event = processor(logger, method, event)
    return str(event)


def _plain(value: object) -> object:
    """Return a value that can always be rendered: text, a boolean or None as it is, else its class's name."""
    return value if type(value) in {str, bool, NoneType} else f"<{type(value).__name__}>"


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the value of each field that is named like a secret, in nested values too."""
    return {name: _redacted(name, value) for name, value in event.items()}


def _add_logger_name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["logger"] = "bridge"
    return event


def common_fields_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put the fields that every line has before the others."""
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
        structlog.contextvars.merge_contextvars,  # the id of the request, in a thread that answers one
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]


def _renderers(log_format: LogFormat) -> list[Processor]:
    if log_format == "console":
        # The default prints every frame's variables where rich is installed: a secret among them.
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
