"""Commands of a user who may not use the SQLite database: one sentence says what is missing, and what to do."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands.conftest import Commands

# Rights bind everybody but root: where root runs the tests, the commands are run as this user instead (`nobody`).
USER = os.geteuid() or 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a database, a key file and nothing else, all of them USER's."""
    # Not in pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        folder = Path(temporary, "data")
        folder.mkdir()
        Commands(DATABASE_URL=f"sqlite:///{folder}/bridge.db").said("clients", "add", "cms")
        # The last connection that is closed in order takes SQLite's other files away.
        with closing(sqlite3.connect(folder / "bridge.db")) as connection:
            connection.execute("SELECT name FROM clients")
        for path in (folder, *folder.iterdir()):
            os.chown(path, USER, -1)
        yield folder
        folder.chmod(0o700)


def refusal(folder: Path, command: str) -> str:
    """What the command says to USER, who is refused."""
    commands = Commands(DATABASE_URL=f"sqlite:///{folder}/bridge.db")
    commands.user = USER
    refused = commands.run(*command.split())
    assert (refused.returncode, refused.stdout) == (1, "")
    [sentence] = refused.stderr.splitlines()
    return sentence


@pytest.mark.parametrize("command", ["clients list", "watches list", "status", "clients revoke cms"])
@pytest.mark.parametrize(("mode", "what"), [(0o555, "write to"), (0o000, "open")])
def test_a_folder_that_is_not_the_user_s_is_named_as_the_reason(
    folder: Path, command: str, mode: int, what: str
) -> None:
    folder.chmod(mode)
    told = refusal(folder, command)
    assert told.startswith(f"SQLite cannot {what} the database at DATABASE_URL. Its folder must be there, ")
    assert "this user must be able to write to the folder" in told
    assert "Run the command as the user that the service runs as" in told


@pytest.mark.parametrize(
    ("mode", "command", "what"), [(0o444, "clients revoke cms", "write to"), (0o000, "clients list", "open")]
)
def test_a_file_that_is_not_the_user_s_is_named_as_the_reason(
    folder: Path, mode: int, command: str, what: str
) -> None:
    (folder / "bridge.db").chmod(mode)
    assert refusal(folder, command).startswith(f"SQLite cannot {what} the database at DATABASE_URL.")


@pytest.mark.parametrize("command", ["clients list", "rotate-encryption"])
def test_a_key_file_that_may_not_be_read_is_named(folder: Path, command: str) -> None:
    key = folder / "bridge.db.key"
    key.chmod(0o000)
    told = refusal(folder, command)
    assert told.startswith(f"This user may not read the key file {key}: ")
    assert "BRIDGE_SECRET_KEY" in told


def test_a_key_file_that_is_there_can_be_read_without_the_right_to_write_beside_it(folder: Path) -> None:
    # SQLite's files are there already, so it makes none.
    with closing(sqlite3.connect(folder / "bridge.db")) as connection:
        connection.execute("SELECT name FROM clients")
        for path in folder.iterdir():
            os.chown(path, USER, -1)
        folder.chmod(0o555)
        commands = Commands(DATABASE_URL=f"sqlite:///{folder}/bridge.db")
        commands.user = USER
        commands.said("migrate")
