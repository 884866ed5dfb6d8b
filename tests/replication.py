"""Two PostgreSQL servers, of which one follows the other, for failovers."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import psycopg

from tests.postgres import PostgresServer, temporary_server
from tests.reliability.waiting import until

IN_SYNC = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"


class ReplicatedServer:
    """A primary and its synchronous standby: what is committed is on both."""

    def __init__(self, primary: PostgresServer, standby: PostgresServer) -> None:
        self._hosts = (primary, standby)
        self._primary, self._standby = primary, standby

    def url(self, database: str) -> str:
        """Return the address of whichever server is the primary."""
        return f"{self.addresses(database)[0]}?target_session_attrs=read-write"

    def addresses(self, database: str) -> list[str]:
        """Return the addresses that name both servers, in either order."""
        hosts = [quote(str(server.folder), safe="") for server in self._hosts]
        return [f"postgresql://postgres@{','.join(order)}/{database}" for order in (hosts, hosts[::-1])]

    def create_database(self, name: str) -> str:
        """Make a database; returns its address."""
        self._primary.create_database(name)
        return self.url(name)

    def replicate(self) -> None:
        """Make the standby anew, and have each commit wait for it from now on."""
        self._standby.copy(self._primary)
        self._standby.start()
        with psycopg.connect(self._primary.url(), autocommit=True) as connection:
            # Not before the copy: once promoted, it must not wait for a standby of its own.
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            until(lambda: connection.execute(IN_SYNC).fetchone())

    def crash(self) -> None:
        """Let the primary crash."""
        self._primary.stop("immediate")

    def fail_over(self) -> None:
        """Make the standby the primary; there is no standby then, until `replicate`."""
        self._standby.promote()
        self._primary, self._standby = self._standby, self._primary


@contextmanager
def replicated_server() -> Iterator[ReplicatedServer]:
    """Two started servers that are gone afterwards, with all their data."""
    with temporary_server() as primary, temporary_server() as standby:
        standby.stop("immediate")
        both = ReplicatedServer(primary, standby)
        both.replicate()
        yield both
