"""The engine: one way to open SQLite and PostgreSQL, each with what it needs to be safe."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

BUSY_SECONDS = 10
# Each transaction says all that it depends on, in the round trip that begins it: a pooler in transaction mode
# gives each another session, and a database or a role may have defaults of its own.
# A process that is stopped, or cut off, in the middle of a transaction must not keep its locks for ever:
# `idle_in_transaction_session_timeout` alone is not enough, because psycopg's `executemany`, which sends a Flush
# after its Sync, disarms it. psycopg reads instants only with DateStyle ISO.
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '15s';"
    " SET LOCAL idle_in_transaction_session_timeout = '15s'; SET LOCAL timezone = 'UTC';"
    " SET LOCAL datestyle = 'ISO'"
)
# PostgreSQL knows it since version 17.
_BEGIN_17 = f"{_BEGIN}; SET LOCAL transaction_timeout = '20s'"
# What holds unless DATABASE_URL says otherwise.
_DEFAULTS = {
    "client_encoding": "UTF8",
    "connect_timeout": 5,
    # How a connection finds out that the server's machine is gone: after 10 + 3 x 5 s of silence,
    # or 15 s after something was sent that nobody has acknowledged.
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

# The middle one is PostgreSQL's word for a server that only reads, as one does before it takes over.
AWAY = (OperationalError, InternalError, PoolTimeout)


class NoDatabase(Exception):
    """There is no SQLite database where DATABASE_URL says. The message says what to do."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"There is no database at {place}: correct DATABASE_URL, or make one with `python -m bridge migrate`."
        )


def open_engine(url: str, *, makes_files: bool = True) -> Engine:
    """Return an engine for a `sqlite:///…` URL, or for whatever libpq takes as an address. Connects lazily.

    Unless it `makes_files`, a SQLite database that is not there cannot be opened, and one that is stays as it is.
    """
    return _sqlite(url, makes_files=makes_files) if url.startswith("sqlite:") else _postgresql(url)


def _sqlite(url: str, *, makes_files: bool) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "do_connect")
    def _create(_dialect: Any, _record: Any, arguments: Any, options: Any) -> None:
        if not makes_files:
            if not options.get("uri") and not Path(arguments[0]).exists():
                raise NoDatabase(arguments[0])
            arguments[0], options["uri"] = _of_existing(arguments[0], is_uri=bool(options.get("uri"))), True
            return
        # Secrets and callback URLs are in there: its owner's alone, whatever the umask. SQLite gives the same mode
        # to the files beside it. One that exists is not even opened: to close it would end SQLite's locks on it.
        if not options.get("uri"):
            with suppress(OSError):  # SQLite says what is wrong
                os.close(os.open(arguments[0], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: Any) -> None:
        # Without this the driver opens transactions by itself, too late to be safe.
        connection.isolation_level = None
        if makes_files:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a 201 survives a power cut
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A read that later writes fails at once when another has written in between.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _of_existing(place: str, *, is_uri: bool) -> str:
    """Return SQLite's URI of a database that must be there (sqlite.org/uri.html)."""
    if not is_uri:
        return f"file:{quote(place)}?mode=rw"
    return place if "mode=" in place else f"{place}{'&' if '?' in place else '?'}mode=rw"


class _Dialect(psycopg.dialect):
    """SQLAlchemy's, but for how a transaction begins."""

    supports_statement_cache = True

    def do_begin(self, dbapi_connection: Any) -> None:
        """Begin a transaction, unless the ping has."""
        libpq = dbapi_connection.pgconn
        if libpq.transaction_status == TransactionStatus.IDLE:
            is_17 = libpq.server_version >= 170_000
            dbapi_connection.execute(_BEGIN_17 if is_17 else _BEGIN, prepare=False)

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Find out whether a connection from the pool still works, by what it is to do next."""
        self.do_begin(dbapi_connection)
        return True


registry.register("postgresql.bridge", __name__, _Dialect.__name__)


def _postgresql(address: str) -> Engine:
    given = conninfo_to_dict(address)
    if "," in f"{given.get('host')}{given.get('hostaddr')}":
        given.setdefault("target_session_attrs", "read-write")  # a standby only reads
    # Heroku's smallest plan has 20 connections, for all processes together.
    engine = create_engine(
        "postgresql+bridge://",
        pool_size=4,
        max_overflow=2,
        pool_timeout=10,
        pool_pre_ping=True,
        pool_recycle=300,
        hide_parameters=True,  # an error's text goes to the log; a row may hold what does not belong there
        # The driver leaves it to the dialect to begin transactions.
        connect_args={**_DEFAULTS, **given, "autocommit": True},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # A pooler makes up the process id that it tells. Behind it a prepared statement is on one server
        # connection, and the next transaction perhaps on another.
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        if row[0] != connection.info.backend_pid:
            connection.prepare_threshold = None

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads."""
    with engine.connect() as connection:
        yield connection.execution_options(reading=True)


def is_away(error: DBAPIError) -> bool:
    """Tell whether the database could not be reached or could not work, rather than refused."""
    return isinstance(error, AWAY) or error.connection_invalidated


# What a role, a database and a server allow; a role or a database without a limit says -1.
_CONNECTION_LIMIT = text("""
    SELECT least(nullif(role.rolconnlimit, -1), nullif(base.datconnlimit, -1),
                 current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int)
    FROM pg_roles AS role, pg_database AS base
    WHERE role.rolname = session_user AND base.datname = current_database()
""")


def connection_limit(connection: Connection) -> int | None:
    """Return how many connections all processes of this user may have together; None with SQLite, which has no limit."""
    return None if connection.dialect.name == "sqlite" else connection.scalar(_CONNECTION_LIMIT)
