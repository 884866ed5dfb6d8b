"""A real Chromium, where one is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

# Debian's: playwright downloads nothing.
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
# Far longer than a loaded machine takes; nothing waits for it but a failure.
TIMEOUT_MS = 60_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser, and stop it again."""
    with sync_playwright() as playwright:
        expect.set_options(timeout=TIMEOUT_MS)
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()
