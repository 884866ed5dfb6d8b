"""The quota among real processes: HubSpot's own count, while the client's app uses the rest in bursts."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from bridge import sandbox
from bridge.db.tables import watches
from bridge.sandbox import Sandbox, SandboxOptions
from tests.postgres import PostgresServer
from tests.reliability.database import an_installation
from tests.reliability.processes import WORKER, running
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until

WORKERS = 3
# More than HubSpot's window each: first the bridge alone, then beside the client's app.
ALONE_SECONDS, TOGETHER_SECONDS = 12.0, 14.0
# HubSpot's: so many requests in any ten seconds. Half is the bridge's.
LIMIT, SHARE = 100, 50
# The client's app asks for its half in bursts, and never for more of it in any ten seconds.
BURST, BURST_SECONDS = 25, 5.05
# A claim is over when its answer is saved: some hundredths of a second.
LOOK_SECONDS = 0.005
SETTINGS = {"HUBSPOT_RATE_LIMIT": f"{LIMIT}/10", "HUBSPOT_RATE_SHARE": "0.5", "BRIDGE_LEASE_SECONDS": "30"}


@contextmanager
def meanwhile(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Have `work` done by a thread, until the event says that it is over."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=[over])
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class App:
    """The client's own app: it uses what is its own of the quota, whatever the bridge does."""

    def __init__(self, hubspot: Sandbox) -> None:
        self.taken = self.refused = 0
        self._hubspot = hubspot

    def work(self, over: threading.Event) -> None:
        while not over.is_set():
            taken = self._hubspot.state.take_quota("sandbox-token", BURST)
            self.taken += taken
            self.refused += BURST - taken
            over.wait(BURST_SECONDS)


class Claims:
    """Which workers have claimed something, seen by looking very often."""

    def __init__(self, engine: Engine) -> None:
        self.workers: set[str] = set()
        self._engine = engine

    def look(self, over: threading.Event) -> None:
        claimed = select(watches.c.claimed_by).where(watches.c.claimed_by.is_not(None))
        with self._engine.connect() as connection:
            while not over.wait(LOOK_SECONDS):
                with connection.begin():
                    self.workers |= set(connection.scalars(claimed))


def requests_of(hubspot: Sandbox) -> int:
    return int(hubspot.state.ledger()["endpoints"].get("file-import", 0))


@pytest.fixture(scope="module")
def ledger(
    postgres_server: PostgresServer, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What HubSpot has counted, after three workers had hundreds of due watches and half of the quota."""
    folder = tmp_path_factory.mktemp("quota")
    url = postgres_server.create_database("bridge_quota", template=postgres_template)
    with ExitStack() as closing:
        hubspot = closing.enter_context(sandbox.running(SandboxOptions(burst_requests=LIMIT)))
        receiver, installation = (
            closing.enter_context(Receiver()),
            closing.enter_context(an_installation(url)),
        )

        def register(tasks: int) -> None:
            unfinished = hubspot.state.add_tasks(tasks=tasks, pending_seconds=0, processing_seconds=600)
            installation.register(unfinished, receiver.url(installation))

        register(2 * WORKERS)
        for number in range(WORKERS):
            log = Path(folder) / f"{number}.log"
            closing.enter_context(running(installation.env(hubspot.url, **SETTINGS), log, *WORKER))
        claims = Claims(installation.engine)
        # A process's first request leaves late, and would share ten seconds with one that was granted ten later.
        with meanwhile(claims.look):
            until(lambda: len(claims.workers) == WORKERS)
        claims.workers.clear()
        closing.enter_context(meanwhile(claims.look))
        register(400)
        time.sleep(ALONE_SECONDS)
        app, before = App(hubspot), requests_of(hubspot)
        with meanwhile(app.work):
            time.sleep(TOGETHER_SECONDS)
        total = requests_of(hubspot) - before
        yield {"app": app, "claims": claims, "total": total} | hubspot.state.ledger()
    postgres_server.drop_database("bridge_quota")


def test_no_ten_seconds_hold_more_than_the_share(ledger: dict[str, Any]) -> None:
    assert ledger["accounts"]["sandbox-token"]["peak_requests"] <= SHARE


def test_the_share_is_used_and_yet_the_client_s_app_always_gets_its_own(ledger: dict[str, Any]) -> None:
    assert ledger["accounts"]["sandbox-token"]["peak_requests"] >= SHARE * 0.7
    assert ledger["app"].taken >= 2 * BURST
    assert ledger["app"].refused == 0


def test_hardly_a_request_is_one_too_many(ledger: dict[str, Any]) -> None:
    answered = sum(ledger["status_codes"].values())
    assert ledger["status_codes"].get("429", 0) <= answered * 0.01


def test_beside_the_client_s_app_the_bridge_still_asks(ledger: dict[str, Any]) -> None:
    assert ledger["total"] >= 0.15 * SHARE * TOGETHER_SECONDS / 10


def test_every_worker_had_its_part(ledger: dict[str, Any]) -> None:
    assert len(ledger["claims"].workers) == WORKERS
