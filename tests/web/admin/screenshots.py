"""Makes the screenshots of the operators' page: `make screenshots`.

With a folder as an argument, every page in every look, and from top to bottom: to look at after a change.
"""

import logging
import sys
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from bridge.db.engine import open_engine
from bridge.db.migrations import upgrade
from tests.web.admin.browser import DESK, PHONE, listening, signed_in
from tests.web.admin.sample_data import add_all, watch_id
from tests.web.api import serving
from tests.web.browser import chromium

FOLDER = Path("docs/images")
# What the README shows.
SHOWN = {("overview", "light"), ("overview", "dark"), ("watch", "light"), ("watches", "phone")}
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


def main(folder: Path, shown: Collection[tuple[str, str]], *, whole: bool) -> None:
    """Make those that are to be shown, each as `admin-<page>-<look>.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as temporary:
        url = f"sqlite:///{temporary}/bridge.db"
        engine = open_engine(url)
        upgrade(engine)
        engine.dispose()
        with serving(url) as api, listening(api.app) as address, chromium() as browser:
            add_all(api)
            for look, context in LOOKS.items():
                page = signed_in(browser, address, **context)
                for name, path in PAGES.items():
                    if (name, look) in shown:
                        page.goto(f"{address}/admin{path}")
                        to = folder / f"admin-{name}-{look}.png"
                        page.screenshot(path=to, full_page=whole, animations="disabled")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), {(name, look) for name in PAGES for look in LOOKS}, whole=True)
    else:
        main(FOLDER, SHOWN, whole=False)
