"""Builds the SQLAlchemy engine, with the settings that SQLite or PostgreSQL needs."""

import os
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event, text
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

BUSY_SECONDS = 10
# A writing transaction sees what others have committed meanwhile: with a snapshot, PostgreSQL would refuse to change
# rows that others have changed since.
_BEGIN_WRITING = "BEGIN ISOLATION LEVEL READ COMMITTED"
# All statements of a reading transaction see the same state of the database, as they do on SQLite.
_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# Each transaction sets all that it depends on, in the round trip that begins it: a pooler in transaction mode
# may run each in another session, and a database or a role may have defaults of its own.
# A process that is stopped, or cut off, in the middle of a transaction must not keep its locks for ever:
# `idle_in_transaction_session_timeout` alone is not enough, because psycopg's `executemany`, which sends a Flush
# after its Sync, disarms it. psycopg reads instants only with DateStyle ISO.
_SET = (
    "SET LOCAL statement_timeout = '15s'; SET LOCAL idle_in_transaction_session_timeout = '15s';"
    " SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'"
)
# PostgreSQL has `transaction_timeout` since version 17.
_SET_17 = f"{_SET}; SET LOCAL transaction_timeout = '20s'"
# Whether the transaction that this thread begins only reads. SQLAlchemy's pool passes nothing on to the ping that
# begins a transaction on PostgreSQL.
_is_reading = ContextVar("is_reading", default=False)
# The connection's parameters, unless DATABASE_URL sets others.
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

# InternalError is how a read-only PostgreSQL server refuses a write, such as a standby before it takes over.
UNAVAILABLE = (OperationalError, InternalError, PoolTimeout)
ONLY_READ = "The database can only be read at the moment."


class NoDatabase(Exception):
    """There is no SQLite database where DATABASE_URL says. The message says what to do."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"There is no database at {place}: correct DATABASE_URL, or make one with `python -m bridge migrate`."
        )


class NotPrepared(Exception):
    """The database could not be reached when the bridge started, and its schema is not checked yet."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


def open_engine(url: str, *, makes_files: bool = True) -> Engine:
    """Return an engine for a `sqlite:///…` URL, or for any connection string of libpq. Connects lazily.

    With `makes_files=False`, connecting to a SQLite database that does not exist raises NoDatabase.
    """
    return _sqlite(url, makes_files=makes_files) if url.startswith("sqlite:") else _postgresql(url)


def _sqlite(url: str, *, makes_files: bool) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS},
        hide_parameters=True,
        # An INSERT with RETURNING differs by its number of rows, and the driver caches each: 128 statements of about
        # 1000 rows would fill 300 MB.
        insertmanyvalues_page_size=50,
    )

    @event.listens_for(engine, "do_connect")
    def _create(_dialect: Any, _record: Any, arguments: Any, options: Any) -> None:
        if not makes_files:
            if is_missing(arguments[0]):
                raise NoDatabase(arguments[0])
            # This URI creates no file (sqlite.org/uri.html).
            arguments[0], options["uri"] = f"file:{quote(arguments[0])}?mode=rw", True
            return
        # The file holds secrets and callback URLs: only its owner may read it, whatever the umask. SQLite gives the
        # same mode to its WAL. A file that exists is not even opened: closing it would end SQLite's locks on it.
        with suppress(OSError):  # SQLite raises its own error later
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
        # After a plain BEGIN, a write that follows a read fails at once when another process has written in between.
        connection.exec_driver_sql("BEGIN" if _is_reading.get() else "BEGIN IMMEDIATE")

    return engine


def is_missing(place: str | Path) -> bool:
    """Return True if there is certainly no file at `place`; False if there is a file, or the check fails."""
    try:
        Path(place).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass  # no right to enter the folder, for example: whoever opens the file gets an error that says so
    return False


