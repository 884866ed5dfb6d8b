"""The overview: what needs a person comes first."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import insert

from bridge.core.counters import ATTEMPTS, DELIVERY_DELAY, DETECTION_DELAY, ENDED, REGISTRATIONS
from bridge.db.counters import Counters
from bridge.db.tables import account_breakers, host_breakers, workers
from tests.makers import NOW
from tests.web.admin.operator import an_operator
from tests.web.api import Api

MINUTE = timedelta(minutes=1)


def worker(name: str, **others: Any) -> Any:
    return insert(workers).values(id=name, started_at=NOW, **{"ticked_at": NOW} | others)


def test_when_all_is_well_it_says_so(api: Api) -> None:
    api.execute(worker("worker-1"))
    html = an_operator(api).get().text
    assert "Nothing: all is well" in html
    assert "1</span> worker alive" in html


def test_without_a_worker_it_says_so(sqlite_api: Api) -> None:
    html = an_operator(sqlite_api).get().text
    assert "No worker is alive" in html
    assert "all is well" not in html


def test_a_silent_worker_is_named(sqlite_api: Api) -> None:
    sqlite_api.execute(worker("worker-1"))
    sqlite_api.execute(worker("worker-2", ticked_at=NOW - 2 * MINUTE))
    assert "The worker worker-2 is silent" in an_operator(sqlite_api).get().text


def test_paused_accounts_and_hosts_are_named_with_the_reason(api: Api) -> None:
    paused = {"failures": 5, "pause_seconds": 30.0, "paused_at": NOW, "paused_until": NOW + 5 * MINUTE}
    api.insert(account_breakers, name="default", reason="The token is gone", headroom=1.0, **paused)
    api.insert(host_breakers, name="app.example.com", reason="The receiver is gone", **paused)
    api.change(api.client().register()["id"], state="delivering", outcome="completed", ended_at=NOW)
    html = an_operator(api).get().text
    for part in (
        "The account default is paused",
        "The token is gone",
        "app.example.com does not take callbacks",
        "The receiver is gone",
    ):
        assert part in html
    for page, card in (("/accounts", "account-default"), ("/hosts", "host-app.example.com")):
        assert f'href="/admin{page}#{card}"' in html
        assert f'<article id="{card}"' in an_operator(api).get(page).text


@pytest.mark.parametrize(("hours", "times"), [(2, 1), (26, 0)])
def test_callbacks_given_up_since_yesterday_are_counted(api: Api, hours: int, times: int) -> None:
    watch_id = api.client().register()["id"]
    api.change(
        watch_id,
        state="undelivered",
        outcome="completed",
        due_at=None,
        settled_at=NOW - timedelta(hours=hours),
    )
    html = an_operator(api).get().text
    assert html.count("1 callback was given up since yesterday") == times


def test_what_is_overdue_is_told(api: Api) -> None:
    api.client().register()
    api.clock.passes(600)
    assert "Polls of the account default are overdue" in an_operator(api).get().text


def test_what_is_open_is_counted(sqlite_api: Api) -> None:
    client = sqlite_api.client()
    for task in "abc":
        client.register(task)
    html = an_operator(sqlite_api).get().text
    assert 'href="/admin/watches?state=watching"><span class="number">3</span>' in html


def test_the_last_day_is_drawn_and_each_number_leads_to_its_list(api: Api) -> None:
    client, counted = api.client(), Counters()
    for task, outcome, state in (("a", "completed", "delivered"), ("b", "failed", "undelivered")):
        watch_id = client.register(task)["id"]
        settled = {"ended_at": NOW + 2 * MINUTE, "settled_at": NOW + 3 * MINUTE, "due_at": None}
        api.change(watch_id, state=state, outcome=outcome, **settled)
        counted.inc(REGISTRATIONS)
        counted.inc(ENDED, outcome)
        counted.observe(DETECTION_DELAY, 1.5, "default")
        counted.inc(ATTEMPTS, "5xx", "schedule")
        counted.inc(ATTEMPTS, "2xx" if task == "a" else "5xx", "schedule")
    counted.observe(DELIVERY_DELAY, 60)
    counted.flush(api.dependencies.engine, NOW)
    operator = an_operator(api)
    html = operator.get().text
    assert html.count("<rect") == 1 + 2 + 2
    # All of it is of one hour: a point would not be seen.
    assert (
        re.findall(r'<polyline class="(p\d\d)" points="[\d.]+,[\d.]+ [\d.]+,[\d.]+"', html)
        == ["p95", "p50"] * 2
    )
    for part in (
        "2 registered",
        "1 completed<",
        "1 failed<",
        "1 accepted<",
        "3 failed<",
        "half within 45 s",
        "half within 1.5 s",
    ):
        assert part in html
    links = re.findall(r'href="/admin(/watches\?[^"]*_after=[^"]+)"', html.partition('id="day"')[2])
    assert [operator.get(unescape(link)).text.count('<a id="link-') for link in links] == [2, 1, 1, 1, 1]


def test_what_is_older_than_a_day_is_not_drawn(sqlite_api: Api) -> None:
    counted = Counters()
    counted.inc(REGISTRATIONS)
    counted.flush(sqlite_api.dependencies.engine, NOW)
    sqlite_api.clock.passes(90_000)
    assert "0 registered" in an_operator(sqlite_api).get().text
