"""Sample data of every kind, for the tests in a browser and the screenshots."""

import json
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert

from bridge.core.counters import ATTEMPTS, DELIVERY_DELAY, DETECTION_DELAY, ENDED, REGISTRATIONS
from bridge.core.delivery import Trigger
from bridge.core.watch import Outcome
from bridge.db.accounts import AccountChange, Credentials
from bridge.db.counters import Counters
from bridge.db.ids import earliest_watch_id
from bridge.db.tables import (
    account_breakers,
    account_days,
    answers,
    attempts,
    host_breakers,
    watches,
    workers,
)
from bridge.steps import clients
from tests.makers import NOW
from tests.web.api import Api

HOSTS = ("app.example.com", "crm.acme.example", "hooks.globex.example", "imports.initech.example")
RESULT = {
    "status": "COMPLETE",
    "taskId": "AAAAEZ6whGI",
    "startedAt": "2026-11-21T11:58:01.120Z",
    "completedAt": "2026-11-21T11:58:09.456Z",
    "result": {"id": "57838364571", "name": "report", "extension": "csv", "size": 48213, "access": "PRIVATE"},
}


def add_all(api: Api) -> None:
    """Add all of the sample data, as of NOW."""
    _count(api)
    for name, admin in (("cms", False), ("crm-sync", False), ("warehouse", False), ("ops", True)):
        clients.add(api.dependencies.engine, api.dependencies.cipher, name, admin=admin, now=_ago(days=12))
    clients.revoke(api.dependencies.engine, "warehouse", now=_ago(days=2))
    with api.dependencies.engine.begin() as connection:
        for name in ("default", "emea", "sandbox"):
            change = AccountChange(
                credentials=Credentials(access_token="pat-na1-0"),
                rate_limit=(190, 10.0) if name == "emea" else None,
            )
            api.dependencies.accounts.put(connection, name, change, _ago(days=12))
        connection.execute(insert(account_breakers), list(map(_breaker, _ACCOUNTS)))
        for name, requests, errors in (("default", 18_412, 97), ("emea", 60_271, 204), ("sandbox", 240, 31)):
            day = NOW.date()
            connection.execute(
                insert(account_days).values(account=name, day=day, requests=requests, errors=errors)
            )
        connection.execute(insert(host_breakers), list(map(_breaker, _HOSTS)))
        connection.execute(
            insert(workers),
            [
                {"id": "bridge-1-812-9f31c2aa", "started_at": _ago(days=1), "ticked_at": _ago(seconds=3)},
                {"id": "bridge-2-77-10be44d0", "started_at": _ago(days=1), "ticked_at": _ago(seconds=7)},
                {"id": "bridge-3-1204-c0ffee00", "started_at": _ago(hours=9), "ticked_at": _ago(minutes=42)},
            ],
        )
        rows = [_watch(number) for number in range(100)]
        connection.execute(insert(watches), rows)
        for row in rows:
            if row["status"]:
                body = RESULT if row["status"] == "COMPLETE" else {"status": row["status"]}
                connection.execute(insert(answers).values(watch_id=row["id"], body=json.dumps(body)))
            for attempt in _attempts(row):
                connection.execute(insert(attempts).values(**attempt))


def _count(api: Api) -> None:
    """Count a day's work: much in the morning, little at night."""
    for ago in range(24):
        busy, counted = 12 + 11 * (ago * ago % 7), Counters()
        counted.inc(REGISTRATIONS, by=busy)
        counted.inc(ENDED, Outcome.COMPLETED, by=busy - 6)
        counted.inc(ENDED, Outcome.COMPLETED_WITH_ERRORS, by=ago % 4)
        counted.inc(ENDED, Outcome.FAILED, by=ago % 3)
        counted.inc(ATTEMPTS, "2xx", Trigger.SCHEDULE, by=busy - 6)
        counted.inc(ATTEMPTS, "5xx", Trigger.SCHEDULE, by=ago * ago % 9)
        for number in range(busy):
            counted.observe(
                DETECTION_DELAY, 0.7 + number * ago % 5, ("default", "emea", "sandbox")[number % 3]
            )
            counted.observe(DELIVERY_DELAY, 0.2 + number * ago % 4 / 2)
        counted.flush(api.dependencies.engine, _ago(hours=ago))


def _ago(**span: float) -> Any:
    return NOW - timedelta(**span)


_ACCOUNTS: tuple[dict[str, Any], ...] = (
    {"name": "default", "daily_remaining": 481_204, "observed_at": _ago(seconds=2), "headroom": 1.0},
    {"name": "emea", "daily_remaining": 139_729, "observed_at": _ago(seconds=1), "headroom": 0.6},
    {
        "name": "sandbox",
        "failures": 4,
        "paused_at": _ago(minutes=6),
        "paused_until": _ago(minutes=-9),
        "pause_seconds": 900.0,
        "reason": "HubSpot answered 401: The OAuth token used to make this call expired 2 day(s) ago. "
        "Give the account a valid token.",
    },
)
_HOSTS: tuple[dict[str, Any], ...] = (
    {
        "name": "hooks.globex.example",
        "failures": 37,
        "paused_at": _ago(seconds=8),
        "paused_until": _ago(seconds=-7),
        "pause_seconds": 15.0,
        "reason": "The receiver did not answer: the connection was refused",
    },
    {"name": "imports.initech.example", "slow_start": 2},
)