class _Dialect(psycopg.dialect):
    """The psycopg dialect, with a BEGIN of its own.

    The BEGIN also sets the transaction's isolation level, time-outs, time zone and date style. When SQLAlchemy pings
    a pooled connection, `do_ping` sends this BEGIN as the check; the next transaction is then already begun.
    """

    supports_statement_cache = True

    def do_begin(self, dbapi_connection: Any) -> None:
        """Begin a transaction, unless `do_ping` has already begun one on this connection."""
        libpq = dbapi_connection.pgconn
        if libpq.transaction_status == TransactionStatus.IDLE:
            begin = _BEGIN_READING if _is_reading.get() else _BEGIN_WRITING
            settings = _SET_17 if libpq.server_version >= 170_000 else _SET
            dbapi_connection.execute(f"{begin}; {settings}", prepare=False)

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Check a pooled connection by sending the BEGIN of the next transaction; return True.

        No separate ping is sent, so one round trip is saved. An error of the BEGIN is raised.
        """
        self.do_begin(dbapi_connection)
        return True


registry.register("postgresql.bridge", __name__, _Dialect.__name__)


# To lock rows takes the right to change them.
_WRITES = re.compile(r"^\s*(INSERT|UPDATE|DELETE)\b|\bFOR UPDATE\b")


def _postgresql(address: str) -> Engine:
    given = conninfo_to_dict(address)
    if "," in f"{given.get('host')}{given.get('hostaddr')}":
        given.setdefault("target_session_attrs", "read-write")  # a standby refuses writes
    # Heroku's smallest plan has 20 connections, for all processes together.
    engine = create_engine(
        "postgresql+bridge://",
        pool_size=4,
        max_overflow=2,
        pool_timeout=10,
        pool_pre_ping=True,
        pool_recycle=300,
        hide_parameters=True,  # errors are logged, and a parameter may be a secret
        # With `autocommit` the driver begins no transactions: the dialect does.
        connect_args={**_DEFAULTS, **given, "autocommit": True},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        # A pooler reports a process id of its own making. Behind one, the next transaction may run on another
        # server connection, where a prepared statement does not exist: none are made.
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        if row[0] != connection.info.backend_pid:
            connection.prepare_threshold = None

    @event.listens_for(engine, "handle_error", retval=True)
    def _outage(context: ExceptionContext) -> OperationalError | None:
        # This is how Heroku stops all writes when a plan's limit is reached: the statement itself is right.
        cause, statement = context.original_exception, context.statement or ""
        if isinstance(cause, InsufficientPrivilege) and _WRITES.search(statement):
            return OperationalError(statement, None, cause, hide_parameters=True)
        return None

    return engine


def refuse_connections_until(ready: threading.Event, engine: Engine) -> None:
    """Make `engine` refuse to connect to the database until `ready` is set.

    Until then, each attempt of `engine` to connect raises OperationalError, as if the database were away.
    """

    @event.listens_for(engine, "do_connect", insert=True)
    def _refuse(_dialect: Any, _record: Any, _arguments: Any, _options: Any) -> None:
        if not ready.is_set():
            raise OperationalError(None, None, NotPrepared())


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a connection within a transaction that only reads.

    All statements see the database as it was at the first of them. On SQLite the transaction does not wait for the
    write lock.
    """
    with ExitStack() as stack:
        token = _is_reading.set(True)
        try:
            connection = stack.enter_context(engine.connect())
            connection.begin()
        finally:
            # Reset before the caller goes on, who may begin a writing transaction meanwhile.
            _is_reading.reset(token)
        yield connection


def is_unavailable(error: Exception) -> bool:
    """Return whether an error probably means that the database is away or unable to work."""
    return isinstance(error, UNAVAILABLE) or (isinstance(error, DBAPIError) and error.connection_invalidated)


# Parts of the drivers' messages, each long enough that no host, user or option is named so; and what they mean.
# Not SQLSTATEs: when the server refuses a connection, libpq passes on the message alone.
_OUTAGES: Sequence[tuple[Sequence[str], str]] = (
    (("disk is full", "no space left", "could not extend"), "The database's disk is full."),
    (("disk i/o error",), "The database's disk does not work."),
    (
        ("readonly database", "read-only transaction", "session is read-only"),
        ONLY_READ,
    ),
    (
        (
            "database is locked",
            "table is locked",
            "deadlock detected",
            "due to statement timeout",
            "due to lock timeout",
            "due to transaction timeout",
            "due to idle-in-transaction timeout",
            "query_wait_timeout",
            "queuepool limit",
            "too many clients",
            "too many connections",
            # Which ones are kept for others differs by PostgreSQL's version, as do the words after these.
            "remaining connection slots are reserved",
            "no more connections allowed",  # PgBouncer's words
        ),
        "The database is busy.",
    ),
)


def describe_outage(error: Exception) -> str | None:
    """Return a sentence that says why the database failed; None when the error's message does not tell."""
    cause = getattr(error, "orig", error)  # the driver's own error: SQLAlchemy adds the statement
    if isinstance(cause, NotPrepared):
        return str(cause)
    if isinstance(error, OperationalError) and isinstance(cause, InsufficientPrivilege):
        return ONLY_READ
    message = str(cause).lower()
    return next((text for words, text in _OUTAGES if any(word in message for word in words)), None)


# The smallest of the limits of the role, the database and the server; -1 means that a role or database sets no limit.
_CONNECTION_LIMIT = text("""
    SELECT least(nullif(role.rolconnlimit, -1), nullif(base.datconnlimit, -1),
                 current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int)
    FROM pg_roles AS role, pg_database AS base
    WHERE role.rolname = session_user AND base.datname = current_database()
""")


def connection_limit(connection: Connection) -> int | None:
    """Return how many connections the database user may have at most; None on SQLite, which has no limit."""
    return None if connection.dialect.name == "sqlite" else connection.scalar(_CONNECTION_LIMIT)
