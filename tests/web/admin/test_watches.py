"""The list of watches: its filters in the URL, its pages, the search, and bulk redelivery."""

import re
from datetime import timedelta
from html import unescape

import pytest

from bridge.db import pagination
from tests.makers import NOW
from tests.web.admin.operator import an_operator
from tests.web.api import Api

SETTLED = {"due_at": None, "settled_at": NOW, "outcome": "completed", "ended_at": NOW}


def listed(html: str) -> list[str]:
    """The task ids of the list, in order."""
    return [unescape(task) for task in re.findall(r'<a id="link-[^"]+"[^>]*>([^<]+)</a>', html)]


def link(html: str, name: str) -> str:
    """Where a link to another page of the list leads, below `/admin`."""
    found = re.search(rf'<a id="{name}"[^>]*href="/admin([^"]+)"', html)
    assert found, html
    return unescape(found[1])


def test_the_list_shows_all_clients_watches_newest_first(api: Api) -> None:
    api.client("cms").register("first")
    api.client("crm").register("second")
    assert listed(an_operator(api).get("/watches").text) == ["second", "first"]


def test_the_url_holds_the_filters(api: Api) -> None:
    client = api.client()
    for task, state in (("a", "delivered"), ("b", "undelivered"), ("c", "watching")):
        watch = client.register(task)
        api.change(watch["id"], state=state, **({} if state == "watching" else SETTLED))
    operator = an_operator(api)
    assert listed(operator.get("/watches?state=delivered,undelivered").text) == ["b", "a"]
    assert listed(operator.get("/watches?state=undelivered&client=cms&outcome=completed").text) == ["b"]
    assert listed(operator.get("/watches?task_id=c").text) == ["c"]
    assert "No watch is like that." in operator.get("/watches?client=nobody").text


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("state=&outcome=&client=cms&limit=", "?client=cms"),
        ("state=delivered&state=undelivered", "?state=delivered,undelivered"),
        ("created_after=2026-11-05T13:00", "?created_after=2026-11-05T13:00:00Z"),
        ("ended_before=2026-11-05T13:00:07", "?ended_before=2026-11-05T13:00:07Z"),
        ("created_after=2026-11-30T01:51:08%2B02:00", "?created_after=2026-11-29T23:51:08.000000Z"),
        ("created_after=2026-11-05t13:00:00z", "?created_after=2026-11-05T13:00:00.000000Z"),
        ("state=&client=", ""),
        ("_external=1&_anchor=", "?_external=1"),
    ],
)
def test_what_a_form_sends_becomes_the_url_that_is_shared(sqlite_api: Api, sent: str, kept: str) -> None:
    answer = an_operator(sqlite_api).get(f"/watches?{sent}")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/watches{kept}")


@pytest.mark.parametrize(("limit", "sizes"), [("25", 5), ("50", 4), ("100", 4)])
def test_the_form_has_the_size_of_the_page_that_is_shown(sqlite_api: Api, limit: str, sizes: int) -> None:
    html = an_operator(sqlite_api).get(f"/watches?limit={limit}").text.partition('name="limit"')[2]
    assert re.findall(r"selected>(\d+)", html) == [limit]
    assert html.count("<option") == sizes


@pytest.mark.parametrize(
    "query",
    [
        "state=lost",
        "limit=0",
        "cursor=x",
        "created_after=yesterday",
        "colour=red",
        "order=ended_at&cursor=d2F0XzAxMjM0NTY3",
    ],
)
def test_a_filter_that_is_none_is_told_above_the_form(sqlite_api: Api, query: str) -> None:
    answer = an_operator(sqlite_api).get(f"/watches?{query}")
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert query.rpartition("&")[2].partition("=")[0] in answer.text


