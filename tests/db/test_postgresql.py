"""PostgreSQL: settings in its address are honoured, and defaults of the database change nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import inspect, text

from bridge.core.watch import State
from bridge.db import claims, watches
from bridge.db.engine import open_engine
from bridge.db.migrations import ROOT, is_migrated, upgrade
from bridge.db.tables import metadata
from tests.db.claiming import ONE, added
from tests.db.first_release import KEY
from tests.makers import NOW, a_watch
from tests.ports import free_port
from tests.postgres import PostgresServer


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of a database without tables."""
    name = f"empty_{uuid4().hex}"
    yield postgres_server.create_database(name)
    postgres_server.drop_database(name)


def connection_parameters(address: str) -> dict[str, Any]:
    """Return the parameters that libpq got beside the address itself."""
    engine = open_engine(address)
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        used: dict[str, Any] = driver.info.get_parameters()
    engine.dispose()
    return used


def test_postgresql_s_silence_is_noticed(postgres_url: str) -> None:
    used = connection_parameters(postgres_url)
    names = ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
    assert [used[name] for name in names] == ["1", "10", "5", "3", "15000"]
    assert used["connect_timeout"] == "5"


def test_what_the_address_names_counts(postgres_url: str) -> None:
    used = connection_parameters(
        f"{postgres_url}&connect_timeout=7&keepalives_idle=60&application_name=bridge"
    )
    assert [used[name] for name in ("connect_timeout", "keepalives_idle")] == ["7", "60"]
    assert used["application_name"] == "bridge"
    assert used["keepalives_count"] == "3"


@pytest.mark.parametrize("by_environment", [False, True], ids=["options=", "PGOPTIONS"])
def test_a_schema_of_its_own_holds_every_table(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, *, by_environment: bool
) -> None:
    plain = open_engine(empty_url)
    with plain.begin() as connection:
        connection.execute(text("CREATE SCHEMA bridge"))
    if by_environment:
        monkeypatch.setenv("PGOPTIONS", "-csearch_path=bridge")
    engine = open_engine(empty_url if by_environment else f"{empty_url}&options=-csearch_path%3Dbridge")
    upgrade(engine)
    with engine.connect() as connection:
        assert is_migrated(connection)
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "15s"
    assert set(inspect(plain).get_table_names("bridge")) == {*metadata.tables, "alembic_version"}
    assert not inspect(plain).get_table_names("public")
    engine.dispose()
    plain.dispose()


@pytest.mark.parametrize("command", [("bridge", "migrate"), ("gunicorn", "app:app")])
def test_a_schema_that_is_not_there_is_told_in_a_sentence(empty_url: str, command: tuple[str, str]) -> None:
    url = f"{empty_url}&options=-csearch_path%3Dbridge"
    env = os.environ | {"DATABASE_URL": url, "BRIDGE_SECRET_KEY": KEY, "PORT": str(free_port())}
    run = [sys.executable, "-m", *command]
    refused = subprocess.run(run, cwd=ROOT, env=env, check=False, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1
    assert "cannot be used: (psycopg.errors.InvalidSchemaName) no schema" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_two_bridges_and_another_program_share_a_database_by_schemas(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE alembic_version AS SELECT '3f2a' AS version_num")
        owner.execute("CREATE TABLE accounts AS SELECT 1 AS id")
        owner.execute("CREATE SCHEMA one")
        owner.execute("CREATE SCHEMA other")
        for schema in ("one", "other"):
            engine = open_engine(f"{empty_url}&options=-csearch_path%3D{schema}")
            assert upgrade(engine) == upgrade(engine)
            engine.dispose()
        assert owner.execute("SELECT version_num FROM public.alembic_version").fetchall() == [("3f2a",)]


def test_statements_are_prepared_where_nobody_pools(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        for number in range(10):
            connection.execute(text("SELECT CAST(:number AS integer)"), {"number": number})
        prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%AS integer%%'"
        assert connection.exec_driver_sql(prepared).scalar_one() == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("datestyle", "SQL, DMY"),
        ("timezone", "Asia/Kathmandu"),
        ("intervalstyle", "sql_standard"),
        ("client_encoding", "LATIN1"),
        ("default_transaction_isolation", "serializable"),
    ],
)
def test_the_database_s_own_defaults_change_nothing(postgres_url: str, name: str, value: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        database_name = sql.Identifier(owner.info.dbname)
        owner.execute(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(database_name, sql.Identifier(name), value)
        )
    engine = open_engine(postgres_url)
    watch = a_watch(metadata='{"what": "naïve ≥ 1"}')
    added(engine, watch)
    with engine.begin() as connection:
        assert watches.get(connection, watch.id) == watch
        assert claims.claim(connection, State.WATCHING, {watch.account: 1}, ONE, watch.due_at or NOW)
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "read committed"
    engine.dispose()
