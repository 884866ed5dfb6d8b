"""`/healthz` and `/readyz`."""

import logging
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, text

from bridge.db.tables import account_breakers, host_breakers, workers
from tests.makers import NOW
from tests.web.api import Api, members, serving

BREAKER = {"failures": 3, "pause_seconds": 30.0, "reason": "HubSpot answered 401"}


def works(api: Api) -> None:
    """A worker is alive."""
    api.insert(workers, id="worker-1", started_at=NOW, ticked_at=api.clock())


def due(api: Api, *, minutes: float, task_id: str = "AAAA", **columns: Any) -> str:
    """A watch whose next step has been due for that long."""
    watch_id: str = api.admin.register(task_id)["id"]
    api.change(watch_id, due_at=NOW - timedelta(minutes=minutes), **columns)
    return watch_id


def ready(api: Api) -> tuple[int, list[str]]:
    response = api.nobody.get("/readyz")
    told = members(response)
    assert told["status"] == ("ready" if response.status_code == 200 else "not ready")
    assert bool(told["problems"]) == (response.status_code == 503)
    return response.status_code, told["problems"]


def test_the_process_lives_whatever_the_database_does(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path}/nowhere/bridge.db") as api:
        response = api.nobody.get("/healthz")
        assert (response.status_code, members(response)) == (200, {"status": "ok"})
        assert ready(api) == (503, ["The database does not answer."])


@pytest.mark.parametrize(
    ("why", "told"),
    [
        ("database or disk is full", "The database's disk is full."),
        ("database is locked", "The database is busy."),
        ("unable to open database file", "The database does not answer."),
    ],
)
def test_a_database_that_cannot_work_is_told_as_what_it_is(sqlite_api: Api, why: str, told: str) -> None:
    @event.listens_for(sqlite_api.dependencies.engine, "do_execute")
    def fail(*_: Any) -> None:
        raise sqlite3.OperationalError(why)

    assert ready(sqlite_api) == (503, [told])


def test_a_bridge_with_a_worker_and_nothing_late_is_ready(api: Api) -> None:
    works(api)
    due(api, minutes=4)
    assert ready(api) == (200, [])


def test_a_look_at_the_health_leaves_no_line_in_the_log(
    sqlite_api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    works(sqlite_api)
    with caplog.at_level(logging.INFO):
        assert ready(sqlite_api) == (200, [])
    assert not caplog.messages


def test_health_checkers_may_add_what_they_like(sqlite_api: Api) -> None:
    works(sqlite_api)
    assert sqlite_api.nobody.get("/healthz?now=1&now=2").status_code == 200
    assert sqlite_api.nobody.get("/readyz?now=1").status_code == 200


def test_a_database_that_is_not_migrated_is_told(sqlite_api: Api) -> None:
    works(sqlite_api)
    sqlite_api.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    status, [told] = ready(sqlite_api)
    assert status == 503
    assert "python -m bridge migrate" in told


def test_without_a_worker_nothing_moves(api: Api) -> None:
    asleep = (503, ["No worker was alive within the last 60 s."])
    assert ready(api) == asleep
    works(api)
    assert ready(api) == (200, [])
    api.clock.passes(61)
    assert ready(api) == asleep


def test_polls_that_are_long_overdue_are_told(api: Api) -> None:
    works(api)
    due(api, minutes=6)
    assert ready(api) == (
        503,
        ["Polls are overdue, the oldest since 2026-11-21T11:54:00.000000Z (accounts: 1)."],
    )


def test_callbacks_that_are_long_overdue_are_told(api: Api) -> None:
    works(api)
    due(api, minutes=6, state="delivering", outcome="failed")
    assert ready(api) == (
        503,
        ["Callbacks are overdue, the oldest since 2026-11-21T11:54:00.000000Z (hosts: 1)."],
    )


def test_what_waits_for_a_paused_account_is_not_late_but_the_account_is_named(api: Api) -> None:
    works(api)
    due(api, minutes=6)
    until = NOW + timedelta(minutes=15)
    api.insert(account_breakers, name="default", paused_until=until, headroom=1.0, **BREAKER)
    assert ready(api) == (200, [])
    assert members(api.nobody.get("/readyz"))["paused_accounts"] == [
        {"name": "default", "until": "2026-11-21T12:15:00.000000Z", "reason": "HubSpot answered 401"}
    ]


def test_what_waits_for_a_paused_host_is_not_late(api: Api) -> None:
    works(api)
    due(api, minutes=6, state="delivering", outcome="failed")
    api.insert(host_breakers, name="app.example.com", paused_until=NOW, **BREAKER)
    assert ready(api) == (200, [])


@pytest.mark.parametrize(("seconds_ago", "status"), [(30, 200), (-300, 200), (90, 503)])
def test_what_the_quota_holds_back_is_not_late(api: Api, seconds_ago: int, status: int) -> None:
    works(api)
    due(api, minutes=6)
    free_at = NOW - timedelta(seconds=seconds_ago)
    breaker = BREAKER | {"reason": None, "failures": 0}
    api.insert(account_breakers, name="default", free_at=free_at, headroom=1.0, **breaker)
    assert ready(api)[0] == status


def overdue(api: Api) -> dict[str, float]:
    """What the metrics say is overdue, by step."""
    metrics = text_string_to_metric_families(api.admin.get("/metrics").text)
    [found] = [metric for metric in metrics if metric.name == "bridge_overdue"]
    return {sample.labels["step"]: sample.value for sample in found.samples}


def test_the_metrics_call_overdue_what_makes_the_bridge_unready(api: Api) -> None:
    works(api)
    due(api, minutes=6)
    due(api, minutes=6, task_id="BBBB", state="delivering", outcome="failed")
    assert (ready(api)[0], overdue(api)) == (503, {"poll": 1, "deliver": 1})
    breaker = BREAKER | {"reason": None, "failures": 0}
    api.insert(account_breakers, name="default", free_at=NOW, headroom=1.0, **breaker)
    api.insert(host_breakers, name="app.example.com", paused_until=NOW, **BREAKER)
    assert (ready(api)[0], overdue(api)) == (200, {"poll": 0, "deliver": 0})


def test_callbacks_to_a_slow_host_are_not_late_while_one_is_on_its_way(api: Api) -> None:
    works(api)
    delivering = {"state": "delivering", "outcome": "failed"}
    due(api, minutes=6, **delivering)
    in_flight = due(api, minutes=-1, task_id="BBBB", claimed_by="worker-1", **delivering)
    assert ready(api) == (200, [])
    api.change(in_flight, due_at=NOW - timedelta(seconds=1))
    assert ready(api)[0] == 503


def test_a_callback_that_waits_for_its_next_attempt_is_not_on_its_way(api: Api) -> None:
    works(api)
    delivering = {"state": "delivering", "outcome": "failed"}
    due(api, minutes=6, **delivering)
    due(api, minutes=-1, task_id="BBBB", **delivering)
    assert ready(api)[0] == 503
