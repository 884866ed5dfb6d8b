"""Migrates or checks the database, and warns of likely mistakes, before a process begins its work."""

import structlog

from bridge.db import encryption, migrations
from bridge.db.engine import connection_limit, reading
from bridge.wiring import Bridge

# How many connections to PostgreSQL a process opens at the most; see `bridge.db.engine`.
DATABASE_CONNECTIONS = 6
TOO_MANY_PROCESSES = (
    "Lower WEB_CONCURRENCY, or take a plan or a pooler with more connections: requests are refused when they are "
    "used up. Worker processes need some, too."
)
NO_CREDENTIALS = (
    "Watches are accepted, and wait. Set HUBSPOT_ACCESS_TOKEN (or HUBSPOT_CLIENT_ID, HUBSPOT_CLIENT_SECRET and "
    "HUBSPOT_REFRESH_TOKEN), or run `python -m bridge accounts set default`."
)

log = structlog.get_logger()


def prepare(bridge: Bridge) -> str:
    """Run the missing migrations, check the encryption keys, and return the database's revision.

    Raises WrongSecretKey when the keys do not fit the database, NoKeyFile when no key can be read from the key file,
    UnusableDatabase when the database must not be used, and SQLAlchemy's errors.
    """
    revision = migrations.upgrade(bridge.engine)
    cipher = bridge.cipher  # not within the transaction, because it may read the database
    with bridge.engine.begin() as connection:
        encryption.check_keys(connection, cipher)
    return revision


def check_database(bridge: Bridge) -> str:
    """Check that the database is migrated and the encryption keys fit it; return the database's revision.

    Changes nothing. `bridge` must be built with `makes_files=False`. Raises NoDatabase when the SQLite database does
    not exist, and NotMigrated when a migration is missing. Raises NoKeyFile when no key can be read from the key
    file; a missing key file is not made. Raises WrongSecretKey, UnusableDatabase and SQLAlchemy's errors, as
    `prepare` does.
    """
    with reading(bridge.engine) as connection:
        revision = migrations.check(connection)
        encryption.check_keys_if_used(connection, bridge.cipher)
    return revision


def warn(bridge: Bridge, *, processes: int = 1) -> None:
    """Log a warning when no account has credentials, and one when the database allows too few connections.

    `processes` is the number of processes; each opens at most DATABASE_CONNECTIONS connections.
    """
    with reading(bridge.engine) as connection:
        known = bridge.accounts.list_all(connection).values()
        allowed = connection_limit(connection)
    if not any(account.has_credentials or account.unreadable for account in known):
        log.warning("hubspot_credentials_missing", hint=NO_CREDENTIALS)
    needed = processes * DATABASE_CONNECTIONS
    if allowed is not None and allowed < needed:
        log.warning("database_connections_few", needed=needed, allowed=allowed, hint=TOO_MANY_PROCESSES)
