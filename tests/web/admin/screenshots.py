"""Makes the screenshots of the operators' page that the README shows: `python -m tests.web.admin.screenshots [FOLDER]`."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Page

from bridge.db.engine import open_engine
from bridge.db.migrations import upgrade
from tests.web.admin.browser import DESK, PHONE, chromium, listening, signed_in
from tests.web.admin.scene import fill, watch_id
from tests.web.api import serving

FOLDER = Path("docs/images")
UNDELIVERED = watch_id(18)
PAGES = {
    "overview": "",
    "watches": "/watches",
    "watch": f"/watches/{UNDELIVERED}",
    "accounts": "/accounts",
    "clients": "/clients",
    "hosts": "/hosts",
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESK, "color_scheme": "light"},
    "dark": {"viewport": DESK, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "device_scale_factor": 2},
}


def main(folder: Path, *, whole: bool = False) -> None:
    """Make every page in every look."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        url = f"sqlite:///{temporary}/bridge.db"
        engine = open_engine(url)
        upgrade(engine)
        engine.dispose()
        with serving(url) as api, listening(api.app) as address, chromium() as browser:
            fill(api)
            for look, context in LOOKS.items():
                page = signed_in(browser, address, **context)
                for name, path in PAGES.items():
                    _shoot(page, f"{address}/admin{path}", folder / f"admin-{name}-{look}.png", whole=whole)


def _shoot(page: Page, url: str, path: Path, *, whole: bool) -> None:
    page.goto(url)
    page.screenshot(path=path, full_page=whole, animations="disabled")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER, whole="--whole" in sys.argv)
