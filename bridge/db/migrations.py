"""Migrates a database to the newest revision; when several processes try, one does it and the others wait."""

import time
from collections.abc import Sequence
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

from bridge.db.tables import metadata

log = structlog.get_logger()

ROOT = Path(__file__).parents[2]
LOCK = 5_119_347_231  # the key of the advisory lock: any number that nothing else uses in this database
# No time-outs until the transaction ends. `transaction_timeout` exists since PostgreSQL 17.
_WITHOUT_TIME_LIMITS = text(
    "SELECT set_config(name, '0', true) FROM pg_settings"
    " WHERE name IN ('statement_timeout', 'transaction_timeout')"
)


# While a migration waits for a table's lock, other statements on the table wait behind it: so it waits only briefly.
LOCK_SECONDS = 2
# Between two tries, the statements that have queued up are executed.
PAUSE_SECONDS = 1
TIMEOUT_SECONDS = 30
# How the codes of PostgreSQL (lock_not_available, deadlock_detected) and SQLite begin when another process holds a lock.
LOCKED = ("55P03", "40P01", "SQLITE_BUSY")


FOREIGN_TABLES = (
    "The database at DATABASE_URL holds tables of another program: {}. Give the bridge a database of its own. On "
    "PostgreSQL a schema will do: CREATE SCHEMA bridge, and ?options=-csearch_path%3Dbridge at the end of DATABASE_URL."
)
ENCODING = (
    "The database at DATABASE_URL has the encoding {}, which cannot store every text that HubSpot sends. Give the "
    "bridge one with UTF8: CREATE DATABASE bridge TEMPLATE template0 ENCODING 'UTF8'."
)


class UnusableDatabase(Exception):
    """The bridge must not use the database at DATABASE_URL. The message says why, and what to do."""


class NotMigrated(Exception):
    """The database at DATABASE_URL has not been brought to this code's revision: run `python -m bridge migrate`."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


def upgrade(engine: Engine, *, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """Run the missing migrations in one transaction, one process at a time; return the database's revision.

    A database that is newer than this code is left alone. Raises OperationalError when a lock is not free within
    about `timeout_seconds`. Raises UnusableDatabase when the database's encoding is not UTF-8, or another program's tables
    are in the way.
    """
    give_up_at = time.monotonic() + timeout_seconds
    while True:
        try:
            with engine.begin() as connection:
                return _upgraded(connection)
        except OperationalError as error:
            if not _code(error).startswith(LOCKED) or time.monotonic() > give_up_at:
                raise
        log.warning("migration_waits")
        time.sleep(PAUSE_SECONDS)


def _code(error: OperationalError) -> str:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None) or ""


def _upgraded(connection: Connection) -> str:
    if connection.dialect.name == "postgresql":
        connection.execute(_WITHOUT_TIME_LIMITS)
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        # Set only now: the wait for another process's migration may be longer, because it blocks nothing.
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
    _refuse_unusable(connection)
    if not _is_ahead(connection):
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return _revision(connection) or ""


def _refuse_unusable(connection: Connection) -> None:
    """Raise UnusableDatabase if the encoding is not UTF-8, or another program's tables are in the way."""
    if connection.dialect.name == "postgresql":
        encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise UnusableDatabase(ENCODING.format(encoding))
    revisions = _revisions(connection)
    # Without a revision the bridge has made no tables here yet: those with the same names are another program's.
    taken = sorted(metadata.tables.keys() & set(inspect(connection).get_table_names()))
    if not revisions and taken:
        raise UnusableDatabase(FOREIGN_TABLES.format(", ".join(taken)))
    # A revision does not tell which program wrote it, so tables of the bridge must exist as well.
    if revisions and (len(revisions) > 1 or not {"watches", "signing_secrets"} <= set(taken)):
        found = f"alembic_version, which says {', '.join(revisions)}"
        raise UnusableDatabase(FOREIGN_TABLES.format(found))


def is_migrated(connection: Connection) -> bool:
    """Return whether the database is at this code's revision or a later one."""
    return _revision(connection) == _scripts().get_current_head() or _is_ahead(connection)


def check(connection: Connection) -> str:
    """Check that the database is ready for this code, and return the database's revision.

    Raises NotMigrated when the revision is too old or missing. Raises UnusableDatabase when the database's encoding
    is not UTF-8, or another program's tables are in the way.
    """
    _refuse_unusable(connection)
    if not is_migrated(connection):
        raise NotMigrated
    return _revision(connection) or ""


def _is_ahead(connection: Connection) -> bool:
    revision = _revision(connection)
    if revision is None:
        return False
    try:
        return _scripts().get_revision(revision) is None
    except CommandError:
        return True


def _revision(connection: Connection) -> str | None:
    return next(iter(_revisions(connection)), None)


def _revisions(connection: Connection) -> Sequence[str]:
    # Not with Alembic's MigrationContext, which logs two lines each time: `/readyz` asks every few seconds.
    if not inspect(connection).has_table("alembic_version"):
        return ()
    return connection.scalars(text("SELECT version_num FROM alembic_version ORDER BY version_num")).all()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    return config
