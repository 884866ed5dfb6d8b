"""The real commands, each in a process of its own, over a fresh database of each kind."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine

from bridge import wiring
from bridge.core.watch import Outcome, State, Watch
from bridge.db import claims
from bridge.db import watches as store
from bridge.db.engine import open_engine
from bridge.settings import Settings
from tests.forks import Fork
from tests.makers import a_watch
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """The result of a command."""

    returncode: int
    stdout: str
    stderr: str


def ended(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    given: str = "",
    stdin: Path | None = None,
    stdout: Path | None = None,
    user: int | None = None,
) -> Ran:
    """Run a fork until it has ended; `stdout` is where its output goes, instead of the result."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text, out, err = (folder / name for name in ("0", "1", "2"))
        text.write_text(given)
        process = Fork(command, env, stdin=stdin or text, stdout=stdout or out, stderr=err, user=user)
        try:
            returncode = process.wait(TIMEOUT_SECONDS)
        finally:
            process.kill()
        return Ran(returncode=returncode, stdout="" if stdout else out.read_text(), stderr=err.read_text())


class Commands:
    """Runs `python -m bridge …` with an environment of its own."""

    def __init__(self, **env: str) -> None:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.env = inherited | {"PORT": str(free_port())} | env
        # The number of the user who runs the commands, if it is another one; only root can choose.
        self.user: int | None = None

    def run(
        self, *arguments: str, given: str = "", stdin: Path | None = None, stdout: Path | None = None
    ) -> Ran:
        """Run a command with `given`, or the file `stdin`, on its standard input; `stdout` is as for `ended`."""
        command = ("-m", "bridge", *arguments)
        return ended(command, self.env, given=given, stdin=stdin, stdout=stdout, user=self.user)

    def said(self, *arguments: str, given: str = "") -> str:
        done = self.run(*arguments, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str, given: str = "") -> Any:
        return json.loads(self.said(*arguments, "--json", given=given))


@pytest.fixture
def commands(database_url: str) -> Commands:
    return Commands(DATABASE_URL=database_url, BRIDGE_SECRET_KEY=Fernet.generate_key().decode())


@pytest.fixture
def on_sqlite(sqlite_url: str) -> Callable[..., Commands]:
    key = Fernet.generate_key().decode()
    return lambda **env: Commands(DATABASE_URL=sqlite_url, BRIDGE_SECRET_KEY=key, **env)


@pytest.fixture
def database(commands: Commands) -> Iterator[Engine]:
    """The database of `commands`, opened by the test."""
    yield from _opened(commands.env["DATABASE_URL"])


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Engine]:
    """The database of `on_sqlite`, opened by the test."""
    yield from _opened(sqlite_url)


def _opened(url: str) -> Iterator[Engine]:
    engine = open_engine(
        Settings.load({"DATABASE_URL": url, "BRIDGE_SECRET_KEY": "0" * 64}).database_url.get_secret_value()
    )
    yield engine
    engine.dispose()


def add_watch(engine: Engine, watch_id: str, **fields: Any) -> Watch:
    """A watch in the database, with these fields."""
    watch = a_watch(id=watch_id, task_id=f"task-of-{watch_id}", **fields)
    with engine.begin() as connection:
        store.add(connection, {watch.id: watch})
        claims.save_watches(connection, [watch])
    return watch


def add_undelivered(engine: Engine, watch_id: str, **fields: Any) -> Watch:
    """A watch whose callback was given up just now."""
    settled_at = wiring.now()
    given_up: dict[str, Any] = {
        "state": State.UNDELIVERED,
        "outcome": Outcome.COMPLETED,
        "due_at": None,
        "ended_at": settled_at,
        "settled_at": settled_at,
        "attempts": 11,
        "last_error": "The receiver answered 500.",
    }
    return add_watch(engine, watch_id, **given_up | fields)
