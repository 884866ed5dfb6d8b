"""A real PgBouncer for tests, pooling in transaction mode, where one is installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.postgres import PostgresServer, unprivileged_account
from tests.reliability.waiting import until

# Debian installs it where an ordinary user's PATH does not look.
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
PORT = 6432

# All that is not said here is as PgBouncer ships it.
CONFIGURATION = """
[databases]
* = host={server} user=postgres
[pgbouncer]
pool_mode = transaction
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
default_pool_size = {pool_size}
{more}
"""


@contextmanager
def pooled(server: PostgresServer, *, pool_size: int = 20, more: str = "") -> Iterator["Pooler"]:
    """Run a pooler in front of `server`; `more` are further lines of its configuration."""
    assert PROGRAM
    account = unprivileged_account()
    # Not pytest's folder: a socket's path must be shorter than 104 characters.
    with tempfile.TemporaryDirectory(prefix="pgb-") as name:
        folder = Path(name)
        configuration = CONFIGURATION.format(
            server=server.folder, folder=folder, port=PORT, pool_size=pool_size, more=more
        )
        (folder / "pgbouncer.ini").write_text(configuration)
        if account:
            os.chown(folder, account["user"], account["group"])
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [PROGRAM, folder / "pgbouncer.ini"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **account,
            )
        try:
            pooler = Pooler(folder, process)
            until(pooler.answers)
            yield pooler
        finally:
            process.kill()
            process.wait()


class Pooler:
    """A PgBouncer that runs."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._folder = folder
        self._process = process

    def url(self, database: str) -> str:
        """Return the address of a database, by way of the pooler."""
        return f"postgresql://postgres@/{database}?host={self._folder}&port={PORT}"

    def answers(self) -> bool:
        """Tell whether a database can be reached through it; fails at once when it has died."""
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True
