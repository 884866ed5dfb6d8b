"""Results: one log line each, a warning for a callback that is given up, and nothing before the commit."""

from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from bridge.core.counters import ATTEMPTS, GIVEN_UP, LEASES_LOST, POLLS
from bridge.core.watch import State
from bridge.db import counters
from bridge.db.counters import Counts
from bridge.db.engine import reading
from tests.steps.peers import Reply
from tests.steps.rig import COMPLETE, POLICY, Rig


def counted(rig: Rig) -> Counts:
    rig.counters.flush(rig.engine, rig.clock())
    with reading(rig.engine) as connection:
        return counters.totals(connection)


def test_a_callback_that_is_given_up_is_a_warning_that_says_how_to_send_it_again(rig: Rig) -> None:
    rig.tasks.set("T1", COMPLETE)
    rig.hooks.set("T1", Reply(status_code=410))
    watch = rig.registered("T1")
    rig.clock.passes(2)
    rig.worker().drain()
    [line] = rig.events("callback_given_up")
    assert line == {
        "event": "callback_given_up",
        "log_level": "warning",
        "watch": watch.id,
        "host": watch.callback_host,
        "status_code": 410,
        "error": "The receiver answered 410",
        "hint": f"python -m bridge watches redeliver {watch.id}",
    }
    assert counted(rig).of(GIVEN_UP) == {(): 1}


def test_a_callback_that_is_tried_again_is_not_given_up(rig: Rig) -> None:
    rig.tasks.set("T1", COMPLETE)
    rig.hooks.set("T1", Reply(status_code=500))
    watch, worker = rig.registered("T1"), rig.worker()
    rig.clock.passes(2)
    for _ in POLICY.schedule_seconds:
        worker.drain()
        assert not rig.events("callback_given_up")
        rig.clock.passes(60)
    worker.drain()
    assert rig.now(watch).state is State.UNDELIVERED
    assert [line["status_code"] for line in rig.events("callback_given_up")] == [500]


@pytest.mark.parametrize("result", ["poll", "attempt"])
def test_what_the_database_did_not_take_is_told_once_when_it_does(rig: Rig, result: str) -> None:
    rig.tasks.set("T1", COMPLETE)
    rig.hooks.set("T1", Reply(status_code=410))
    rig.registered("T1")
    rig.clock.passes(2)
    failures: list[int] = []

    @event.listens_for(rig.engine, "before_cursor_execute")
    def fail(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        saves = "INTO attempts" if result == "attempt" else "INTO answers"
        if saves in statement and len(failures) < 2:
            failures.append(1)
            raise OperationalError(statement, {}, OSError("gone"))

    rig.worker().drain()
    assert len(failures) == 2
    assert counted(rig).of(POLLS) == {("ended",): 1}
    assert counted(rig).of(ATTEMPTS) == {("4xx", "schedule"): 1}
    assert len(rig.events("callback_given_up")) == len(rig.events("task_ended")) == 1


@pytest.mark.parametrize("step", ["poll", "attempt"])
def test_a_result_that_nobody_wants_any_more_is_no_lost_lease(rig: Rig, step: str) -> None:
    rig.tasks.set("T1", COMPLETE)
    watch = rig.registered("T1")

    rig.withdraws_before_answering(rig.hubspot if step == "poll" else rig.receiver, watch)
    rig.clock.passes(2)
    rig.worker().drain()
    state = State.WATCHING if step == "poll" else State.DELIVERING
    told = {"event": "withdrawn_meanwhile", "log_level": "info", "watch": watch.id, "state": state}
    assert rig.events("withdrawn_meanwhile") == [told]
    assert not rig.events("lease_lost")
    assert not counted(rig).of(LEASES_LOST)


def test_an_attempt_is_counted_by_what_came_of_it(rig: Rig) -> None:
    rig.other_client("unreadable", readable=False)
    for number, code in enumerate((204, 301, 404, 503, 999)):
        rig.tasks.set(f"T{number}", COMPLETE)
        rig.hooks.set(f"T{number}", Reply(status_code=code))
        rig.registered(f"T{number}")
    rig.tasks.set("TX", COMPLETE)
    rig.registered("TX", client="unreadable")
    rig.tasks.set("TY", COMPLETE)
    rig.registered("TY", callback_url="http://127.0.0.1:1/")
    rig.clock.passes(2)
    rig.worker().drain()
    found = counted(rig).of(ATTEMPTS)
    assert found == {
        (result, "schedule"): 1 for result in ("2xx", "3xx", "4xx", "5xx", "9xx", "not_sent", "no_answer")
    }
