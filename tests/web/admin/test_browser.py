"""What the page does by itself in a real Chromium: it refreshes itself, keeps what a person does, copies, guards."""

import re
import threading
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import delete

from bridge.db.tables import account_breakers, answers, watches
from tests.makers import NOW
from tests.reliability.waiting import until
from tests.web.admin.browser import DESK, listening, send, sign_in, signed_in
from tests.web.api import ADMIN_KEY, Api

REFRESH_MS = 5_000

# What a browser does with a page does not depend on the database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


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


def test_what_is_typed_for_an_account_stays_with_it_when_another_one_comes_before_it(
    api: Api, address: str, browser: Browser
) -> None:
    api.add_account("b")
    page = signed_in(browser, address)
    page.clock.install()
    page.goto(f"{address}/admin/accounts")
    card = page.get_by_role("article", name="b", exact=True)
    card.get_by_text("Change", exact=True).click()
    card.get_by_label("Access token").fill("typed")
    api.add_account("a")
    page.clock.fast_forward(REFRESH_MS)
    before = page.get_by_role("article", name="a", exact=True)
    before.get_by_text("Change", exact=True).click()
    expect(before.get_by_label("Access token")).to_have_value("")
    expect(before.get_by_role("button", name="Replace a", exact=True)).to_be_visible()
    expect(card.get_by_label("Access token")).to_have_value("typed")
    expect(card.get_by_role("button", name="Replace b", exact=True)).to_be_visible()


def test_a_form_that_nobody_has_touched_follows_what_another_person_sets(
    api: Api, address: str, browser: Browser
) -> None:
    settings = {"access_token": "pat-na1-x", "rate_limit": "190/10", "rate_share": 0.5}
    api.add_account("eu")
    page = signed_in(browser, address)
    page.clock.install()
    page.goto(f"{address}/admin/accounts")
    assert api.admin.put("/v1/accounts/eu", settings).status_code == 200
    page.clock.fast_forward(REFRESH_MS)
    card = page.get_by_role("article", name="eu", exact=True)
    expect(card).to_contain_text("of a share of 9.5")
    card.get_by_text("Change", exact=True).click()
    expect(card.get_by_label("Rate limit")).to_have_value("190/10")


