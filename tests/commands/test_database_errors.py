"""What a command says of an error of the database that is neither a missing right nor a missing file."""

import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg import sql
from sqlalchemy import make_url, text

from bridge.commands.open_bridge import AGAIN, refuse_unavailable_database
from bridge.commands.output import CommandError
from bridge.db.engine import open_engine
from tests.commands.conftest import Commands, add_watch


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


def test_a_full_disk_is_called_that(file: Path) -> None:
    engine = open_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        # SQLite takes the number of pages that there are for a limit that is lower.
        connection.execute(text("PRAGMA max_page_count = 1"))
        with pytest.raises(CommandError) as refused, refuse_unavailable_database():
            connection.execute(text("CREATE TABLE another (id INTEGER)"))
    engine.dispose()
    assert str(refused.value) == f"The database's disk is full. {AGAIN}"


def restricted(postgres_url: str, rights: LiteralString) -> str:
    """Return the database's address for a new user with these rights to each table."""
    user = f"user_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(user)))
        if rights:
            grant = sql.SQL("GRANT " + rights + " ON ALL TABLES IN SCHEMA public TO {}")
            owner.execute(grant.format(sql.Identifier(user)))
    return make_url(postgres_url).set(username=user).render_as_string(hide_password=False)


@pytest.mark.parametrize("command", ["clients list", "migrate"])
def test_a_user_of_postgresql_who_may_not_read_is_told_what_is_missing(
    postgres_url: str, command: str
) -> None:
    commands = Commands(
        DATABASE_URL=restricted(postgres_url, ""), BRIDGE_SECRET_KEY=Fernet.generate_key().decode()
    )
    refused = commands.run(*command.split())
    assert refused.returncode == 1
    assert "permission denied for table" in refused.stderr
    assert "at the moment" not in refused.stderr


@pytest.mark.parametrize("why", ["the server", "the user's rights"])
@pytest.mark.parametrize("command", ["clients add cms", "migrate", "watches withdraw wat_00000001"])
def test_a_postgresql_that_can_only_be_read_is_called_that(postgres_url: str, command: str, why: str) -> None:
    """Heroku takes the user's rights away when its plan's limit is reached."""
    commands = Commands(DATABASE_URL=postgres_url, BRIDGE_SECRET_KEY=Fernet.generate_key().decode())
    commands.said("clients", "add", "other")
    engine = open_engine(postgres_url)
    add_watch(engine, "wat_00000001")
    engine.dispose()
    if why == "the server":
        commands.env["PGOPTIONS"] = "-c default_transaction_read_only=on"
    else:
        commands.env["DATABASE_URL"] = restricted(postgres_url, "SELECT, DELETE")
    refused = commands.run(*command.split())
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == f"The database can only be read at the moment. {AGAIN}"


def test_a_postgresql_that_accepts_and_says_nothing_is_not_called_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://bridge@127.0.0.1:{server.getsockname()[1]}/bridge?connect_timeout=2"
        refused = Commands(DATABASE_URL=url, BRIDGE_SECRET_KEY=Fernet.generate_key().decode()).run("status")
    assert refused.returncode == 1
    assert "timeout expired. Start it, correct the URL" in refused.stderr
