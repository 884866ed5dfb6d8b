"""From registration to callback: which callbacks a client gets, and how they are sent."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
import time_machine
from sqlalchemy import Connection, update
from standardwebhooks import Webhook, WebhookVerificationError

from bridge.core.delivery import Trigger
from bridge.core.watch import Outcome, State, Watch, recheck, redeliver
from bridge.db import claims, watches
from bridge.db.tables import watches as table
from bridge.steps import clients
from bridge.steps.deliver import Deliveries, DeliveryJob
from bridge.steps.poll import time_out_overdue
from tests.makers import NOW
from tests.steps.peers import Reply, Request, saying
from tests.steps.rig import COMPLETE, Rig

FAILED = saying({"status": "COMPLETE", "errors": [{"message": "The URL answered 404."}]})


def verified(rig: Rig, request: Request, secret: str | None = None) -> bool:
    """Return whether the request's signature is valid at the time when it was sent."""
    with time_machine.travel(int(request.headers["webhook-timestamp"]), tick=False):
        try:
            Webhook(secret or rig.secret).verify(request.body, dict(request.headers))
        except WebhookVerificationError:
            return False
    return True


def test_a_task_that_completes_is_told_with_a_signature_that_verifies(rig: Rig) -> None:
    body = b'{"status":"COMPLETE", "result": {"id": "1"}, "size": 12345678901234567890, "f": 1.10}'
    rig.tasks.set("T1", Reply(status_code=200, body=body))
    watch, worker = rig.registered("T1"), rig.worker()
    worker.drain()
    assert not rig.hubspot.requests, "the first poll comes two seconds after the registration"
    rig.clock.passes(2)
    worker.drain()
    [asked], [told] = rig.hubspot.requests, rig.receiver.requests
    assert (asked.method, asked.path) == ("GET", "/files/v3/files/import-from-url/async/tasks/T1/status")
    assert asked.headers["authorization"] == "Bearer pat-test"
    assert (told.method, told.path) == ("POST", "/T1")
    assert told.headers["webhook-id"] == watch.id
    assert told.headers["content-type"] == "application/json"
    assert told.headers["user-agent"].startswith("hubspot-import-bridge/")
    assert verified(rig, told)
    assert told.json["type"] == "import.completed"
    assert told.json["data"]["metadata"] == {"task": "T1"}
    assert body in told.body
    after = rig.now(watch)
    assert (after.state, after.outcome, after.due_at) == (State.DELIVERED, Outcome.COMPLETED, None)
    assert (after.polls, after.attempts, after.last_status_code) == (1, 1, 200)
    [attempt] = rig.attempts(watch)
    assert (attempt.number, attempt.trigger, attempt.status_code) == (1, Trigger.SCHEDULE, 200)


def test_an_end_without_an_answer_is_told_with_the_last_one_in_the_same_bytes_each_time(rig: Rig) -> None:
    body = b'{"status": "PROCESSING", "seen": 1}'
    rig.tasks.set(
        "T1", Reply(status_code=200, body=body), Reply(status_code=404, body=b'{"status": "error"}')
    )
    rig.hooks.set("T1", Reply(status_code=500), Reply())
    watch, worker = rig.registered("T1"), rig.worker()
    for seconds in (2, 3, 11, 11, 6):
        rig.clock.passes(seconds)
        worker.drain()
    assert rig.now(watch).outcome is Outcome.REJECTED
    first, second = rig.receiver.requests
    assert first.json["data"]["hubspot"] == {"status": "PROCESSING", "seen": 1}
    assert first.body == second.body
    assert body in first.body


def test_a_task_that_ends_is_handed_off_without_a_second_claim(rig: Rig) -> None:
    claimed, seen = list[str](), list[Watch]()

    class Noting(Deliveries):
        def claim(
            self, connection: Connection, shares: Mapping[str, int], now: datetime
        ) -> list[DeliveryJob]:
            claimed.extend(shares)
            return super().claim(connection, shares, now)

    rig.tasks.set("T1", COMPLETE)
    watch, worker = rig.registered("T1"), rig.worker(deliveries=Noting)

    def answer(_: Request) -> Reply:
        seen.append(rig.now(watch))
        return Reply()

    rig.receiver.answer = answer
    rig.clock.passes(2)
    worker.drain()
    [during] = seen
    assert (during.state, during.claimed_by, during.attempts) == (State.DELIVERING, "worker-1", 0)
    assert during.due_at is not None
    assert during.ended_at is not None
    assert during.due_at > during.ended_at + timedelta(seconds=59)
    assert rig.now(watch).state is State.DELIVERED
    assert not claimed


def test_a_task_that_goes_on_is_asked_about_again(rig: Rig) -> None:
    rig.tasks.set("T1", saying(None, 202), saying({"status": "PENDING"}, 202), COMPLETE)
    watch, worker = rig.registered("T1"), rig.worker()
    for polls in (1, 2, 3):
        rig.clock.passes(4)
        worker.drain()
        assert rig.now(watch).polls == polls
    assert rig.now(watch).state is State.DELIVERED


