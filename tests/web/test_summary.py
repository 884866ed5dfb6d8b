"""`GET /v1/summary`."""

from datetime import timedelta
from typing import Any

import pytest

from bridge.db.tables import account_breakers, account_days, host_breakers
from tests.makers import NOW
from tests.web.api import Api, Caller, members

BREAKER = {"failures": 3, "pause_seconds": 30.0, "reason": "HubSpot answered 401"}


def summary(caller: Caller) -> dict[str, Any]:
    return members(caller.get("/v1/summary"))


def test_states_and_outcomes_are_counted_with_those_that_nobody_is_in(api: Api) -> None:
    client = api.client()
    found = [client.register(f"task-{number}")["id"] for number in range(4)]
    api.change(found[0], state="delivered", outcome="completed", due_at=None)
    api.change(found[1], state="delivered", outcome="failed", due_at=None)
    api.change(found[2], state="delivering", outcome="failed")
    told = summary(client)
    assert told["states"] == {
        "watching": 1,
        "delivering": 1,
        "delivered": 2,
        "undelivered": 0,
        "withdrawn": 0,
    }
    assert told["outcomes"] == {
        "completed": 1,
        "completed_with_errors": 0,
        "failed": 2,
        "canceled": 0,
        "rejected": 0,
        "timed_out": 0,
    }


def test_a_client_counts_its_own_watches_and_sees_no_accounts(api: Api) -> None:
    client, other = api.client("a"), api.client("b")
    client.register("a")
    for number in range(2):
        other.register(f"b-{number}")
    assert summary(client)["states"]["watching"] == 1
    assert "accounts" not in summary(client)
    assert summary(api.admin)["states"]["watching"] == 3


def test_what_is_due_is_told_by_its_oldest_step(api: Api) -> None:
    client, other = api.client("a"), api.client("b")
    poll, deliver = client.register("a")["id"], client.register("b")["id"]
    assert summary(client)["oldest_due_seconds"] == {"poll": None, "deliver": None}
    api.change(poll, due_at=NOW - timedelta(seconds=5))
    api.change(deliver, state="delivering", due_at=NOW - timedelta(seconds=60))
    due = summary(client)["oldest_due_seconds"]
    assert 5 <= due["poll"] < 6
    assert 60 <= due["deliver"] < 61
    assert summary(api.admin)["oldest_due_seconds"]["deliver"] >= 60
    assert summary(other)["oldest_due_seconds"] == {"poll": None, "deliver": None}


def test_what_waits_for_a_paused_party_is_not_late(api: Api) -> None:
    client = api.client()
    poll, deliver = client.register("a")["id"], client.register("b")["id"]
    api.change(poll, due_at=NOW - timedelta(seconds=5))
    api.change(deliver, state="delivering", due_at=NOW - timedelta(seconds=60))
    until = NOW + timedelta(minutes=15)
    api.insert(host_breakers, name="app.example.com", paused_until=until, **BREAKER)
    api.insert(account_breakers, name="default", paused_until=until, headroom=1.0, **BREAKER)
    for caller in (client, api.admin):
        assert summary(caller)["oldest_due_seconds"] == {"poll": None, "deliver": None}


def test_an_admin_sees_how_the_accounts_are(api: Api) -> None:
    api.add_account("portal-2")
    until = NOW + timedelta(minutes=15)
    api.insert(
        account_breakers, name="portal-2", paused_until=until, headroom=0.5, observed_at=NOW, **BREAKER
    )
    for day, requests in ((NOW.date(), 40), (NOW.date() - timedelta(days=1), 1_000)):
        api.insert(account_days, account="portal-2", day=day, requests=requests, errors=2)
    default, other = summary(api.admin)["accounts"]
    assert default | {"name": "default", "paused_until": None, "paused_reason": None} == default
    assert (default["errors_today"], default["requests_today"]) == (0, 0)
    assert other["paused_until"] == "2026-11-21T12:15:00.000000Z"
    assert other["paused_reason"] == "HubSpot answered 401"
    assert (other["errors_today"], other["requests_today"]) == (2, 40)
    assert default["requests_per_second"] < 5  # half of 100 in 10 s, and a little slack
    assert other["requests_per_second"] == pytest.approx(default["requests_per_second"] / 2, abs=0.001)
