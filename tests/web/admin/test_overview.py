"""The overview: what needs a person comes first, and each number leads to the list that it counts."""

import re
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import insert

from bridge.core.counters import ATTEMPTS, DELIVERY_DELAY, DETECTION_DELAY, ENDED, REGISTRATIONS
from bridge.db import attention
from bridge.db.counters import Counters
from bridge.db.tables import account_breakers, host_breakers, workers
from tests.makers import NOW
from tests.web.admin.operator import Operator, an_operator
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
    api.change(api.client().register()["id"], state="delivering", outcome="timed_out", ended_at=NOW)
    html = an_operator(api).get().text
    for part in (
        "The account default is paused",
        "The token is gone",
        "app.example.com does not take callbacks",
        "1 waits</a>; the oldest got its outcome",
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


def test_where_hosts_are_left_out_the_count_of_callbacks_given_up_is_a_lower_bound(
    sqlite_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "MOST_GIVEN_UP_HOSTS", 1)
    client = sqlite_api.client()
    for host in ("a.example.com", "b.example.com"):
        watch_id = client.register(host)["id"]
        settled = {"outcome": "completed", "due_at": None, "settled_at": NOW}
        sqlite_api.change(watch_id, callback_host=host, state="undelivered", **settled)
    assert "At least 1 callback was given up since yesterday" in an_operator(sqlite_api).get().text


def test_what_is_overdue_is_told(api: Api) -> None:
    api.client().register()
    api.clock.passes(600)
    assert "Polls of the account default are overdue" in an_operator(api).get().text


@pytest.mark.parametrize(
    ("state", "others"),
    [
        ("watching", "Polls of other accounts are overdue, too"),
        ("delivering", "Callbacks to other hosts are overdue, too"),
    ],
)
def test_where_not_all_that_is_overdue_is_named_it_is_told(sqlite_api: Api, state: str, others: str) -> None:
    client = sqlite_api.client()
    for number in range(attention.MOST_NAMED + 1):
        name = f"late-{number}.example.com"
        watch_id = client.register(name)["id"]
        sqlite_api.change(watch_id, account=name, callback_host=name, state=state)
    sqlite_api.clock.passes(600)
    assert others in an_operator(sqlite_api).get().text


def test_what_is_open_is_counted(sqlite_api: Api) -> None:
    client = sqlite_api.client()
    for task in "abc":
        client.register(task)
    html = an_operator(sqlite_api).get().text
    assert 'href="/admin/watches?state=watching"><span class="number">3</span>' in html


def test_the_last_day_is_drawn(api: Api) -> None:
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
    html = an_operator(api).get().text
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
        "1 accepted</span> and ",
        "3 failed</span> attempts",
        "half within 45 s",
        "half within 1.5 s",
    ):
        assert part in html


def test_what_is_older_than_a_day_is_not_drawn(sqlite_api: Api) -> None:
    counted = Counters()
    counted.inc(REGISTRATIONS)
    counted.flush(sqlite_api.dependencies.engine, NOW)
    sqlite_api.clock.passes(90_000)
    assert "0 registered" in an_operator(sqlite_api).get().text


def settled(at: datetime, **others: Any) -> dict[str, Any]:
    """The columns of a watch that was delivered at once, but for `others`."""
    usual = {"outcome": "completed", "state": "delivered", "due_at": None, "attempts": 1}
    return usual | dict.fromkeys(("ended_at", "settled_at", "last_attempt_at"), at) | others


