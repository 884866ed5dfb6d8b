"""Every form of the operators' page in a real Chromium, by keyboard alone, and without JavaScript."""

from typing import Any, Protocol

import pytest
from flask import Flask, request, request_started
from playwright.sync_api import Browser, Locator, Page, expect

from bridge.db.tables import host_breakers
from bridge.sandbox import Sandbox
from tests.makers import NOW, later
from tests.web.api import ADMIN_KEY, Api

# More than any of these pages has controls.
MOST_TABS = 100


class Hands(Protocol):
    """How somebody works the page: with the keyboard, or with a mouse as well."""

    def press(self, control: Locator) -> None:
        """Press a button, follow a link, or open or close details."""

    def fill(self, field: Locator, text: str) -> None:
        """Type into a field."""

    def check(self, box: Locator) -> None:
        """Check a checkbox."""

    def choose(self, field: Locator, option: str) -> None:
        """Choose an option by its text."""


class Mouse:
    """Clicks; whatever is not done by the browser itself needs JavaScript."""

    def press(self, control: Locator) -> None:
        control.click()

    def fill(self, field: Locator, text: str) -> None:
        field.fill(text)

    def check(self, box: Locator) -> None:
        box.check()

    def choose(self, field: Locator, option: str) -> None:
        field.select_option(label=option)


class Keyboard:
    """Presses keys, and nothing else: what the Tab key does not reach cannot be used."""

    def press(self, control: Locator) -> None:
        self._reach(control)
        control.page.keyboard.press("Enter")

    def fill(self, field: Locator, text: str) -> None:
        self._reach(field)
        field.page.keyboard.type(text)

    def check(self, box: Locator) -> None:
        self._reach(box)
        box.page.keyboard.press("Space")
        expect(box).to_be_checked()

    def choose(self, field: Locator, option: str) -> None:
        self._reach(field)
        field.page.keyboard.type(option)

    def _reach(self, control: Locator) -> None:
        element = control.element_handle()
        for _ in range(MOST_TABS):
            if element.evaluate("(element) => element === document.activeElement"):
                return
            control.page.keyboard.press("Tab")
        pytest.fail(f"no way by keyboard to {control}")


def add_watches(api: Api) -> dict[str, str]:
    """Return the ids of a watch that goes on, one whose callback waits for its paused host, and two that are delivered."""
    client = api.client("cms")
    ids = {
        task: client.register(task)["id"] for task in ("going-on", "waiting", "delivered-1", "delivered-2")
    }
    ended = {"outcome": "completed", "ended_at": NOW}
    api.change(ids["waiting"], state="delivering", due_at=later(3_600), **ended)
    for task in ("delivered-1", "delivered-2"):
        api.change(ids[task], state="delivered", settled_at=NOW, due_at=None, **ended)
    paused = {"failures": 5, "pause_seconds": 30.0, "paused_at": NOW, "paused_until": later(3_600)}
    api.insert(host_breakers, name="app.example.com", reason="The receiver is gone", **paused)
    return ids


@pytest.mark.parametrize(
    ("database_url", "hands"),
    [("sqlite", Keyboard()), ("postgresql", Mouse())],
    indirect=["database_url"],
    ids=["keyboard", "without-javascript"],
)
def test_every_form_can_be_sent_by_keyboard_alone_and_without_javascript(
    api: Api, address: str, browser: Browser, hubspot: Sandbox, hands: Hands
) -> None:
    watches = add_watches(api)
    page = browser.new_context(
        java_script_enabled=isinstance(hands, Keyboard), reduced_motion="reduce"
    ).new_page()
    sent: set[str | None] = set()

    def note(_: Flask) -> None:
        sent.update([request.endpoint] if request.method == "POST" else [])

    with request_started.connected_to(note, api.app):
        _sign_in(page, address, hands)
        _set_up_an_account(page, hands, hubspot)
        _set_up_a_client(page, hands)
        _try_a_host(page, hands)
        _change_watches(page, hands)
        _redeliver_a_list(page, hands)
        hands.press(page.get_by_role("button", name="Sign out"))
        expect(page.get_by_label("Admin's API key")).to_be_visible()
    assert sent == {
        rule.endpoint
        for rule in api.app.url_map.iter_rules()
        if rule.endpoint.startswith("admin.") and "POST" in (rule.methods or ())
    }
    assert {task: _watch(api, watch_id)["state"] for task, watch_id in watches.items()} == {
        "going-on": "withdrawn",
        "waiting": "delivering",
        "delivered-1": "delivering",
        "delivered-2": "delivering",
    }


def _watch(api: Api, watch_id: str) -> Any:
    return api.admin.get(f"/v1/watches/{watch_id}").json


