"""Opens the bridge for a command: reads the settings, and checks or prepares the database."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from bridge import logs, startup
from bridge.commands.output import CommandError
from bridge.db.encryption import WrongSecretKey
from bridge.db.engine import BUSY_SECONDS, UNAVAILABLE, NoDatabase, describe_outage
from bridge.db.key_file import NoKeyFile
from bridge.db.migrations import NotMigrated, UnusableDatabase
from bridge.settings import Settings
from bridge.wiring import Bridge

log = structlog.get_logger()

UNUSABLE = (
    "The database at DATABASE_URL cannot be used: {}. Start it, correct the URL, make its schema, or give its user "
    "the rights."
)
AGAIN = "When that is over, run the command again."
BUSY = "Another process has held the database at DATABASE_URL for {} s. Run the command again."
NO_RIGHTS = (
    "SQLite cannot {} the database at DATABASE_URL. Its folder must be there, and this user must be able to write to "
    "the folder and to the file, even for a command that only reads. Run the command as the user that the service runs as, or "
    "give this user the rights."
)


def prepare_bridge(settings: Settings | None = None, *, level: int = logging.WARNING) -> Bridge:
    """Return the bridge after migrating the database if needed; create a missing SQLite database or key file.

    If `settings` is None, they are read from the environment. `level` is the lowest level that is logged.
    Raises CommandError when the database or the encryption key cannot be used, SystemExit for wrong settings.
    """
    settings = settings or Settings.load_or_exit(os.environ)
    logs.configure(settings.log_format, level=level)
    bridge = Bridge(settings)
    with refuse_unusable_database():
        revision = startup.prepare(bridge)
    log.info("database_ready", revision=revision)
    return bridge


def open_bridge() -> Bridge:
    """Check that the bridge's database exists and is migrated; return the bridge.

    Changes nothing: creates neither a database nor a key file. Raises CommandError when the database or the
    encryption key is missing or cannot be used, and when the database is not migrated. Raises SystemExit when the
    settings are wrong.
    """
    settings = Settings.load_or_exit(os.environ)
    logs.configure(settings.log_format, level=logging.WARNING)
    bridge = Bridge(settings, makes_files=False)
    with refuse_unusable_database():
        startup.check_database(bridge)
    return bridge


@contextmanager
def refuse_unusable_database() -> Iterator[None]:
    """In a `with` block, turn errors of the database or the encryption key into a CommandError."""
    try:
        yield
    except WrongSecretKey as wrong:
        raise CommandError(f"BRIDGE_SECRET_KEY: {wrong}") from None
    except (NoDatabase, NoKeyFile, NotMigrated, UnusableDatabase) as found:
        raise CommandError(str(found)) from None
    except (*UNAVAILABLE, DatabaseError) as error:
        raise CommandError(_sentence(error)) from None


@contextmanager
def refuse_unavailable_database() -> Iterator[None]:
    """In a `with` block, turn errors of an unavailable or read-only database into a CommandError."""
    try:
        yield
    except UNAVAILABLE as error:
        if _sqlite_error(error) == ["SQLITE", "ERROR"]:  # a wrong statement, which is a bug
            raise
        raise CommandError(_sentence(error)) from None


def _sqlite_error(error: SQLAlchemyError) -> list[str]:
    return getattr(getattr(error, "orig", None), "sqlite_errorname", "").split("_")


def _sentence(error: SQLAlchemyError) -> str:
    match _sqlite_error(error):
        case ["SQLITE", "BUSY", *_]:
            return BUSY.format(BUSY_SECONDS)
        case ["SQLITE", "READONLY", *_]:
            return NO_RIGHTS.format("write to")
        case ["SQLITE", "CANTOPEN", *_]:
            return NO_RIGHTS.format("open")
        case _ if outage := describe_outage(error):
            return f"{outage} {AGAIN}"
        case _:
            return UNUSABLE.format(str(error).splitlines()[0])