@pytest.fixture
def busy(api: Api) -> Operator:
    """An operator of a bridge where a day's work was done, with older work that no number may count.

    The receiver was away for two days, so the first attempt of the oldest callback was made today.
    """
    client = api.client()
    old = {task: client.register(task)["id"] for task in ("delivered", "given-up", "late")}
    api.change(old["delivered"], **settled(NOW))
    api.change(old["given-up"], **settled(NOW, state="undelivered"))
    api.clock.passes(timedelta(days=2).total_seconds())
    now = api.clock()
    api.change(old["late"], **settled(NOW, state="delivering", settled_at=None, last_attempt_at=now))
    new = {task: client.register(task)["id"] for task in "abcdef"}
    api.change(new["a"], **settled(now, attempts=2))
    api.change(new["b"], **settled(now, outcome="failed"))
    api.change(new["c"], **settled(now, outcome="timed_out", state="undelivered", attempts=2))
    api.change(new["d"], state="delivering", outcome="rejected", ended_at=now)
    counted = Counters()
    counted.inc(REGISTRATIONS, by=6)
    for outcome in ("completed", "failed", "timed_out", "rejected"):
        counted.inc(ENDED, outcome)
    counted.inc(ATTEMPTS, "2xx", "schedule", by=2)
    counted.inc(ATTEMPTS, "5xx", "schedule", by=4)
    for _ in "ab":
        counted.observe(DETECTION_DELAY, 1.5, "default")
        counted.observe(DELIVERY_DELAY, 60)
    counted.flush(api.dependencies.engine, now)
    for name, ticked_at in (("worker-1", now), ("worker-2", now), ("worker-3", now - 2 * MINUTE)):
        api.execute(worker(name, ticked_at=ticked_at))
    paused = {"failures": 5, "pause_seconds": 30.0, "paused_at": now, "paused_until": now + MINUTE}
    api.insert(host_breakers, name="app.example.com", reason="The receiver is gone", **paused)
    return an_operator(api)


def links(html: str) -> dict[str, str]:
    """Return where each link of the overview's content leads, by its text."""
    content = html.partition('id="live"')[2]
    found = re.findall(r'<a href="([^"]+)"[^>]*>(.+?)</a>', content, re.DOTALL)
    return {text_of(inner): unescape(href) for href, inner in found}


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())


def listed(operator: Operator, href: str) -> list[str]:
    """Return what the list that a link leads to is of: tasks, or workers."""
    if href.startswith("#"):
        section = operator.get().text.partition(f'id="{href[1:]}"')[2].partition("</section>")[0]
        return re.findall("<code>(.+?)</code>", section)
    return re.findall(r'<a id="link-[^>]+>(.+?)</a>', operator.get(href.removeprefix("/admin")).text)


def test_each_number_leads_to_the_list_that_it_counts(busy: Operator) -> None:
    found = links(busy.get().text)
    counted = {text: len(listed(busy, href)) for text, href in found.items() if text[0].isdigit()}
    attempts = counted.pop("2 accepted and 4 failed attempts: see their watches")
    assert counted == {
        "1 callback was given up since yesterday": 1,
        "2 wait": 2,
        "2 watching": 2,
        "2 delivering": 2,
        "2 workers alive": 2,
        "6 registered": 6,
        "1 completed": 1,
        "1 failed": 1,
        "1 rejected": 1,
        "1 timed out": 1,
    }
    assert attempts == len(["late", "a", "b", "c"])


def test_attempts_lead_to_all_watches_that_they_were_made_for(busy: Operator) -> None:
    [href] = [href for text, href in links(busy.get().text).items() if "attempts" in text]
    assert listed(busy, href) == ["c", "b", "a", "late"]
    made = re.findall(r"<small>(\d) attempts?", busy.get(href.removeprefix("/admin")).text)
    assert sum(map(int, made)) == 2 + 4


def test_percentiles_lead_to_what_they_are_measured_over(busy: Operator) -> None:
    found = {text.partition(":")[0]: href for text, href in links(busy.get().text).items() if "half" in text}
    assert {what: listed(busy, href) for what, href in found.items()} == {
        "Tasks for which HubSpot says when they ended": ["b", "a"],
        "Callbacks delivered, redeliveries apart": ["b", "a"],
    }


def test_no_number_is_without_a_link(busy: Operator) -> None:
    html = busy.get().text
    tiles = html.partition('id="now"')[2].partition("</section>")[0]
    beneath_charts = re.findall("</svg>\\s*<p>(.+?)</p>", html.partition('id="day"')[2], re.DOTALL)
    assert "<a " in tiles
    assert len(beneath_charts) == 5
    unlinked = text_of(re.sub("<a .+?</a>", "", tiles + "".join(beneath_charts), flags=re.DOTALL))
    assert not re.search(r"\d", unlinked), unlinked
