"""`gunicorn app:app` starts while PostgreSQL is away: the database is migrated and checked before it is first used."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from cryptography.fernet import Fernet
from gunicorn.arbiter import Arbiter
from sqlalchemy import func, select

from bridge.db import encryption, migrations
from bridge.db.encryption import Cipher, WrongSecretKey
from bridge.db.engine import NotPrepared, open_engine, reading
from bridge.db.tables import counters, workers
from tests.ports import free_port
from tests.postgres import PostgresServer
from tests.reliability.processes import Running, errors, lines, processes
from tests.reliability.waiting import until
from tests.web.wire import ADMIN_KEY

WATCH = {"task_id": "AAAAEZ6whGI", "callback_url": "https://app.example.com/hooks/hubspot"}


class LateDatabase:
    """A database without tables, which may go and come."""

    def __init__(self, server: PostgresServer) -> None:
        self._server, self._name = server, f"late_{uuid4().hex}"
        self.url = server.create_database(self._name)

    def goes(self) -> None:
        self._server.close_database(self._name)

    def comes(self) -> None:
        self._server.open_database(self._name)

    def drop(self) -> None:
        self._server.drop_database(self._name)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[LateDatabase]:
    database = LateDatabase(postgres_server)
    yield database
    database.drop()


class Web:
    """A gunicorn of two web processes, with a worker in each, that was started while the database was away."""

    def __init__(self, running: Running, port: int) -> None:
        self.running = running
        self._url = f"http://127.0.0.1:{port}"

    def ready(self) -> requests.Response:
        return requests.get(f"{self._url}/readyz", timeout=20)

    def register(self) -> requests.Response:
        key = {"Authorization": f"Bearer {ADMIN_KEY}"}
        return requests.post(f"{self._url}/v1/watches", json=WATCH, headers=key, timeout=20)


Start = Callable[[], Web]


@pytest.fixture
def start(database: LateDatabase, tmp_path: Path) -> Iterator[Start]:
    """A function that starts a Web, which answers `/healthz` when the function returns."""
    env = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database.url,
        "BRIDGE_SECRET_KEY": Fernet.generate_key().decode(),
        "BRIDGE_ADMIN_KEY": ADMIN_KEY,
    }
    with processes(env, tmp_path) as started:

        def start() -> Web:
            database.goes()
            port = free_port()
            return Web(started.web(port, workers=2), port)

        yield start


def test_nothing_is_served_before_the_database_is_migrated_and_checked(
    database: LateDatabase, start: Start
) -> None:
    web = start()
    # The processes that follow must wait, too.
    web.running.send(signal.SIGHUP)
    until(lambda: len(lines(web.running.log, "worker_stopped")) == 2)
    ready, registered = web.ready(), web.register()
    assert (ready.status_code, ready.json()["problems"]) == (503, [str(NotPrepared())])
    assert (registered.status_code, registered.json()["type"]) == (503, "/problems/database-away")
    assert registered.json()["detail"] == str(NotPrepared())
    database.comes()
    until(lambda: len(lines(web.running.log, "database_ready")) == 2)
    assert web.register().status_code == 201
    assert web.running.stop() == 0
    assert not errors(web.running.log)


def test_a_key_that_does_not_fit_ends_gunicorn_before_anything_is_written(
    database: LateDatabase, start: Start
) -> None:
    engine = open_engine(database.url)
    migrations.upgrade(engine)
    with engine.begin() as connection:
        encryption.check_keys(connection, Cipher([Fernet.generate_key().decode()]))
    engine.dispose()
    web = start()
    database.comes()
    assert web.running.wait() == Arbiter.APP_LOAD_ERROR
    log = web.running.log.read_text()
    assert log.count(f"BRIDGE_SECRET_KEY: {WrongSecretKey()}\n") == 1
    assert "Traceback" not in log
    with reading(engine) as connection:
        assert not connection.scalar(select(func.count()).select_from(workers))
        assert not connection.scalar(select(func.count()).select_from(counters))
    engine.dispose()


def test_a_stop_does_not_wait_for_the_database(start: Start) -> None:
    web = start()
    assert web.running.stop() == 0
    assert not errors(web.running.log)