def test_pages_lead_both_ways_and_keep_the_filter(api: Api) -> None:
    client = api.client()
    for task in "abcde":
        client.register(task)
    operator = an_operator(api)
    first = operator.get("/watches?client=cms&limit=2").text
    second = operator.get(link(first, "older")).text
    third = operator.get(link(second, "older")).text
    assert [listed(page) for page in (first, second, third)] == [["e", "d"], ["c", "b"], ["a"]]
    assert "client=cms" in link(second, "older")
    assert listed(operator.get(link(third, "newer")).text) == ["c", "b"]


def test_where_nothing_is_newer_any_more_the_first_page_is_shown(sqlite_api: Api) -> None:
    client, operator = sqlite_api.client(), an_operator(sqlite_api)
    a, b = (client.register(task)["id"] for task in "ab")
    second = operator.get(link(operator.get("/watches?state=watching&limit=1").text, "older")).text
    sqlite_api.change(b, **SETTLED, state="delivered")
    newer = operator.get(link(second, "newer"))
    assert (newer.status_code, newer.headers["Location"]) == (302, "/admin/watches?state=watching&limit=1")
    assert a in operator.get("/watches?state=watching&limit=1").text


def test_a_list_is_refreshed_as_it_was_asked_for(sqlite_api: Api) -> None:
    html = an_operator(sqlite_api).get("/watches?state=delivered&client=cms").text
    assert 'hx-get="/admin/watches?state=delivered&amp;client=cms"' in html


def test_ages_are_in_words_with_the_instant_in_a_title(sqlite_api: Api) -> None:
    sqlite_api.client().register()
    sqlite_api.clock.passes(timedelta(minutes=3).total_seconds())
    html = an_operator(sqlite_api).get("/watches").text
    assert re.search(
        r'data-label="Registered"><time [^>]*title="2026-11-21T12:00:00\.\d{6}Z">3 min ago</time>', html
    )


def test_one_box_finds_watches_tasks_and_hosts(api: Api) -> None:
    client = api.client()
    only, _ = client.register("only"), client.register("twice")
    client.register("twice", callback_url="https://other.example/hook")
    operator = an_operator(api)

    def found(text: str) -> str:
        return str(operator.get("/search", query_string={"q": text}).headers["Location"])

    assert found(only["id"]) == f"/admin/watches/{only['id']}"
    assert found(" only ") == f"/admin/watches/{only['id']}"
    assert found("twice") == "/admin/watches?task_id=twice"
    assert found("other.example") == "/admin/watches?callback_host=other.example"
    assert found("") == "/admin/watches"
    assert listed(operator.get("/watches?callback_host=OTHER.example").text) == ["twice"]


def test_all_that_a_filter_means_is_sent_again_after_its_number_was_told(api: Api) -> None:
    client = api.client()
    for task in "abc":
        api.change(client.register(task)["id"], state="undelivered", **SETTLED)
    api.change(client.register("d")["id"], state="delivered", **SETTLED)
    operator = an_operator(api)
    assert "Send 3 callbacks again?" in operator.get("/watches/redeliver?state=undelivered").text
    assert len(listed(operator.get("/watches?state=undelivered").text)) == 3
    answer = operator.submit("/watches/redeliver?state=undelivered", follow_redirects=True)
    assert "3 callbacks are being sent again." in answer.text
    assert listed(operator.get("/watches?state=delivering").text) == ["c", "b", "a"]


def test_of_very_many_only_the_newest_are_counted_and_the_page_says_so(
    sqlite_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "MOST_SCANNED_TO_COUNT", 2)
    client = sqlite_api.client()
    for task in "abc":
        sqlite_api.change(client.register(task)["id"], state="undelivered", **SETTLED)
    operator = an_operator(sqlite_api)
    assert "Send 2 callbacks or more again?" in operator.get("/watches/redeliver?state=undelivered").text
    answer = operator.submit("/watches/redeliver?state=undelivered", follow_redirects=True)
    assert "3 callbacks are being sent again." in answer.text


def test_nobody_sends_everything_again_by_a_slip(sqlite_api: Api) -> None:
    operator = an_operator(sqlite_api)
    assert operator.get("/watches/redeliver").status_code == 422
    assert operator.submit("/watches/redeliver").status_code == 422
