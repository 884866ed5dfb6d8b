"""The engines and the migrations: what each database needs to be safe under many processes."""

import threading
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError

from bridge.db.engine import UNAVAILABLE, describe_outage, open_engine, reading
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


def test_an_upgrade_does_not_wait_for_a_writer_for_ever(first_release: Engine) -> None:
    with first_release.begin() as holder:
        touch(holder, 0)
        with pytest.raises(OperationalError, match="lock timeout"):
            upgrade(first_release, timeout_seconds=0)
    assert upgrade(first_release)


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


def test_two_writers_on_sqlite_never_find_it_locked(sqlite_engine: Engine) -> None:
    with sqlite_engine.begin() as connection:
        connection.execute(text("CREATE TABLE sums (total INTEGER)"))
        connection.execute(text("INSERT INTO sums VALUES (0)"))

    def add(_: int) -> None:
        for _ in range(20):
            with sqlite_engine.begin() as connection:
                total = connection.execute(text("SELECT total FROM sums")).scalar_one()
                connection.execute(text("UPDATE sums SET total = :new"), {"new": total + 1})

    at_once(8, add)
    with reading(sqlite_engine) as connection:
        assert connection.execute(text("SELECT total FROM sums")).scalar_one() == 160


def test_readers_of_sqlite_do_not_wait_for_a_writer(sqlite_engine: Engine) -> None:
    written, read = threading.Event(), threading.Event()

    def write() -> None:
        with sqlite_engine.begin() as connection:
            connection.execute(text("INSERT INTO canaries VALUES (1, 'x')"))
            written.set()
            assert read.wait(5), "the reader waited for the writer"

    writer = threading.Thread(target=write)
    writer.start()
    assert written.wait(5)
    with reading(sqlite_engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM canaries")).scalar_one() == 0
    read.set()
    writer.join()


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)]
)
def test_sqlite_is_set_to_keep_what_it_promised(sqlite_engine: Engine, pragma: str, value: object) -> None:
    with sqlite_engine.connect() as connection:
        assert connection.execute(text(f"PRAGMA {pragma}")).scalar_one() == value


@pytest.mark.parametrize("empty_url", ["sqlite", "postgresql"], indirect=True)
def test_an_error_tells_no_values(empty: Engine) -> None:
    with empty.connect() as connection, pytest.raises(DBAPIError) as failed:
        connection.execute(text("SELECT no_such_column FROM nowhere WHERE id = :id"), {"id": "planted"})
    assert "nowhere" in str(failed.value)
    assert "planted" not in str(failed.value)


def test_postgresql_speaks_utc_and_gives_up_statements_that_hang(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.execute(text("SHOW timezone")).scalar_one() == "UTC"
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "15s"
        assert connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "15s"
        assert connection.execute(text("SHOW transaction_timeout")).scalar_one() == "20s"
    engine.dispose()


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


def test_postgresql_s_connections_are_few_enough_for_the_smallest_plan(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    held = [engine.connect() for _ in range(6)]
    count = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    with ThreadPoolExecutor(1) as pool:
        seventh = pool.submit(engine.connect)
        assert not futures.wait([seventh], timeout=0.3).done
        assert held[0].execute(count).scalar_one() == 6
        for connection in held:
            connection.close()
        seventh.result().close()
    engine.dispose()


def test_a_database_that_restarts_is_away_and_then_back(own_postgres_server: PostgresServer) -> None:
    engine = open_engine(own_postgres_server.url())
    with engine.connect() as connection:
        own_postgres_server.stop("immediate")
        with pytest.raises(UNAVAILABLE):
            connection.execute(text("SELECT 1"))
    with pytest.raises(UNAVAILABLE):
        engine.connect()
    own_postgres_server.start()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


def test_a_database_that_cannot_be_opened_is_away(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/no/such/folder/bridge.db")
    with pytest.raises(OperationalError) as away:
        engine.connect()
    assert isinstance(away.value, UNAVAILABLE)


def test_an_outage_is_described_by_what_the_driver_says_and_not_by_the_statement() -> None:
    error = OperationalError(
        "SELECT 'the disk is full'", None, Exception("canceling statement due to statement timeout")
    )
    assert describe_outage(error) == "The database is busy."


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bridge@/bridge?host=/no-such-folder/readonly",
        "postgresql://bridge@127.0.0.1:1/bridge?connect_timeout=5s",
        "postgresql://readonly:locked@127.0.0.1:1/timeout",
    ],
)
def test_a_wrong_address_is_no_outage(url: str) -> None:
    engine = open_engine(url)
    with pytest.raises(DBAPIError) as error:
        engine.connect()
    assert describe_outage(error.value) is None
