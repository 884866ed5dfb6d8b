"""The page in a real Chromium: what it does by itself, by keyboard, on a phone, without JavaScript, for a reader."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.makers import NOW
from tests.web.admin.browser import DESK, PHONE, browser_errors, sign_in, signed_in
from tests.web.admin.sample_data import add_all
from tests.web.admin.screenshots import UNDELIVERED
from tests.web.api import ADMIN_KEY, Api

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
REFRESH_MS = 5_000


@pytest.fixture
def sample(sqlite_api: Api, sqlite_address: str) -> str:
    """The URL of a server with the sample data."""
    add_all(sqlite_api)
    return sqlite_address


def _open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


def violations(page: Page) -> list[str]:
    """Return what axe-core reports about the page, in each of LOOKS."""
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    told = []
    for name, viewport, colours, rules in LOOKS:
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=colours)
        found: list[dict[str, Any]] = page.evaluate("(rules) => axe.run(rules)", rules)["violations"]
        told += [
            f"{name}: {each['id']}: {node['html'][:80]}: {node['failureSummary']}"
            for each in found
            for node in each["nodes"]
        ]
    return told


def test_a_screen_reader_can_read_every_page(sample: str, browser: Browser) -> None:
    # axe itself has to get past the policy that the page has, and no colour may be on its way to another one.
    page = signed_in(browser, sample, bypass_csp=True, reduced_motion="reduce")
    for path in PAGES:
        page.goto(f"{sample}/admin{path}")
        _open_all(page)
        assert (path, violations(page)) == (path, [])
    page.goto(f"{sample}/admin/clients")
    page.get_by_text("New secret…").first.click()
    page.get_by_role("button", name="Make a new secret").first.click()
    assert violations(page) == []
    page.get_by_role("button", name="Sign out").click()
    assert violations(page) == []


def test_nothing_is_wider_than_a_phone(sample: str, browser: Browser) -> None:
    page = signed_in(browser, sample, viewport=PHONE)
    for path in PAGES:
        page.goto(f"{sample}/admin{path}")
        _open_all(page)
        assert (path, page.evaluate("document.documentElement.scrollWidth")) == (path, PHONE["width"])


def test_the_policy_stands_in_nobodys_way(sample: str, browser: Browser) -> None:
    page = signed_in(browser, sample)
    told = browser_errors(page)
    for path in PAGES:
        page.goto(f"{sample}/admin{path}")
    # What is no page, or no filter, is told by its status as well.
    assert [line for line in told if "status of 4" not in line] == []


def test_a_list_follows_what_happens_and_loses_nothing(api: Api, address: str, browser: Browser) -> None:
    client = api.client()
    ids = [client.register(f"task-{number:02}")["id"] for number in range(40)]
    page = signed_in(browser, address, viewport=DESK)
    page.clock.install()
    page.goto(f"{address}/admin/watches?client=cms")
    page.get_by_text("Filters").click()
    page.get_by_label("Task id", exact=True).fill("half a word")
    row = page.locator(f"#row-{ids[0]}")
    row.get_by_role("link").scroll_into_view_if_needed()
    row.get_by_role("link").select_text()
    before = page.evaluate("[scrollY, String(getSelection())]")
    assert before[0] > 0
    api.change(ids[0], state="delivered", outcome="failed", ended_at=NOW, settled_at=NOW, due_at=None)
    client.register("task-40")
    page.clock.fast_forward(REFRESH_MS)
    expect(row.get_by_text("delivered")).to_be_visible()
    expect(page.get_by_role("link", name="task-40")).to_be_attached()
    assert page.evaluate("String(getSelection())") == "task-00"
    expect(row.get_by_role("link")).to_be_in_viewport()
    expect(page.get_by_label("Task id", exact=True)).to_have_value("half a word")
    assert page.url.endswith("/admin/watches?client=cms")


def test_a_page_that_stands_still_does_so_until_it_is_let_go(
    sqlite_api: Api, sqlite_address: str, browser: Browser
) -> None:
    client = sqlite_api.client()
    page = signed_in(browser, sqlite_address)
    page.clock.install()
    page.goto(f"{sqlite_address}/admin/watches")
    asked: list[str] = []
    switch = page.get_by_role("button", name="Live")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "false")
    page.on("request", lambda request: asked.append(request.url))
    client.register("new")
    page.clock.fast_forward(10 * REFRESH_MS)
    assert asked == []
    switch.click()
    page.clock.fast_forward(REFRESH_MS)
    expect(page.get_by_role("link", name="new")).to_be_visible()


def test_when_the_session_ends_a_page_that_refreshes_itself_asks_for_the_key(
    sqlite_api: Api, sqlite_address: str, browser: Browser
) -> None:
    page = browser.new_context().new_page()
    key = sqlite_api.new_client("ops", admin=True).api_key
    sign_in(page, sqlite_address, key)
    page.clock.install()
    page.goto(f"{sqlite_address}/admin/watches?state=watching")
    assert sqlite_api.admin.delete("/v1/clients/ops").status_code == 200
    page.clock.fast_forward(REFRESH_MS)
    expect(page.get_by_label("Admin's API key")).to_be_visible()
    page.get_by_label("Admin's API key").fill(ADMIN_KEY)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{sqlite_address}/admin/watches?state=watching")


def test_a_watch_that_moves_on_while_it_is_looked_at_has_other_buttons(
    sqlite_api: Api, sqlite_address: str, browser: Browser
) -> None:
    watch_id = sqlite_api.client().register()["id"]
    page = signed_in(browser, sqlite_address)
    page.clock.install()
    page.goto(f"{sqlite_address}/admin/watches/{watch_id}")
    expect(page.get_by_role("button", name="Ask HubSpot now")).to_be_visible()
    ended = {"outcome": "completed", "ended_at": NOW, "settled_at": NOW, "due_at": None}
    sqlite_api.change(watch_id, state="delivered", **ended)
    again = page.get_by_role("button", name="Send the callback again")
    page.clock.fast_forward(REFRESH_MS)
    expect(again).to_be_visible()
    expect(page.get_by_role("button", name="Ask HubSpot now")).to_have_count(0)
    again.click()
    expect(page.get_by_role("status")).to_contain_text("is being sent again")


def test_secrets_and_commands_are_copied(sqlite_address: str, browser: Browser) -> None:
    page = signed_in(browser, sqlite_address, permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{sqlite_address}/admin/clients")
    page.get_by_label("Name").fill("cms")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"hib_[A-Za-z0-9_-]{43}", copied)
    assert copied == page.locator("#api-key").text_content()


def test_a_secrets_page_that_is_loaded_again_makes_no_other_one(
    sqlite_address: str, browser: Browser
) -> None:
    page = signed_in(browser, sqlite_address)
    page.goto(f"{sqlite_address}/admin/clients")
    page.get_by_label("Name").fill("cms")
    page.get_by_role("button", name="Add").click()
    page.goto(f"{sqlite_address}/admin/clients")
    page.get_by_text("New key…").first.click()
    page.get_by_role("button", name="Make a new key").first.click()
    key = page.locator("#api-key").text_content() or ""
    page.reload()
    expect(page.get_by_role("heading", name="Clients", exact=True)).to_be_visible()
    expect(page.get_by_text(f"{key[:10]}…")).to_be_visible()


def test_a_new_token_leaves_the_other_settings_of_an_account(
    sqlite_api: Api, sqlite_address: str, browser: Browser
) -> None:
    usual = {"rate_limit": "190/10", "rate_share": 0.25}
    assert sqlite_api.admin.put("/v1/accounts/eu", {"access_token": "pat-1"} | usual).status_code == 201
    page = signed_in(browser, sqlite_address)
    page.goto(f"{sqlite_address}/admin/accounts")
    card = page.get_by_role("article").filter(has_text="eu")
    card.get_by_text("Change").click()
    # It would keep the account from following the environment.
    expect(card.get_by_label("API version")).to_have_value("")
    card.get_by_label("Access token").fill("pat-2")
    card.get_by_role("button", name="Replace eu").click()
    expect(page.get_by_role("status")).to_contain_text("The account eu is set.")
    account: Any = sqlite_api.admin.get("/v1/accounts/eu").json
    assert {name: account[name] for name in usual} == usual


def test_everything_works_without_javascript(api: Api, address: str, browser: Browser) -> None:
    watch_id = api.client().register("task-1")["id"]
    api.client("crm").register("task-2")
    page = signed_in(browser, address, java_script_enabled=False)
    page.get_by_role("link", name="Watches").click()
    page.get_by_text("Filters").click()
    page.get_by_label("Client").fill("cms")
    page.get_by_label("watching").check()
    page.get_by_role("button", name="Show").click()
    page.wait_for_url(f"{address}/admin/watches?state=watching&client=cms")
    expect(page.get_by_role("link", name="task-2")).to_have_count(0)
    page.get_by_role("link", name="task-1").click()
    page.get_by_role("button", name="Ask HubSpot now").click()
    expect(page.get_by_role("status")).to_contain_text("being asked now")
    page.get_by_text("Withdraw…").click()
    page.get_by_role("button", name="Withdraw the watch").click()
    expect(page.get_by_role("status")).to_contain_text("withdrawn")
    assert api.admin.get(f"/v1/watches/{watch_id}").json["state"] == "withdrawn"  # type: ignore[index]
    page.get_by_label("Search").fill("task-2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("task-2")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Admin's API key")).to_be_visible()


def test_everything_works_by_keyboard_alone(sqlite_api: Api, sqlite_address: str, browser: Browser) -> None:
    watch_id = sqlite_api.client().register("task-1")["id"]
    page = browser.new_context().new_page()
    page.goto(f"{sqlite_address}/admin/watches")
    page.keyboard.type(ADMIN_KEY)  # the field has the focus
    page.keyboard.press("Enter")
    page.wait_for_url(f"{sqlite_address}/admin/watches")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    _tab_to(page, "task-1")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{sqlite_address}/admin/watches/{watch_id}")
    _tab_to(page, "Withdraw…")
    page.keyboard.press("Enter")
    _tab_to(page, "Withdraw the watch")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("withdrawn")


def _tab_to(page: Page, text: str) -> None:
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == text:
            return
    pytest.fail(f"no way by keyboard to {text!r}")


def test_ages_are_in_words_with_the_instant_in_a_title(
    sqlite_api: Api, sqlite_address: str, browser: Browser
) -> None:
    sqlite_api.client().register("task-1")
    sqlite_api.clock.passes(timedelta(minutes=3).total_seconds())
    page = signed_in(browser, sqlite_address)
    page.goto(f"{sqlite_address}/admin/watches")
    age = page.locator("td[data-label=Registered] time")
    expect(age).to_have_text("3 min ago")
    expect(age).to_have_attribute("title", re.compile(r"2026-11-21T12:00:00\.\d{6}Z"))
