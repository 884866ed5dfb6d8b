"""The migrations: one process makes them, the others wait, and a database that is not ours is left alone."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError

from bridge.db.engine import open_engine
from bridge.db.migrations import UnusableDatabase, is_migrated, upgrade
from bridge.db.tables import metadata
from tests.commands.conftest import Commands
from tests.db.first_release import KEY, WATCHES, install_first_release
from tests.postgres import PostgresServer
from tests.reliability.waiting import until
from tests.threads import at_once

ALEMBIC = "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer
) -> Iterator[str]:
    """The address of a database without tables, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    name = f"empty_{uuid4().hex}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


@pytest.fixture
def empty(empty_url: str) -> Iterator[Engine]:
    engine = open_engine(empty_url)
    yield engine
    engine.dispose()


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def test_an_upgrade_makes_every_table(empty: Engine) -> None:
    assert not tables(empty)
    revision = upgrade(empty)
    assert revision
    assert tables(empty) == set(metadata.tables)
    with empty.connect() as connection:
        assert is_migrated(connection)


def test_an_upgrade_may_be_run_twice(empty: Engine) -> None:
    assert upgrade(empty) == upgrade(empty)


def test_a_database_without_tables_is_not_migrated(empty: Engine) -> None:
    with empty.connect() as connection:
        assert not is_migrated(connection)


@pytest.fixture
def first_release(postgres_server: PostgresServer) -> Iterator[Engine]:
    name = f"first_{uuid4().hex}"
    url = postgres_server.create_database(name)
    install_first_release(url)
    engine = open_engine(url)
    yield engine
    engine.dispose()
    postgres_server.drop_database(name)


def touch(connection: Connection, number: int) -> None:
    connection.execute(
        text("UPDATE watches SET polls = polls + 1 WHERE id = :id"), {"id": WATCHES[number]["id"]}
    )


def is_waited_for(connection: Connection) -> bool:
    waiting = "SELECT 1 FROM pg_locks WHERE relation = 'watches'::regclass AND NOT granted"
    return connection.scalar(text(waiting)) is not None


def test_while_an_upgrade_waits_for_one_writer_the_others_get_on(first_release: Engine) -> None:
    with ThreadPoolExecutor(1) as pool:
        with first_release.begin() as holder:
            touch(holder, 0)
            upgrading = pool.submit(upgrade, first_release)
            until(lambda: is_waited_for(holder))
            with first_release.begin() as other:
                # One that waits for the holder fails, instead of hanging.
                other.execute(text("SET LOCAL lock_timeout = '10s'"))
                touch(other, 1)
            assert not upgrading.done()
        assert upgrading.result() == upgrade(first_release)


def test_an_upgrade_that_is_ended_because_of_a_deadlock_begins_anew(first_release: Engine) -> None:
    """Workers of the last release go on meanwhile, and lock the tables in another order."""
    waits = text("SELECT 1 FROM pg_locks WHERE relation = 'account_gates'::regclass AND NOT granted")
    with ThreadPoolExecutor(1) as pool:
        with suppress(OperationalError), first_release.begin() as holder:
            holder.execute(text("LOCK TABLE account_gates IN ROW EXCLUSIVE MODE"))
            upgrading = pool.submit(upgrade, first_release)
            until(lambda: holder.scalar(waits))
            touch(holder, 0)
        assert upgrading.result() == upgrade(first_release)


def test_an_upgrade_does_not_wait_for_a_writer_for_ever(first_release: Engine) -> None:
    with first_release.begin() as holder:
        touch(holder, 0)
        with pytest.raises(OperationalError, match="lock timeout"):
            upgrade(first_release, timeout_seconds=0)
    assert upgrade(first_release)


def test_an_upgrade_waits_for_another_one_longer_than_sqlite_does(tmp_path: Path) -> None:
    file = tmp_path / "bridge.db"
    engine = open_engine(f"sqlite:///{file}?timeout=0")
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match="locked"):
            upgrade(engine, timeout_seconds=0)
        release = threading.Timer(0.3, other.rollback)
        release.start()
        assert upgrade(engine)
        release.join()
    engine.dispose()


def test_eight_upgrades_at_once_all_end_well(empty_url: str) -> None:
    def run(_: int) -> str:
        engine = open_engine(empty_url)
        try:
            return upgrade(engine)
        finally:
            engine.dispose()

    assert len(set(at_once(8, run))) == 1


