"""What a command says of an error of SQLite that is neither a missing right nor a missing file."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from bridge.commands.open_bridge import refuse_unavailable_database
from bridge.commands.output import CommandError
from bridge.db.engine import open_engine
from tests.commands.conftest import Commands


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a migrated database."""
    file = tmp_path / "bridge.db"
    Commands(DATABASE_URL=f"sqlite:///{file}").said("migrate")
    return file


def test_a_wrong_statement_is_not_called_a_database_that_cannot_be_used(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE clients RENAME COLUMN admin TO another")
    failed = Commands(DATABASE_URL=f"sqlite:///{file}").run("clients", "list")
    assert failed.returncode == 1
    assert "no such column: clients.admin" in failed.stderr
    assert "DATABASE_URL cannot be used" not in failed.stderr


def test_a_database_that_another_process_holds_is_to_be_tried_again(file: Path) -> None:
    engine = open_engine(f"sqlite:///{file}?timeout=0")
    with closing(sqlite3.connect(file)) as other, engine.connect() as connection:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CommandError, match="Run the command again"), refuse_unavailable_database():
            connection.execute(text("UPDATE clients SET admin = 1"))
    engine.dispose()
