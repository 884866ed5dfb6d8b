"""Brings a database to the newest revision; safe from any number of processes at once."""

import time
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

log = structlog.get_logger()

ROOT = Path(__file__).parents[2]
LOCK = 5_119_347_231  # any number that is ours alone in this database
# Until the transaction ends. PostgreSQL before version 17 has only the first.
_TAKE_YOUR_TIME = text(
    "SELECT set_config(name, '0', true) FROM pg_settings"
    " WHERE name IN ('statement_timeout', 'transaction_timeout')"
)


# Whatever would write to a table waits behind the migration that waits for it: not for long.
LOCK_SECONDS = 2
# Between two tries the others get on with what has queued up.
PAUSE_SECONDS = 1
PATIENCE_SECONDS = 30
_LOCK_NOT_AVAILABLE = "55P03"


def upgrade(engine: Engine, *, patience_seconds: float = PATIENCE_SECONDS) -> str:
    """Run what is missing, in one transaction that only one process can be in; return the revision.

    A database that is ahead of this code is left alone: during a roll-out the old code goes on. While somebody
    else's transaction holds a table, it is tried again for `patience_seconds`, and then raises.
    """
    give_up_at = time.monotonic() + patience_seconds
    while True:
        try:
            with engine.begin() as connection:
                return _upgraded(connection)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE or time.monotonic() > give_up_at:
                raise
        log.warning("migration_waits")
        time.sleep(PAUSE_SECONDS)


def _upgraded(connection: Connection) -> str:
    if connection.dialect.name == "postgresql":
        connection.execute(_TAKE_YOUR_TIME)
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        # Not before: another process's migration may take its time, and nobody queues up behind this one.
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
    if not _is_ahead(connection):
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return _revision(connection) or ""


def is_migrated(connection: Connection) -> bool:
    """Tell whether the database has all that this code needs."""
    return _revision(connection) == _scripts().get_current_head() or _is_ahead(connection)


def _is_ahead(connection: Connection) -> bool:
    revision = _revision(connection)
    if revision is None:
        return False
    try:
        return _scripts().get_revision(revision) is None
    except CommandError:
        return True


def _revision(connection: Connection) -> str | None:
    # Not by Alembic's own words, which log two lines at each look: `/readyz` looks every few seconds.
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    return config