def _breaker(given: dict[str, Any]) -> dict[str, Any]:
    usual = {"failures": 0, "paused_at": None, "paused_until": None, "pause_seconds": 0.0, "reason": None}
    more = {"free_at": None, "headroom": 1.0, "daily_remaining": None, "observed_at": None}
    is_account = given["name"] in ("default", "emea", "sandbox")
    return usual | {"slow_start": None} | (more if is_account else {}) | given


def watch_id(number: int) -> str:
    """The id of one of its watches, counted from the newest."""
    return earliest_watch_id(_registered_at(number))


def _registered_at(number: int) -> datetime:
    # Many at first, and then fewer and fewer.
    return NOW - timedelta(seconds=9 + number * 41 + number**2.4)


def _watch(number: int) -> dict[str, Any]:
    created_at = _registered_at(number)
    host = HOSTS[number % 4]
    row: dict[str, Any] = {
        "id": watch_id(number),
        "client": ("cms", "crm-sync")[number % 2],
        "account": ("default", "emea", "default", "sandbox")[number % 4],
        "kind": "crm-import" if number % 7 == 5 else "file-import",
        "task_id": f"AAAAEZ6w{number * 7919 % 46656:03X}hGI",
        "callback_url": f"https://{host}/hooks/hubspot?order={4000 + number}",
        "callback_host": host,
        "metadata": json.dumps({"order": 4000 + number, "file": "report.csv"}),
        "created_at": created_at,
        "age_zero_at": created_at + timedelta(seconds=2.2),
        "deadline_at": created_at + timedelta(days=1),
        "polls": 4 + number % 9,
        "last_polled_at": created_at + timedelta(seconds=8.3),
        "status": "COMPLETE",
        "state": "delivered",
        "outcome": "completed",
        "error": None,
        "last_error": None,
        "ended_at": created_at + timedelta(seconds=8.4),
        "settled_at": created_at + timedelta(seconds=8.8 + number * 31 % 17 / 20),
        "due_at": None,
        "attempts": 1,
        "tries": 1,
        "last_attempt_at": created_at + timedelta(seconds=8.6),
        "last_status_code": 204,
    }
    return row | _variant(number, host)


def _variant(number: int, host: str) -> dict[str, Any]:
    """What makes a watch differ from one that went well."""
    open_ = {"ended_at": None, "settled_at": None, "outcome": None, "attempts": 0, "tries": 0}
    unsent = {"last_attempt_at": None, "last_status_code": None}
    if host == "hooks.globex.example" and number < 40:
        if number in (18, 26, 34):
            error = "The receiver answered 410"
            return {"state": "undelivered", "last_error": error, "last_status_code": 410}
        return {
            "state": "delivering",
            "settled_at": None,
            "due_at": _ago(seconds=-40 - number),
            "attempts": 3,
            "tries": 3,
            "last_status_code": None,
            "last_error": "The receiver did not answer: the connection was refused",
        }
    if number < 9:
        status = "PENDING" if number < 2 else "PROCESSING"
        waits = {
            "status": status,
            "state": "watching",
            "due_at": _ago(seconds=-2.4 - number),
            "polls": 1 + number,
        }
        return open_ | unsent | waits
    outcomes = {
        11: (
            "failed",
            "HubSpot ended the task as COMPLETE without a result: The file could not be downloaded.",
        ),
        13: ("completed_with_errors", "HubSpot finished the task with errors: Row 17 has no e-mail address."),
        20: ("canceled", "HubSpot ended the task as CANCELED: it was stopped or undone."),
        23: ("rejected", "HubSpot does not know the task: Provided ID could not be decoded."),
        29: ("timed_out", "The task had not ended by the deadline."),
    }
    if number in outcomes:
        outcome, error = outcomes[number]
        return {"outcome": outcome, "error": error, "last_error": error}
    if number == 16:
        withdrawn = {"state": "withdrawn", "settled_at": _ago(minutes=8), "status": "PROCESSING", "polls": 3}
        return open_ | unsent | withdrawn | {"due_at": None}
    return {}


def _attempts(row: dict[str, Any]) -> list[dict[str, Any]]:
    made = []
    for number in range(1, row["attempts"] + 1):
        is_last = number == row["attempts"]
        code = row["last_status_code"] if is_last else 502
        made.append(
            {
                "watch_id": row["id"],
                "number": number,
                "trigger": "schedule",
                "started_at": row["ended_at"] + timedelta(seconds=(0.2, 5.4, 37.0)[number - 1]),
                "duration_ms": (184, 95, 20_000)[number - 1],
                "status_code": code,
                "error": None
                if code == 204
                else row["last_error"]
                if is_last
                else "The receiver answered 502",
                "response_excerpt": "<html>\n<h1>502 Bad Gateway</h1>\n</html>" if code == 502 else None,
            }
        )
    return made
