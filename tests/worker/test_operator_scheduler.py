"""The scheduler's part in operator webhooks: it sends events, and reports workers that are silent."""

from collections.abc import Iterator

import pytest
from sqlalchemy import insert, select

from bridge.core.operator_events import OperatorEventType, new_event
from bridge.db import heartbeats
from bridge.db import operator_events as store
from bridge.db.tables import host_breakers, operator_events
from bridge.steps.operator_events import OperatorWebhooks
from bridge.worker.scheduler import HEARTBEAT_SECONDS, Scheduler
from tests.makers import SECRET, real_clock
from tests.reliability.waiting import until
from tests.senders import a_sender
from tests.steps.peers import Peer, Reply
from tests.steps.rig import LEASE_SECONDS, POLICY, Rig


@pytest.fixture
def operator() -> Iterator[Peer]:
    with Peer(lambda _: Reply(status_code=204)).listening() as peer:
        yield peer


def a_scheduler(rig: Rig, name: str = "worker-1", *, has_operator: bool = True) -> Scheduler:
    """A clock that a test moves by hand."""
    return Scheduler(
        worker=rig.worker(name=name),
        engine=rig.engine,
        now=rig.clock,
        retention_days=30,
        has_credentials=True,
        counters=rig.counters,
        operator=webhooks_to(rig, "http://127.0.0.1:1") if has_operator else None,
    )


def webhooks_to(rig: Rig, url: str) -> OperatorWebhooks:
    callbacks = a_sender()
    rig.closing.callback(callbacks.close)
    return OperatorWebhooks(
        engine=rig.engine,
        callbacks=callbacks,
        url=url,
        secret=SECRET,
        policy=POLICY,
        lease_seconds=LEASE_SECONDS,
        clock=real_clock,
        jitter=lambda: 0.0,
    )


def beat(rig: Rig, *schedulers: Scheduler, times: int = 1) -> None:
    for _ in range(times):
        rig.clock.passes(HEARTBEAT_SECONDS)
        for scheduler in schedulers:
            scheduler._worker.drain()
            scheduler._beat()


def kept_events(rig: Rig) -> list[tuple[str, str, int]]:
    columns = operator_events.c.type, operator_events.c.subject, operator_events.c.count
    with rig.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*columns))]


def test_a_scheduler_sends_what_the_operator_is_told(rig: Rig, operator: Peer) -> None:
    scheduler = Scheduler(
        worker=rig.worker(clock=real_clock),
        engine=rig.engine,
        now=real_clock,
        retention_days=30,
        has_credentials=True,
        counters=rig.counters,
        operator=webhooks_to(rig, operator.url()),
    )
    scheduler.start()
    try:
        for subject in ("a.example.com", "b.example.com"):
            with rig.engine.begin() as connection:
                event = new_event(OperatorEventType.HOST_PAUSED, subject, None, real_clock())
                store.add(connection, [event])
        operator.wait_for(2)
        until(lambda: len(rig.events("operator_webhook_sent")) == 2)
    finally:
        scheduler.stop()
    webhooks_kept = [subject for _, subject, _ in kept_events(rig)]
    assert sorted(webhooks_kept) == ["a.example.com", "b.example.com"]


def test_a_worker_that_is_silent_is_told_once_whoever_sees_it(rig: Rig) -> None:
    with rig.engine.begin() as connection:
        heartbeats.record(connection, "worker-dead", rig.clock())
    schedulers = [a_scheduler(rig, f"worker-{number}") for number in range(2)]
    beat(rig, *schedulers, times=6)
    assert kept_events(rig) == []
    beat(rig, *schedulers, times=10)
    assert kept_events(rig) == [("worker.silent", "worker-dead", 1)]


def test_a_worker_that_stops_in_order_is_not_silent(rig: Rig) -> None:
    leaving, staying = a_scheduler(rig, "worker-1"), a_scheduler(rig, "worker-2")
    beat(rig, leaving, staying)
    with rig.engine.begin() as connection:
        heartbeats.remove(connection, "worker-1")
    beat(rig, staying, times=20)
    assert kept_events(rig) == []


def test_after_an_outage_nobody_is_taken_for_silent_who_comes_a_little_later(rig: Rig) -> None:
    early, late = a_scheduler(rig, "worker-1"), a_scheduler(rig, "worker-2")
    beat(rig, early, late, times=10)
    rig.clock.passes(600)
    beat(rig, early, times=2)
    beat(rig, early, late, times=10)
    assert kept_events(rig) == []


@pytest.mark.parametrize("has_operator", [True, False])
def test_the_pause_of_a_host_is_over_when_nothing_was_left_to_be_sent_for_a_day(
    rig: Rig, *, has_operator: bool
) -> None:
    paused_until = rig.clock()
    with rig.engine.begin() as connection:
        for name, until in (("paused", paused_until), ("well", None)):
            row = {"name": name, "failures": 5, "pause_seconds": 1.0, "paused_until": until}
            connection.execute(insert(host_breakers).values(row))
    rig.clock.passes(86_401)
    a_scheduler(rig, has_operator=has_operator)._prune()
    assert kept_events(rig) == ([("host.resumed", "paused", 1)] if has_operator else [])


def test_without_an_operator_nobody_is_marked_as_told(rig: Rig) -> None:
    with rig.engine.begin() as connection:
        heartbeats.record(connection, "worker-dead", rig.clock())
    beat(rig, a_scheduler(rig, has_operator=False), times=10)
    assert kept_events(rig) == []
    beat(rig, a_scheduler(rig), times=10)
    assert kept_events(rig) == [("worker.silent", "worker-dead", 1)]
