"""PostgreSQL behind PgBouncer in transaction mode: each transaction may run on another server connection."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, text

from bridge.db.engine import UNAVAILABLE, open_engine
from bridge.sandbox import Sandbox
from tests import pgbouncer
from tests.commands.conftest import Commands
from tests.pgbouncer import Pooler
from tests.postgres import PostgresServer
from tests.reliability.database import KEY, an_installation
from tests.reliability.deployments import Deployment, deployment
from tests.reliability.processes import Running, errors
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until

pytestmark = pytest.mark.skipif(pgbouncer.PROGRAM is None, reason="pgbouncer is not installed")

WATCHES = 80
# Few enough that each transaction finds what others have left.
SERVER_CONNECTIONS = 3
TIMEOUTS = {
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "15s",
    "transaction_timeout": "20s",
}


@pytest.fixture(scope="module")
def pooler(postgres_server: PostgresServer) -> Iterator[Pooler]:
    """A pooler as it ships."""
    with pgbouncer.pooled(postgres_server, pool_size=SERVER_CONNECTIONS) as running:
        yield running


@pytest.fixture(scope="module")
def bridge(
    pooler: Pooler,
    postgres_server: PostgresServer,
    hubspot: Sandbox,
    receiver: Receiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """A bridge that knows the pooler alone."""
    name = f"pooled_{uuid4().hex}"
    postgres_server.create_database(name)
    with ExitStack() as stack:
        stack.callback(postgres_server.drop_database, name)
        Commands(DATABASE_URL=pooler.url(name), BRIDGE_SECRET_KEY=KEY).said("migrate")
        installation = stack.enter_context(an_installation(pooler.url(name)))
        yield stack.enter_context(
            deployment(installation, hubspot, receiver, tmp_path_factory.mktemp("deployment"))
        )


@pytest.fixture(scope="module")
def second_worker(bridge: Deployment) -> Running:
    return bridge.processes.worker()


def test_each_is_told_exactly_once(bridge: Deployment, second_worker: Running) -> None:
    for pending_seconds in range(2):
        bridge.register(tasks=WATCHES // 2, pending_seconds=pending_seconds)
    until(bridge.ledger.settled)
    assert not bridge.ledger.problems()
    assert bridge.arrivals() == len(bridge.ledger.promises) == WATCHES
    assert not [*bridge.errors(), *errors(second_worker.log)]


@pytest.fixture(
    params=["", "ignore_startup_parameters = options, extra_float_digits"],
    ids=["as it ships", "with options ignored"],
)
def engines(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, postgres_url: str
) -> Iterator[list[Engine]]:
    """Those of several processes, all on one server connection."""
    database = str(conninfo_to_dict(postgres_url)["dbname"])
    with pgbouncer.pooled(postgres_server, pool_size=1, more=request.param) as running:
        engines = [open_engine(running.url(database)) for _ in range(3)]
        yield engines
        for engine in engines:
            engine.dispose()


def test_statements_that_come_often_need_no_session(engines: list[Engine]) -> None:
    # A driver that prepares them does so after a few times.
    for number in range(20):
        for engine in engines:
            with engine.begin() as connection:
                found = connection.execute(text("SELECT CAST(:number AS integer)"), {"number": number})
                assert found.scalar_one() == number


def test_each_transaction_has_its_time_outs_and_leaves_none(engines: list[Engine]) -> None:
    for engine in engines:
        with engine.connect() as connection:
            shown = {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in TIMEOUTS}
            assert shown == TIMEOUTS
            connection.rollback()
            driver = connection.connection.driver_connection
            assert driver is not None
            assert {driver.execute(f"SHOW {name}").fetchone() for name in TIMEOUTS} == {("0",)}


def test_a_restart_behind_the_pooler_is_an_outage_that_ends(own_postgres_server: PostgresServer) -> None:
    def works() -> bool:
        with suppress(*UNAVAILABLE), engine.begin() as connection:
            return bool(connection.execute(text("SELECT true")).scalar_one())
        return False

    # PgBouncer's own time-outs, 120 s and 15 s, are too long for a test.
    short_timeouts = "query_wait_timeout = 2\nserver_login_retry = 1"
    with pgbouncer.pooled(own_postgres_server, more=short_timeouts) as running:
        engine = open_engine(running.url("postgres"))
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            own_postgres_server.stop("immediate")
            with pytest.raises(UNAVAILABLE):
                connection.execute(text("SELECT 1"))
        assert not works()
        own_postgres_server.start()
        until(works)
        engine.dispose()
