"""`/docs` in a real browser, where one is installed."""

import gzip
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.reliability.processes import ROOT
from tests.web.browser import TIMEOUT_MS
from tests.web.wire import ADMIN_KEY, served

SCALAR = ROOT / "bridge/web/static/scalar"


@pytest.fixture(scope="module")
def bridge(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real web process."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(sqlite_template, folder / "bridge.db")
    with served(folder) as web:
        yield f"http://127.0.0.1:{web.port}"


@contextmanager
def opened(browser: Browser, url: str, shows: str) -> Iterator[Page]:
    """Open the page, and check that it has a heading, logs no error, and loads from its own server only."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    errors: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    expect(page.get_by_role("heading", name=shows)).to_be_attached()
    yield page
    context.close()
    assert errors == []
    server = url.partition("/docs")[0]
    assert [each for each in asked if not each.startswith((f"{server}/", "data:", "blob:"))] == []


def brightness(page: Page) -> int:
    """The page's background: 0 is black, 765 is white."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def test_it_fits_all_windows_and_leads_to_operations_that_can_be_copied_and_tried_out(
    browser: Browser, bridge: str
) -> None:
    title = "Register a watch."
    with opened(browser, f"{bridge}/docs#tag/watches/POST/v1/watches", title) as page:
        expect(page.get_by_role("heading", name=title)).to_be_in_viewport()
        assert brightness(page) > 600
        page.emulate_media(color_scheme="dark")
        expect(page.locator("body")).to_have_class(re.compile("dark-mode"))
        assert brightness(page) < 200
        for width in (390, 1300):
            page.set_viewport_size({"width": width, "height": 900})
            expect(page.get_by_role("heading", name="HubSpot import bridge")).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        example = page.get_by_role("region", name=title).first
        shown = "Shell Curl"
        for language, sample in (
            ("Shell Curl", "curl "),
            ("Python Requests", "requests.post("),
            ("JavaScript Fetch", "fetch("),
        ):
            example.get_by_role("button", name=shown).click()
            page.get_by_role("option", name=language.rsplit(maxsplit=1)[-1], exact=True).first.click()
            expect(example).to_contain_text(sample)
            expect(example).to_contain_text(f"{bridge}/v1/watches")
            shown = language
        page.keyboard.press("Control+k")
        page.keyboard.type("Show the client that the API key belongs to")
        page.get_by_role("option", name="/v1/me").first.click()
        expect(page).to_have_url(re.compile(r"#.*/v1/me$"))
        page.get_by_role("button", name="(get /v1/me)").click()
        page.get_by_placeholder("Token").locator("visible=true").last.fill(ADMIN_KEY)
        page.get_by_role("button", name=re.compile("Send get request to")).click()
        expect(page.get_by_text("200 OK")).to_be_visible()


def test_the_page_s_scripts_are_those_that_its_note_names() -> None:
    """No inline script, no other source: what runs there is this file."""
    note = (SCALAR / "README.md").read_text(encoding="utf-8")
    assert sha256(gzip.decompress((SCALAR / "standalone.js.gz").read_bytes())).hexdigest() in note
    assert "@scalar/api-reference`, version " in note
    assert "MIT License" in (SCALAR / "LICENSE").read_text(encoding="utf-8")
