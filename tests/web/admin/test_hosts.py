"""Hosts on the page: who fails, since when, how many wait, and the trial request."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from bridge.db.tables import host_breakers, watches
from tests.makers import NOW
from tests.web.admin.operator import an_operator
from tests.web.api import Api

HOST = "app.example.com"
LATER = NOW + timedelta(hours=5)


def breaker(**others: Any) -> Any:
    usual = {"name": HOST, "failures": 9, "pause_seconds": 15.0, "reason": "The receiver answered 503"}
    paused = {"paused_at": NOW, "paused_until": NOW + timedelta(seconds=60)}
    return insert(host_breakers).values(**usual | paused | others)


def waiting(api: Api, tasks: str) -> dict[str, str]:
    """Watches whose callbacks wait, each due a minute after the one before; their ids by task."""
    client = api.client()
    found = {}
    for minutes, task in enumerate(tasks):
        found[task] = client.register(task)["id"]
        due_at = LATER + timedelta(minutes=minutes)
        api.change(found[task], state="delivering", outcome="completed", ended_at=NOW, due_at=due_at)
    return found


def read(api: Api, column: Any, *where: Any) -> datetime:
    with api.dependencies.engine.connect() as connection:
        instant: datetime = connection.execute(select(column).where(*where)).scalar_one()
        return instant


def test_hosts_that_fail_are_shown_with_what_waits_for_them(api: Api) -> None:
    waiting(api, "ab")
    api.execute(breaker())
    html = an_operator(api).get("/hosts").text
    for part in (HOST, "paused", "The receiver answered 503", "9 in a row", "2 callbacks"):
        assert part in html


def test_without_trouble_the_page_says_so(sqlite_api: Api) -> None:
    assert "No receiver is in trouble." in an_operator(sqlite_api).get("/hosts").text


def test_to_try_a_host_brings_one_callback_forward_and_ends_the_pause(api: Api) -> None:
    ids = waiting(api, "ab")
    api.execute(breaker())
    answer = an_operator(api).submit("/hosts/probe", {"host": HOST})
    assert answer.headers["Location"] == f"/admin/watches/{ids['a']}"
    now = api.clock()
    assert read(api, watches.c.due_at, watches.c.id == ids["a"]) <= now
    assert read(api, watches.c.due_at, watches.c.id == ids["b"]) > now
    assert read(api, host_breakers.c.paused_until) <= now


def test_a_callback_that_is_on_its_way_is_let_be(sqlite_api: Api) -> None:
    ids = waiting(sqlite_api, "a")
    sqlite_api.change(ids["a"], claimed_by="worker-1")
    answer = an_operator(sqlite_api).submit("/hosts/probe", {"host": HOST}, follow_redirects=True)
    assert "No callback waits for this host." in answer.text
    assert read(sqlite_api, watches.c.due_at) == LATER
