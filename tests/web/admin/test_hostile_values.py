"""Values from outside are escaped: here each of them contains markup."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser
from sqlalchemy import insert

from bridge.db.tables import account_breakers, answers, attempts, host_breakers, workers
from tests.makers import NOW
from tests.web.admin.browser import browser_errors, signed_in
from tests.web.admin.operator import an_operator
from tests.web.api import Api

# It would leave an attribute, a script, a text and a block of code; and Jinja would count.
EVIL = "\"'></script></title></textarea></code></pre><x-evil/data-evil=1>${7654321*7}{{7654321*7}}"
COUNTED = "53580247"  # so long that no random id has it
HOST = f"host{EVIL}"


class Elements(HTMLParser):
    """Collects the hostile elements and attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [name for name in (tag, *(name for name, _ in attrs)) if "evil" in name]


def add_hostile_values(api: Api) -> str:
    """Store a hostile value wherever one can come from outside; return the watch's id."""
    client = api.client()
    url = f"https://app.example.com/{EVIL}"
    watch_id: str = client.register(EVIL, callback_url=url, metadata={EVIL: EVIL})["id"]
    api.change(watch_id, state="undelivered", outcome="failed", ended_at=NOW, settled_at=NOW,
                      due_at=None, callback_host=HOST, status=EVIL[:64], error=EVIL, last_error=EVIL)  # fmt: skip
    waits = client.register(f"{EVIL}2", callback_url=url)["id"]
    api.change(waits, state="delivering", outcome="failed", ended_at=NOW, callback_host=HOST,
                      claimed_by=EVIL[:64], last_error=EVIL)  # fmt: skip
    api.insert(
        answers, watch_id=watch_id, body=f'{{"status": "COMPLETE", "m": "{EVIL.replace(chr(34), "")}"}}'
    )
    api.insert(attempts, watch_id=watch_id, number=1, trigger="schedule", started_at=NOW, duration_ms=1,
                      status_code=500, error=EVIL, response_excerpt=EVIL)  # fmt: skip
    paused: dict[str, Any] = {"failures": 5, "pause_seconds": 30.0, "paused_at": NOW, "reason": EVIL,
                              "paused_until": NOW.replace(hour=23)}  # fmt: skip
    api.execute(insert(account_breakers).values(name="default", headroom=1.0, **paused))
    api.execute(insert(host_breakers).values(name=HOST, **paused))
    api.insert(workers, id=EVIL[:64], started_at=NOW, ticked_at=NOW)
    api.insert(workers, id=EVIL[:63], started_at=NOW, ticked_at=NOW.replace(hour=11, minute=30))
    return watch_id


@pytest.fixture
def hostile(sqlite_api: Api) -> str:
    return add_hostile_values(sqlite_api)


PAGES = [
    "",
    "/watches",
    "/watches/{watch_id}",
    "/accounts",
    "/clients",
    "/hosts",
    "/watches?task_id={evil}",
    "/watches?callback_host={evil}",
    "/watches?client={evil}",
    "/watches?order={evil}&{evil}={evil}",
    "/watches/redeliver?task_id={evil}",
    "/watches/redeliver?client={evil}",
    "/search?q={evil}",
    "/{evil}",
    "/watches/{evil}",
]


@pytest.mark.parametrize("path", PAGES)
def test_no_value_becomes_markup(sqlite_api: Api, hostile: str, path: str) -> None:
    operator = an_operator(sqlite_api)
    answer = operator.get(path.format(watch_id=hostile, evil=quote(EVIL, safe="")), follow_redirects=True)
    assert answer.status_code < 500
    assert Elements(answer.text).found == []
    assert COUNTED not in answer.text


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/clients", {"name": EVIL}),
        ("/accounts", {"name": EVIL, "base_url": EVIL, "api_version": EVIL, "rate_share": EVIL}),
        ("/accounts", {"name": "default", "base_url": EVIL, "api_version": EVIL, "rate_limit": EVIL}),
        ("/hosts/probe", {"host": EVIL}),
        ("/sign-in?next=" + EVIL, {"key": EVIL}),
    ],
)
def test_no_input_becomes_markup(sqlite_api: Api, path: str, form: dict[str, str]) -> None:
    answer = an_operator(sqlite_api).submit(path, form, follow_redirects=True)
    assert answer.status_code < 500
    assert Elements(answer.text).found == []


@pytest.mark.parametrize("path", [path for path in PAGES if "{evil}" in path])
def test_a_nul_is_refused_whatever_the_database(api: Api, path: str) -> None:
    answer = an_operator(api).get(path.format(evil="wat_%00aaaa"), follow_redirects=True)
    assert answer.status_code == 400
    assert "NUL" in answer.text


@pytest.mark.parametrize(
    "path", ["/hosts/probe?host=x", "/clients", "/accounts", "/watches/wat_%00aaaa/recheck"]
)
def test_a_form_with_a_nul_is_refused_whatever_the_database(api: Api, path: str) -> None:
    assert an_operator(api).submit(path, {"host": "\0", "name": "\0"}).status_code == 400


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_browser_makes_nothing_of_it_either(api: Api, address: str, browser: Browser) -> None:
    hostile = add_hostile_values(api)
    page = signed_in(browser, address)
    told = browser_errors(page)
    for path in ("", "/watches", f"/watches/{hostile}", "/accounts", "/clients", "/hosts"):
        page.goto(f"{address}/admin{path}")
        assert page.locator("x-evil, [data-evil]").count() == 0
    assert told == []