def _sign_in(page: Page, address: str, hands: Hands) -> None:
    page.goto(f"{address}/admin")
    expect(page.get_by_label("Admin's API key")).to_be_focused()
    hands.fill(page.get_by_label("Admin's API key"), ADMIN_KEY)
    hands.press(page.get_by_role("button", name="Sign in"))
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def _set_up_an_account(page: Page, hands: Hands, hubspot: Sandbox) -> None:
    hands.press(page.get_by_role("link", name="Accounts"))
    new = page.get_by_role("region", name="Add an account")
    hands.fill(new.get_by_label("Name"), "eu")
    hands.fill(new.get_by_label("Access token"), "a-wrong-token")
    hands.fill(new.get_by_label("Base URL"), hubspot.url)
    hands.fill(new.get_by_label("Rate limit"), "190/10")
    hands.fill(new.get_by_label("Share of it"), "0.25")
    hands.press(new.get_by_role("button", name="Add"))
    _is_told(page, "The account eu is set.")
    card = page.get_by_role("article", name="eu")
    hands.press(card.get_by_role("button", name="Check now"))
    _is_told(page, "Give the account a valid token.")
    hands.press(card.get_by_text("Change", exact=True))
    # What has no value here goes on following the environment.
    expect(card.get_by_label("API version")).to_have_value("")
    hands.fill(card.get_by_label("Access token"), "sandbox-token")
    hands.press(card.get_by_role("button", name="Replace eu"))
    _is_told(page, "The account eu is set.")
    expect(card.get_by_label("Rate limit")).to_have_value("190/10")
    expect(card.get_by_label("Share of it")).to_have_value("0.25")
    hands.press(card.get_by_role("button", name="Check now"))
    _is_told(page, "HubSpot takes the credentials.")
    hands.press(card.get_by_role("button", name="Remove…"))
    hands.press(card.get_by_role("button", name="Remove eu"))
    _is_told(page, "The account eu is removed.")


def _is_told(page: Page, text: str) -> None:
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text(text)


def _set_up_a_client(page: Page, hands: Hands) -> None:
    hands.press(page.get_by_role("link", name="Clients"))
    new = page.get_by_role("region", name="Add a client")
    hands.fill(new.get_by_label("Name"), "shop")
    hands.check(new.get_by_label("Admin"))
    hands.press(new.get_by_role("button", name="Add"))
    _is_shown_once(page, hands, ["API key", "Signing secret"])
    card = page.get_by_role("article", name="shop")
    hands.press(card.get_by_role("button", name="New key…"))
    hands.press(card.get_by_role("button", name="Make a new key"))
    _is_shown_once(page, hands, ["API key"])
    hands.press(card.get_by_role("button", name="New secret…"))
    overlap = card.get_by_label("The old one signs too")
    hands.choose(overlap, "an hour")
    expect(overlap).to_have_value("1h")
    hands.press(card.get_by_role("button", name="Make a new secret"))
    _is_shown_once(page, hands, ["Signing secret"])
    hands.press(card.get_by_role("button", name="Revoke…"))
    hands.press(card.get_by_role("button", name="Revoke shop"))
    _is_told(page, "shop is revoked.")


def _is_shown_once(page: Page, hands: Hands, secrets: list[str]) -> None:
    expect(page.get_by_role("heading", level=2)).to_have_text(secrets)
    hands.press(page.get_by_role("button", name="I have copied it"))


def _try_a_host(page: Page, hands: Hands) -> None:
    hands.press(page.get_by_role("link", name="Hosts"))
    hands.press(page.get_by_role("button", name="Try it now"))
    _is_told(page, "is being sent now")
    expect(page.get_by_role("heading", level=1)).to_have_text("waiting")


def _change_watches(page: Page, hands: Hands) -> None:
    _search(page, hands, "delivered-1")
    hands.press(page.get_by_role("button", name="Send the callback again"))
    _is_told(page, "is being sent again")
    _search(page, hands, "going-on")
    hands.press(page.get_by_role("button", name="Ask HubSpot now"))
    _is_told(page, "as soon as the account allows it")
    hands.press(page.get_by_role("button", name="Withdraw…"))
    hands.press(page.get_by_role("button", name="Withdraw the watch"))
    _is_told(page, "withdrawn")


def _search(page: Page, hands: Hands, task: str) -> None:
    hands.fill(page.get_by_label("Search"), task)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(task)


def _redeliver_a_list(page: Page, hands: Hands) -> None:
    hands.press(page.get_by_role("link", name="Watches"))
    hands.press(page.get_by_text("Filters", exact=True))
    hands.check(page.get_by_label("delivered", exact=True))
    hands.fill(page.get_by_label("Client"), "cms")
    hands.press(page.get_by_role("button", name="Show"))
    expect(page.get_by_role("link", name="going-on")).to_have_count(0)
    hands.press(page.get_by_role("link", name="Send all of these again…"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Send 1 callback again?")
    hands.press(page.get_by_role("button", name="Send them again"))
    _is_told(page, "1 callback is being sent again.")
