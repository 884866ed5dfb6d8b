"""Where a world stands: each kind of database, started, migrated, and able to go away."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from bridge import sandbox
from bridge.db.engine import open_engine
from bridge.db.migrations import upgrade
from bridge.sandbox import SandboxOptions
from tests.chaos.world import World
from tests.ports import free_port
from tests.postgres import temporary_server
from tests.reliability.api import Api
from tests.reliability.database import an_installation
from tests.reliability.ledger import Ledger
from tests.reliability.processes import processes
from tests.reliability.receiver import Receiver
from tests.replication import replicated_server

PLENTY = 1_000_000
# Whoever refuses gets all of these; who is well again gets its callback before the last.
SCHEDULE = "1,1,1,1,2,2,2,2,3,3"

LockDatabase = Callable[[World, float], None]


@contextmanager
def _sqlite(folder: Path) -> Iterator[tuple[str, LockDatabase]]:
    path = folder / "bridge.db"

    def lock(world: World, seconds: float) -> None:
        other = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN EXCLUSIVE")
        # To close it ends its transaction.
        world.later(seconds, other.close)
        world.done["SQLite locked"] += 1

    yield f"sqlite:///{path}", lock


@contextmanager
def _postgresql(_: Path) -> Iterator[tuple[str, LockDatabase]]:
    with temporary_server() as server:

        def restart(world: World, seconds: float) -> None:
            if server.is_running():
                how = world.random.choice(("fast", "immediate"))
                server.stop("immediate" if how == "immediate" else "fast")
                world.later(seconds, server.start)
                world.done[f"PostgreSQL restarted ({how})"] += 1

        yield server.create_database("bridge"), restart


@contextmanager
def _failover(_: Path) -> Iterator[tuple[str, LockDatabase]]:
    with replicated_server() as servers:
        complete = threading.Lock()

        def take_over() -> None:
            servers.fail_over()
            servers.replicate()
            complete.release()

        def crash(world: World, seconds: float) -> None:
            # Without a standby there is nobody to take over.
            if complete.acquire(blocking=False):
                servers.crash()
                world.later(seconds, take_over)
                world.done["PostgreSQL failed over"] += 1

        yield servers.create_database("bridge"), crash


DATABASES = {"sqlite": _sqlite, "postgresql": _postgresql, "failover": _failover}


@contextmanager
def world(database: str, random: Random) -> Iterator[World]:
    """A world on this kind of database; nothing is left of it when the block ends."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="chaos-")))
        url, lock_database = stack.enter_context(DATABASES[database](folder))
        engine = open_engine(url)
        upgrade(engine)
        engine.dispose()
        installation = stack.enter_context(an_installation(url))
        options = SandboxOptions(burst_requests=PLENTY, daily_requests=PLENTY)
        hubspot = stack.enter_context(sandbox.running(options))
        receiver = stack.enter_context(Receiver())
        port = free_port()
        env = installation.env(hubspot.url, PORT=str(port), BRIDGE_RETRY_SCHEDULE=SCHEDULE)
        made = World(
            random=random,
            installation=installation,
            hubspot=hubspot,
            receiver=receiver,
            ledger=Ledger(installation, receiver),
            api=Api(installation, port),
            processes=stack.enter_context(processes(env, folder, interpreter=True)),
            lock_database=lock_database,
        )
        # Before the processes end: a timer must find what it is to wake.
        stack.callback(made.wait_for_timers)
        yield made