@pytest.mark.parametrize("rows", [0, len(WATCHES)], ids=["an empty database", "the first release's"])
def test_eight_commands_that_migrate_at_once_all_end_well(empty_url: str, rows: int) -> None:
    if rows:
        install_first_release(empty_url)
    commands = Commands(DATABASE_URL=empty_url, BRIDGE_SECRET_KEY=KEY, BRIDGE_LOG_FORMAT="json")
    ran = at_once(8, lambda _: commands.run("migrate"))
    assert [(each.returncode, each.stderr) for each in ran if each.returncode != 0] == []
    # Whoever comes later finds it done: each revision ran once.
    said = "".join(each.stderr for each in ran)
    assert said.count("Running upgrade 0001 -> 0002") == 1
    engine = open_engine(empty_url)
    with engine.connect() as connection:
        assert is_migrated(connection)
        assert connection.execute(text("SELECT count(*) FROM watches")).scalar_one() == rows
    engine.dispose()


def test_a_database_that_is_ahead_of_the_code_is_left_alone(empty: Engine) -> None:
    upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("DROP TABLE canaries"))
    assert upgrade(empty) == "9999"
    assert "canaries" not in tables(empty)
    with empty.connect() as connection:
        assert is_migrated(connection)


def test_an_upgrade_that_fails_leaves_nothing_half_done(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE elsewhere (id INTEGER)"))
        connection.execute(text("CREATE INDEX ix_watches_of_client ON elsewhere (id)"))
    with pytest.raises(DBAPIError, match="ix_watches_of_client"):
        upgrade(empty)
    assert tables(empty) == {"elsewhere"}


@pytest.mark.parametrize(
    ("before", "found"),
    [
        (["CREATE TABLE accounts (id INTEGER)"], "accounts"),
        ([ALEMBIC, "INSERT INTO alembic_version VALUES ('3f2a')"], "alembic_version, which says 3f2a"),
        # Others number theirs as we do, and watch something, too.
        ([ALEMBIC, "INSERT INTO alembic_version VALUES ('0001')"], "alembic_version, which says 0001"),
        (
            [ALEMBIC, "INSERT INTO alembic_version VALUES ('0001')", "CREATE TABLE watches (id INTEGER)"],
            "alembic_version, which says 0001",
        ),
    ],
)
def test_another_program_s_tables_are_told_and_left_alone(
    empty_url: str, empty: Engine, before: list[str], found: str
) -> None:
    with empty.begin() as connection:
        for statement in before:
            connection.execute(text(statement))
    stood = set(inspect(empty).get_table_names())
    commands = Commands(DATABASE_URL=empty_url, BRIDGE_SECRET_KEY=KEY)
    for command in ("migrate", "serve"):
        refused = commands.run(command)
        assert refused.returncode == 1
        assert refused.stderr.startswith(
            f"The database at DATABASE_URL holds tables of another program: {found}. Give the bridge a database"
        )
        assert refused.stderr.count("\n") == 1
    assert set(inspect(empty).get_table_names()) == stood


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_store_every_text_is_refused(
    postgres_server: PostgresServer, encoding: str
) -> None:
    name = f"in_{encoding.lower()}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    commands = Commands(DATABASE_URL=postgres_server.url(name), BRIDGE_SECRET_KEY=KEY)
    for command in ("migrate", "serve", "worker", "status"):
        refused = commands.run(command)
        assert refused.returncode == 1
        assert f"has the encoding {encoding}, which cannot store" in refused.stderr
        assert refused.stderr.count("\n") == 1
    postgres_server.drop_database(name)


def test_a_revision_that_another_program_has_added_is_told(empty: Engine) -> None:
    ours = upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("INSERT INTO alembic_version VALUES ('3f2a')"))
    with pytest.raises(UnusableDatabase, match=f"says {ours}, 3f2a"):
        upgrade(empty)


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
def test_a_migration_on_postgresql_may_take_its_time(empty: Engine) -> None:
    seen: list[tuple[str, ...]] = []

    @event.listens_for(empty, "commit")
    def note(connection: Connection) -> None:
        names = ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout")
        seen.append(tuple(connection.execute(text(f"SHOW {name}")).scalar_one() for name in names))

    upgrade(empty)
    # Between its statements nothing takes long; one that is stopped there must not keep the others waiting.
    assert seen == [("0", "0", "15s")]
