"""How log lines look: one line an event, from our code and from every library, on standard error.

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

# What fields are called that hold a secret. The first net is that nobody logs one.
SECRET_NAME = re.compile(r"token|secret|authorization|password|(^|[_-])keys?($|[_-])", re.IGNORECASE)

# From which level on a library is heard. Set here alone: what a module sets for itself, `configure` sets back.
# Alembic is not among them, because a migration is news.
LEVELS = {
    # A shift may outlast many ticks: APScheduler warns of each one that it leaves out.
    "apscheduler": "ERROR",
    "sqlalchemy": "WARNING",
    # It warns of malformed headers with the whole URL and all headers, and both may hold a secret.
    "urllib3": "CRITICAL",
    "werkzeug": "WARNING",
}

# gunicorn gives its loggers handlers of their own, and keeps their lines from the root.
GUNICORN = ("gunicorn.error", "gunicorn.access")


def configure(log_format: LogFormat | None = None, *, level: int = logging.INFO) -> None:
    """Send every log line of this process, from `level` up, to standard error; safe to call again.

    `log_format` None means `console` on a terminal, else `json`. What cannot be written to standard error, by
    whichever library, is dropped and counted from here on.
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
    """The standard library's, but it keeps quiet about a line that it cannot make."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except RecursionError:  # the only one that it lets through
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the library's name
        STDERR.drop()


def _safely(processors: Sequence[Processor]) -> Processor:
    """Join the processors that make a line; what a field holds cannot make them fail."""

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        try:
            return _rendered(processors, logger, method, dict(event))
        except Exception:  # noqa: BLE001 -- a field may be of any class, and its text may raise anything
            plain = {name: _plain(value) for name, value in event.items()}
        # No longer in the handler: `log.exception` tells of the exception that its caller has caught.
        return _rendered(processors, logger, method, plain)

    return render


def _rendered(processors: Sequence[Processor], logger: WrappedLogger, method: str, event: Any) -> str:
    for processor in processors:
        event = processor(logger, method, event)
    return str(event)


def _plain(value: object) -> object:
    """Return what can always be rendered: anything but plain text and truth becomes the name of its class."""
    return value if type(value) in {str, bool, NoneType} else f"<{type(value).__name__}>"


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the value of each field that is named like a secret, however deep it lies."""
    return {name: _redacted(name, value) for name, value in event.items()}


def _add_logger_name(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["logger"] = "bridge"
    return event


def common_fields_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put what every line has before what only this one has."""
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


@lru_cache(maxsize=1024)  # the same few names stand in every line
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
