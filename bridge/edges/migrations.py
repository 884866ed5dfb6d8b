"""Brings a database to the newest revision; safe from any number of processes at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

ROOT = Path(__file__).parents[2]
LOCK = 5_119_347_231  # any number that is ours alone in this database
# Until the transaction ends. PostgreSQL before version 17 has only the first.
_TAKE_YOUR_TIME = text(
    "SELECT set_config(name, '0', true) FROM pg_settings"
    " WHERE name IN ('statement_timeout', 'transaction_timeout')"
)


def upgrade(engine: Engine) -> str:
    """Run what is missing, in one transaction that only one process can be in; return the revision.

    A database that is ahead of this code is left alone: during a roll-out the old code goes on.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(_TAKE_YOUR_TIME)
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
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
    return MigrationContext.configure(connection).get_current_revision()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    return config
