"""How each page looks in a real Chromium, and what a screen reader and a keyboard make of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from bridge.db.tables import account_breakers, answers, attempts, host_breakers, workers
from tests.makers import NOW
from tests.web.admin.browser import DESK, PHONE, browser_errors, send, signed_in
from tests.web.admin.sample_data import add_all
from tests.web.admin.screenshots import UNDELIVERED
from tests.web.api import Api

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PAGES = [
    "",
    "/watches?limit=10",
    "/watches?state=undelivered&callback_host=hooks.globex.example",
    "/watches?state=lost",
    "/watches/redeliver?state=undelivered",
    f"/watches/{UNDELIVERED}",
    "/accounts",
    "/clients",
    "/hosts",
    "/nothing",
]
# In the dark only the colours are other ones.
LOOKS: Sequence[tuple[str, ViewportSize, Literal["light", "dark"], dict[str, Any]]] = (
    ("desk", DESK, "light", {}),
    ("dark", DESK, "dark", {"runOnly": ["color-contrast"]}),
    ("phone", PHONE, "light", {}),
)
# A phone, a desk's window at a zoom of 200 %, and one where the list is still a table.
WIDTHS = (390, 640, 800)
# As long as a name may be.
WORD = "x" * 64

# How a page looks does not depend on the database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def sample(api: Api, address: str) -> str:
    """The URL of a server with the sample data."""
    add_all(api)
    return address


def add_long_words(api: Api) -> str:
    """Store a long word wherever one can come from outside; return the id of a watch."""
    client, host, long = api.client(WORD), ".".join([WORD[:63]] * 3), 3 * WORD
    api.add_account(WORD)
    url, told = f"https://{host}/{long}", {"status": WORD, "error": long, "last_error": long}
    waits, watch_id = (
        client.register(f"{long}{number}", callback_url=url, account=WORD, metadata={long: long})["id"]
        for number in (1, 2)
    )
    ended: dict[str, Any] = {"outcome": "failed", "ended_at": NOW} | told
    api.change(waits, state="delivering", due_at=NOW.replace(hour=2), **ended)
    api.change(watch_id, state="undelivered", due_at=None, settled_at=NOW, **ended)
    api.insert(answers, watch_id=watch_id, body=f'{{"status": "{long}"}}')
    api.insert(attempts, watch_id=watch_id, number=1, trigger="schedule", started_at=NOW, duration_ms=1,
               status_code=500, error=long, response_excerpt=long)  # fmt: skip
    paused: dict[str, Any] = {"failures": 5, "pause_seconds": 30.0, "paused_at": NOW, "reason": long,
                              "paused_until": NOW.replace(hour=23)}  # fmt: skip
    api.insert(account_breakers, name=WORD, headroom=1.0, **paused)
    api.insert(host_breakers, name=host, **paused)
    api.insert(workers, id=WORD, started_at=NOW, ticked_at=NOW)
    api.insert(workers, id=WORD[1:], started_at=NOW, ticked_at=NOW.replace(hour=11, minute=30))
    return str(watch_id)


def _open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


def faults(page: Page) -> list[str]:
    """Return what axe-core reports about the page, in each of LOOKS, and whether it is wider than its window."""
    told = []
    for name, viewport, colours, rules in LOOKS:
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=colours)
        options = {
            "resultTypes": ["violations"]
        } | rules  # with the details of what passes, it takes twice as long
        found: list[dict[str, Any]] = page.evaluate("(options) => axe.run(options)", options)["violations"]
        told += [
            f"{name}: {each['id']}: {node['html'][:80]}: {node['failureSummary']}"
            for each in found
            for node in each["nodes"]
        ]
        width = page.evaluate("document.documentElement.scrollWidth")
        told += [f"{name}: {width} pixels wide"] if width > viewport["width"] else []
    return told


def test_every_page_fits_a_phone_keeps_the_policy_and_can_be_read_by_a_screen_reader(
    sample: str, browser: Browser
) -> None:
    page = signed_in(browser, sample)
    page.add_init_script(path=AXE)
    told = browser_errors(page)
    for path in PAGES:
        page.goto(f"{sample}/admin{path}")
        _open_all(page)
        assert (path, faults(page)) == (path, [])
    page.goto(f"{sample}/admin/clients")
    page.get_by_text("New secret…").first.click()
    send(page.get_by_role("button", name="Make a new secret").first)
    assert faults(page) == []
    send(page.get_by_role("button", name="Sign out"))
    assert faults(page) == []
    # What is no page, or no filter, is told by its status as well.
    assert [line for line in told if "status of 4" not in line] == []


def test_a_long_word_makes_no_page_wider_than_its_window(api: Api, address: str, browser: Browser) -> None:
    watch_id = add_long_words(api)
    filters = "&".join(f"{name}={WORD}" for name in ("client", "account", "task_id", "callback_host"))
    pages = [
        "",
        "/watches",
        f"/watches?state=undelivered&{filters}",
        f"/watches?{WORD}={WORD}",
        f"/watches/redeliver?state=undelivered&{filters}",
        f"/watches/redeliver?{WORD}={WORD}&{'y' * 64}=",
        f"/watches/{watch_id}",
        "/accounts",
        "/clients",
        "/hosts",
    ]
    wide = {}
    page = signed_in(browser, address)

    def measure(name: str) -> None:
        _open_all(page)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 844})
            found = page.evaluate("document.documentElement.scrollWidth")
            wide.update({(name, width): found} if found > width else {})

    for path in pages:
        page.goto(f"{address}/admin{path}")
        measure(path)
    page.goto(f"{address}/admin/accounts")
    card = page.locator(f"#account-{WORD}")
    _open_all(page)
    send(card.get_by_role("button", name="Check now"))
    measure("a message")
    card.get_by_label("Base URL").fill(f"https://{WORD}/")
    send(card.get_by_role("button", name="Replace"))
    measure("a form with faults")
    page.goto(f"{address}/admin/clients")
    _open_all(page)
    send(page.get_by_role("button", name="Make a new key"))
    measure("a new key")
    assert wide == {}


def test_the_keyboard_skips_what_is_the_same_on_each_page(address: str, browser: Browser) -> None:
    page = signed_in(browser, address)
    page.goto(f"{address}/admin/hosts")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