def test_a_second_click_sends_no_form_again(
    api: Api, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    both_clicked = threading.Event()
    real = api.app.wsgi_app

    def hold(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/admin/clients" and environ["REQUEST_METHOD"] == "POST":
            sent.append(environ["PATH_INFO"])
            both_clicked.wait(30)
        return real(environ, start_response)

    monkeypatch.setattr(api.app, "wsgi_app", hold)
    with listening(api.app) as address:
        page = signed_in(browser, address)
        page.goto(f"{address}/admin/clients")
        page.get_by_label("Name").fill("cms")
        place = page.get_by_role("button", name="Add").bounding_box()
        assert place
        for _ in range(2):
            page.mouse.click(place["x"] + 5, place["y"] + 5)
            until(lambda: sent)
        page.wait_for_timeout(100)  # in which a second request would come
        both_clicked.set()
        expect(page.locator("#api-key")).to_be_visible()
    assert len(sent) == 1


def test_a_page_that_the_browser_has_kept_is_loaded_anew(address: str, browser: Browser) -> None:
    page = signed_in(browser, address)
    page.goto(f"{address}/admin/clients")
    page.get_by_label("Name").fill("cms")
    send(page.get_by_role("button", name="Add"))
    with page.expect_event("load"):
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    expect(page.locator("#api-key")).to_have_count(0)


def test_the_focus_stays_on_its_link_when_another_trouble_comes_before_it(
    api: Api, address: str, browser: Browser
) -> None:
    paused: dict[str, Any] = {"failures": 5, "pause_seconds": 30.0, "paused_at": NOW, "reason": "503",
                              "paused_until": NOW.replace(hour=23)}  # fmt: skip
    api.insert(account_breakers, name="default", headroom=1.0, **paused)
    page = signed_in(browser, address)
    page.clock.install()
    page.goto(f"{address}/admin")
    link = page.get_by_role("link", name="The account default is paused")
    link.focus()
    api.insert(account_breakers, name="a", headroom=1.0, **paused)
    api.add_account("a")
    page.clock.fast_forward(REFRESH_MS)
    expect(page.get_by_role("link", name="The account a is paused")).to_be_visible()
    expect(link).to_be_focused()


def test_a_page_that_stands_still_does_so_until_it_is_let_go(
    api: Api, address: str, browser: Browser
) -> None:
    client = api.client()
    page = signed_in(browser, address)
    page.clock.install()
    page.goto(f"{address}/admin/watches")
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


@pytest.mark.parametrize("silent", ["no connection", "no answer"])
def test_a_page_that_cannot_refresh_itself_says_since_when_until_it_can(
    address: str, browser: Browser, silent: str
) -> None:
    page = signed_in(browser, address)
    page.clock.install(time=NOW)
    page.goto(f"{address}/admin")
    status = page.get_by_role("banner").get_by_role("status")
    expect(status).to_be_empty()
    with page.expect_response(lambda response: response.request.headers.get("hx-request") == "true"):
        page.clock.fast_forward(60_000)
    if silent == "no connection":
        page.context.set_offline(True)
    else:
        page.evaluate("htmx.config.timeout /= 10_000")
        page.route("**", lambda _: None)
    page.clock.fast_forward(REFRESH_MS)
    expect(status).to_have_text(
        re.compile("^Not refreshed since 2026-11-21 12:01:.. UTC: the bridge does not answer\\.$")
    )
    page.clock.fast_forward(2 * REFRESH_MS)
    expect(status).to_be_visible()
    page.context.set_offline(False)
    page.unroute_all()
    page.evaluate("htmx.config.timeout = 10_000")
    page.clock.fast_forward(REFRESH_MS)
    expect(status).to_be_empty()


def test_a_page_whose_refresh_is_refused_tells_the_status(api: Api, address: str, browser: Browser) -> None:
    watch_id = api.client().register()["id"]
    page = signed_in(browser, address)
    page.clock.install()
    page.goto(f"{address}/admin/watches/{watch_id}")
    api.execute(delete(watches).where(watches.c.id == watch_id))
    page.clock.fast_forward(REFRESH_MS)
    expect(page.get_by_role("banner").get_by_role("status")).to_contain_text("UTC: the answer was 404.")


def test_when_the_session_ends_a_page_that_refreshes_itself_asks_for_the_key(
    api: Api, address: str, browser: Browser
) -> None:
    page = browser.new_context().new_page()
    key = api.new_client("ops", admin=True).api_key
    sign_in(page, address, key)
    page.clock.install()
    page.goto(f"{address}/admin/watches?state=watching")
    assert api.admin.delete("/v1/clients/ops").status_code == 200
    page.clock.fast_forward(REFRESH_MS)
    expect(page.get_by_label("Admin's API key")).to_be_visible()
    page.get_by_label("Admin's API key").fill(ADMIN_KEY)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/admin/watches?state=watching")


def test_a_watch_that_moves_on_while_it_is_looked_at_has_other_buttons(
    api: Api, address: str, browser: Browser
) -> None:
    watch_id = api.client().register()["id"]
    page = signed_in(browser, address)
    page.clock.install()
    page.goto(f"{address}/admin/watches/{watch_id}")
    expect(page.get_by_role("button", name="Ask HubSpot now")).to_be_visible()
    ended = {"outcome": "completed", "ended_at": NOW, "settled_at": NOW, "due_at": None}
    api.change(watch_id, state="delivered", **ended)
    again = page.get_by_role("button", name="Send the callback again")
    page.clock.fast_forward(REFRESH_MS)
    expect(again).to_be_visible()
    expect(page.get_by_role("button", name="Ask HubSpot now")).to_have_count(0)
    again.click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text("is being sent again")


def test_the_page_of_a_watch_follows_it_to_its_callback(api: Api, address: str, browser: Browser) -> None:
    watch_id = api.client().register()["id"]
    page = signed_in(browser, address, permissions=["clipboard-read", "clipboard-write"])
    page.clock.install()
    page.goto(f"{address}/admin/watches/{watch_id}")
    expect(page.get_by_text("It is made when the task has ended.")).to_be_visible()
    ended = {"outcome": "completed", "ended_at": NOW, "settled_at": NOW, "due_at": None}
    api.change(watch_id, state="delivered", **ended)
    api.insert(answers, watch_id=watch_id, body='{"status": "COMPLETE"}')
    page.clock.fast_forward(REFRESH_MS)
    body = page.locator("#callback-body")
    expect(body).to_contain_text("import.completed")
    expect(page.locator("#hubspot-json")).to_contain_text("COMPLETE")
    # What is selected, to be copied, is not signed anew meanwhile.
    headers = page.locator("#callback-headers")
    headers.select_text()
    selected = page.evaluate("String(getSelection())")
    api.clock.passes(60)
    with page.expect_response(lambda response: response.request.headers.get("hx-request") == "true"):
        page.clock.fast_forward(REFRESH_MS)
    expect(
        page.get_by_text("Registered 60 s ago").or_(page.get_by_text("Registered 1 min ago"))
    ).to_be_visible()
    assert page.evaluate("String(getSelection())") == selected
    assert headers.inner_text().split() == selected.split()
    page.locator(".code").filter(has=body).get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    assert "import.completed" in page.evaluate("navigator.clipboard.readText()")


def test_a_new_key_is_copied_and_a_page_that_is_loaded_again_makes_no_other_one(
    address: str, browser: Browser
) -> None:
    page = signed_in(browser, address, permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{address}/admin/clients")
    page.get_by_label("Name").fill("cms")
    page.get_by_role("button", name="Add").click()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied", exact=True)).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"hib_[A-Za-z0-9_-]{43}", copied)
    assert copied == page.locator("#api-key").text_content()
    page.reload()
    expect(page.get_by_role("heading", name="Clients", exact=True)).to_be_visible()
    expect(page.get_by_text(f"{copied[:10]}…")).to_be_visible()