@pytest.mark.parametrize(
    ("reply", "event"),
    [
        pytest.param(FAILED, "import.failed", id="failed"),
        pytest.param(saying({"status": "CANCELED"}), "import.canceled", id="canceled"),
        pytest.param(
            saying({"status": "COMPLETE", "result": {"id": "1"}, "numErrors": 1}),
            "import.completed_with_errors",
            id="with errors",
        ),
        pytest.param(
            saying({"status": "error", "message": "No such task"}, 404), "import.rejected", id="rejected"
        ),
    ],
)
def test_every_outcome_is_told(rig: Rig, reply: Reply, event: str) -> None:
    rig.tasks.set("T1", reply)
    watch, worker = rig.registered("T1"), rig.worker()
    for _ in range(3):
        rig.clock.passes(11)
        worker.drain()
    [told] = rig.receiver.requests
    assert (told.json["type"], told.json["data"]["error"]) == (event, rig.now(watch).error)
    assert rig.now(watch).state is State.DELIVERED


def test_a_task_that_hubspot_does_not_know_yet_is_not_rejected_by_rechecks(rig: Rig) -> None:
    unknown = saying({"status": "error", "message": "No such task"}, 404)
    rig.tasks.set("T1", *[unknown] * 4, COMPLETE)
    watch, worker = rig.registered("T1"), rig.worker()
    for _ in range(4):
        rig.clock.passes(2)
        _rechecked(rig, watch)
        worker.drain()
    assert (rig.now(watch).polls, rig.now(watch).refusals, rig.now(watch).outcome) == (4, 1, None)
    rig.clock.passes(10)
    worker.drain()
    assert rig.now(watch).outcome is Outcome.COMPLETED


def _rechecked(rig: Rig, watch: Watch) -> None:
    with rig.engine.begin() as connection:
        [locked] = watches.lock(connection, [watch.id])
        claims.save_watches(connection, [recheck(locked, now=rig.clock())])


def test_a_deadline_that_passes_is_told_after_one_last_poll_exactly_then(rig: Rig) -> None:
    watch, worker = rig.registered("T1", timeout_seconds=10), rig.worker()
    rig.clock.passes(9)
    worker.drain()
    assert rig.now(watch).due_at == watch.deadline_at
    rig.clock.passes(1)
    worker.drain()
    [told] = rig.receiver.requests
    assert (told.json["type"], rig.now(watch).polls) == ("import.timed_out", 2)
    assert told.json["data"]["hubspot"] == {"status": "PENDING"}


def test_a_withdrawn_watch_is_silent_even_while_hubspot_is_asked(rig: Rig) -> None:
    watch = rig.registered("T1")

    rig.withdraws_before_answering(rig.hubspot, watch)
    rig.clock.passes(2)
    rig.worker().drain()
    assert rig.now(watch).state is State.WITHDRAWN
    assert not rig.receiver.requests


def test_a_redelivery_goes_at_once_by_hand_and_is_the_same_message(rig: Rig) -> None:
    rig.tasks.set("T1", COMPLETE)
    rig.hooks.set("T1", Reply(status_code=410), Reply(status_code=200))
    watch, worker = rig.registered("T1"), rig.worker()
    rig.clock.passes(2)
    worker.drain()
    assert rig.now(watch).state is State.UNDELIVERED
    with rig.engine.begin() as connection:
        [locked] = watches.lock(connection, [watch.id])
        claims.save_watches(connection, [redeliver(locked, now=rig.clock())])
    worker.drain()
    first, second = rig.receiver.requests
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert verified(rig, second)
    assert [attempt.trigger for attempt in rig.attempts(watch)] == [Trigger.SCHEDULE, Trigger.MANUAL]
    assert rig.now(watch).state is State.DELIVERED


def test_while_secrets_rotate_a_callback_verifies_with_either(rig: Rig) -> None:
    new = clients.rotate_secret(rig.engine, rig.cipher, "cms", overlap_seconds=3_600, now=rig.clock())
    assert isinstance(new, str)
    rig.tasks.set("T1", COMPLETE)
    rig.tasks.set("T2", COMPLETE)
    rig.registered("T1")
    rig.clock.passes(2)
    worker = rig.worker()
    worker.drain()
    [told] = rig.receiver.requests
    assert verified(rig, told, rig.secret)
    assert verified(rig, told, new)
    rig.clock.passes(3_600)
    rig.registered("T2")
    rig.clock.passes(2)
    worker.drain()
    assert not verified(rig, rig.receiver.requests[-1], rig.secret)
    assert verified(rig, rig.receiver.requests[-1], new)


def test_a_callback_of_another_kind_is_called_by_that_kind(rig: Rig) -> None:
    rig.hubspot.answer = lambda _: saying({"status": "COMPLETE", "result": "https://x.example/1.csv"})
    rig.registered("T1", kind="crm-export")
    rig.clock.passes(2)
    rig.worker().drain()
    [asked], [told] = rig.hubspot.requests, rig.receiver.requests
    assert asked.path == "/crm/v3/exports/export/async/tasks/T1/status"
    assert told.json["type"] == "crm-export.completed"


def test_what_cannot_be_polled_any_more_is_timed_out_by_the_chore(rig: Rig) -> None:
    watch = rig.registered("T1", timeout_seconds=10)
    with rig.engine.begin() as connection:
        waiting = update(table).where(table.c.id == watch.id)
        connection.execute(waiting.values(due_at=watch.deadline_at))
    rig.clock.passes(75)
    assert time_out_overdue(rig.engine, rig.clock(), steady_since=NOW) == 1
    assert time_out_overdue(rig.engine, rig.clock(), steady_since=NOW) == 0
    rig.worker().drain()
    [told] = rig.receiver.requests
    assert told.json["type"] == "import.timed_out"
    assert not rig.hubspot.requests
    assert rig.now(watch).state is State.DELIVERED
