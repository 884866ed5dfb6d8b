"""PostgreSQL's row locks: taken in one order, so that nobody waits in a circle, and what a wait for one means."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Table, select, text, update

from bridge.core.polling import end
from bridge.core.watch import Outcome, State
from bridge.db import breakers as store
from bridge.db import claims, watches
from bridge.db.tables import account_breakers
from bridge.db.tables import watches as watches_table
from bridge.sandbox import Sandbox
from bridge.settings import Settings
from bridge.wiring import Bridge
from bridge.worker.loop import Worker
from tests.makers import real_clock
from tests.postgres import someone_waits
from tests.reliability.conftest import NewInstallation
from tests.reliability.database import LEASE_SECONDS, Installation
from tests.reliability.receiver import Receiver
from tests.reliability.scenarios import idle_worker
from tests.reliability.waiting import until

HOST = "127.0.0.1"
CLAIMANT = claims.Claimant(worker="worker-1", lease_seconds=LEASE_SECONDS)


@pytest.fixture(scope="module")
def installation(new_installation: NewInstallation) -> Installation:
    return new_installation("postgresql")


@pytest.fixture
def worker(installation: Installation, hubspot: Sandbox) -> Iterator[Worker]:
    with idle_worker(installation, hubspot) as worker:
        yield worker


def ended(installation: Installation, watch_id: str) -> None:
    """Have a callback be due."""
    with installation.engine.begin() as connection:
        [watch] = watches.lock(connection, [watch_id])
        claims.save_watches(connection, [end(watch, Outcome.COMPLETED, None, now=real_clock())])


def is_free(connection: Connection, table: Table, name: str) -> bool:
    """Tell whether nobody holds a row's lock."""
    row = select(table.c.name).where(table.c.name == name).with_for_update(skip_locked=True)
    return connection.execute(row).first() is not None


def test_whoever_waits_for_a_host_s_breaker_holds_no_account_s(
    installation: Installation, worker: Worker, hubspot: Sandbox, receiver: Receiver
) -> None:
    to_poll, to_deliver = hubspot.state.add_tasks(tasks=2)
    installation.register([to_poll], receiver.url(installation))
    [delivering] = installation.register([to_deliver], receiver.url(installation, "flaky"))
    ended(installation, delivering)
    done: list[Any] = [worker._work(job) for job in worker._claim()]
    assert len(done) == 2
    with ThreadPoolExecutor(1) as saver, installation.engine.begin() as holder:
        store.lock_hosts(holder, {HOST})
        saving = saver.submit(worker._save, done)
        until(lambda: someone_waits(installation.engine))
        with installation.engine.connect() as onlooker:
            assert is_free(onlooker, account_breakers, "default")
        holder.rollback()
        saving.result()


def done_after_a_wait(installation: Installation, work: Callable[[], Any]) -> tuple[Any, datetime]:
    """Have `work` wait for the lock of `default`; return what it returned, and when the lock was still held."""
    with ThreadPoolExecutor(1) as pool, installation.engine.begin() as holder:
        store.lock_account_limits(holder, {"default"})
        working = pool.submit(work)
        until(lambda: someone_waits(installation.engine))
        held_at = real_clock()
        holder.rollback()
        return working.result(), held_at


def test_a_poll_counts_from_when_its_account_s_lock_came(
    installation: Installation, worker: Worker, hubspot: Sandbox, receiver: Receiver
) -> None:
    installation.register(hubspot.state.add_tasks(), receiver.url(installation))
    jobs, held_at = done_after_a_wait(installation, worker._claim)
    assert [job.claimed_at > held_at for job in jobs] == [True]


def test_the_start_of_an_import_counts_from_when_its_account_s_lock_came(
    installation: Installation, hubspot: Sandbox
) -> None:
    bridge = Bridge(Settings.load(installation.env(hubspot.url)))
    granted, held_at = done_after_a_wait(installation, lambda: bridge.hubspot_calls.acquire("default"))
    assert granted.lease_ends_at > held_at + timedelta(seconds=LEASE_SECONDS)
    bridge.engine.dispose()


def test_a_claim_never_waits_for_a_watch_that_is_being_saved(
    installation: Installation, hubspot: Sandbox, receiver: Receiver
) -> None:
    held, free = installation.register(hubspot.state.add_tasks(tasks=2), receiver.url(installation))
    with installation.engine.begin() as saver, installation.engine.begin() as claimer:
        watches.lock(saver, [held])
        # A claim that waits fails, instead of hanging.
        claimer.execute(text("SET LOCAL lock_timeout = '1s'"))
        urgent = claims.claim_urgent(claimer, "default", 2, CLAIMANT, real_clock(), odd_to_young=True)
        assert [watch.id for watch in urgent] == [free]
        claimer.rollback()
    with installation.engine.begin() as saver, installation.engine.begin() as claimer:
        watches.lock(saver, [held])
        claimer.execute(text("SET LOCAL lock_timeout = '1s'"))
        longest = claims.claim(claimer, State.WATCHING, {"default": 2}, CLAIMANT, real_clock())
        assert [watch.id for watch in longest] == [free]


def test_an_account_that_is_well_again_locks_its_watches_in_order(
    installation: Installation, hubspot: Sandbox, receiver: Receiver
) -> None:
    first, second = sorted(
        installation.register(hubspot.state.add_tasks(tasks=2), receiver.url(installation))
    )
    # Whoever locks them as they lie in the table comes to the second one first.
    for watch_id in (second, first):
        backing_off = update(watches_table).where(watches_table.c.id == watch_id)
        with installation.engine.begin() as connection:
            connection.execute(backing_off.values(failures=1, due_at=real_clock() + timedelta(hours=1)))

    def retry() -> None:
        with installation.engine.begin() as connection:
            watches.make_failed_polls_due(connection, "default", real_clock())

    with ThreadPoolExecutor(1) as pool, installation.engine.begin() as holder:
        watches.lock(holder, [first])
        retrying = pool.submit(retry)
        until(lambda: someone_waits(installation.engine))
        with installation.engine.connect() as onlooker:
            free = select(watches_table.c.id).where(watches_table.c.id == second)
            assert onlooker.execute(free.with_for_update(skip_locked=True)).first()
            onlooker.rollback()
        holder.rollback()
        retrying.result()
