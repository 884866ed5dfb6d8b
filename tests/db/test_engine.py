"""The engines: what each database needs to be safe under many processes, and what its errors tell."""

import threading
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from bridge.db.engine import (
    UNAVAILABLE,
    NotPrepared,
    describe_outage,
    open_engine,
    reading,
    refuse_connections_until,
)
from tests.postgres import PostgresServer
from tests.threads import at_once


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
            assert read.wait(30), "the reader waited for the writer"

    writer = threading.Thread(target=write)
    writer.start()
    assert written.wait(30)
    with reading(sqlite_engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM canaries")).scalar_one() == 0
    read.set()
    writer.join()


def test_a_reading_transaction_sees_one_state_while_others_write(engine: Engine) -> None:
    count = text("SELECT count(*) FROM canaries")
    # The pool opens a connection for the first transaction, and checks that connection for the second.
    for number in range(2):
        with reading(engine) as connection:
            assert connection.execute(count).scalar_one() == number
            with engine.begin() as writer:
                writer.execute(text("INSERT INTO canaries VALUES (:number, 'x')"), {"number": number})
            assert connection.execute(count).scalar_one() == number


def test_a_writing_transaction_sees_what_others_have_committed_meanwhile(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    value = text("SELECT token FROM canaries")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO canaries VALUES (1, 'before')"))
    with reading(engine), engine.begin() as writer:
        assert writer.execute(value).scalar_one() == "before"
        with engine.begin() as other:
            other.execute(text("UPDATE canaries SET token = 'after'"))
        assert writer.execute(value).scalar_one() == "after"
        writer.execute(text("UPDATE canaries SET token = 'mine'"))
    engine.dispose()


def test_postgresql_refuses_a_write_in_a_reading_transaction(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with reading(engine) as connection, pytest.raises(DBAPIError, match="read-only transaction"):
        connection.execute(text("DELETE FROM canaries"))
    with engine.begin() as writer:
        writer.execute(text("DELETE FROM canaries"))
    engine.dispose()


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)]
)
def test_sqlite_is_set_to_keep_what_it_promised(sqlite_engine: Engine, pragma: str, value: object) -> None:
    with sqlite_engine.connect() as connection:
        assert connection.execute(text(f"PRAGMA {pragma}")).scalar_one() == value


def test_an_error_tells_no_values(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(DBAPIError) as failed:
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


def test_an_engine_that_must_not_connect_yet_is_like_a_database_that_is_away(engine: Engine) -> None:
    ready = threading.Event()
    refuse_connections_until(ready, engine)
    with pytest.raises(UNAVAILABLE) as refused:
        engine.connect()
    assert describe_outage(refused.value) == str(NotPrepared())
    ready.set()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


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
    "words",
    [
        "sorry, too many clients already",
        'too many connections for role "bridge"',
        "remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'remaining connection slots are reserved for roles with privileges of the "pg_use_reserved_connections" role',
        "remaining connection slots are reserved for non-replication superuser connections",
        "no more connections allowed (max_client_conn)",
    ],
)
def test_a_server_that_has_no_connection_left_is_busy(words: str) -> None:
    refused = (
        f'connection failed: connection to server on socket "/run/.s.PGSQL.5432" failed: FATAL:  {words}'
    )
    assert describe_outage(OperationalError("", None, Exception(refused))) == "The database is busy."


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
