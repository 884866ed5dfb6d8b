"""The disk is full: the bridge says so, keeps what it has promised, and goes on when there is room again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection

import pytest
from sqlalchemy import event

from bridge.sandbox import Sandbox
from bridge.settings import Settings
from bridge.wiring import Bridge
from tests.reliability.conftest import NewSite
from tests.reliability.ledger import Ledger
from tests.reliability.receiver import Receiver
from tests.reliability.site import Site
from tests.reliability.waiting import until

UNLIMITED = 2**30
# More than the pages hold that SQLite has to spare.
LARGE = {"padding": "x" * 4000}


class Disk:
    """What SQLite believes about its disk: it may grow, or not by one page."""

    def __init__(self, bridge: Bridge) -> None:
        self._most_pages = UNLIMITED
        event.listen(bridge.engine, "checkout", self._limit)

    def _limit(self, connection: Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {self._most_pages}")

    def fills(self) -> None:
        # SQLite takes the number of pages that there are for a limit that is lower.
        self._most_pages = 1

    def has_room(self) -> None:
        self._most_pages = UNLIMITED


@contextmanager
def working(site: Site, hubspot: Sandbox) -> Iterator[Bridge]:
    """The whole bridge in this process: the limit is each connection's own, and no other process's."""
    bridge = Bridge(Settings.load(site.env(hubspot.url)))
    bridge.prepare()
    bridge.start_worker()
    try:
        yield bridge
    finally:
        bridge.stop_worker()
        bridge.engine.dispose()


def test_a_full_disk_is_told_and_loses_nothing(
    new_site: NewSite, hubspot: Sandbox, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    site = new_site("sqlite")
    ledger = Ledger(site, receiver)
    with working(site, hubspot) as bridge:
        disk = Disk(bridge)
        client = bridge.app.test_client()
        headers = {"Authorization": f"Bearer {site.api_key}"}

        def register(tasks: int) -> int:
            """Register a batch; only what is promised is expected."""
            watches = [
                {"task_id": task_id, "callback_url": receiver.url(site), "metadata": LARGE}
                for task_id in hubspot.state.add_tasks(tasks=tasks)
            ]
            answer = client.post("/v1/watches/batch", json={"watches": watches}, headers=headers)
            if answer.status_code == 200:
                ledger.promise(*(result["watch"]["id"] for result in answer.json["results"]))
            told.append(answer.json)
            return answer.status_code

        told = []
        assert register(100) == 200
        disk.fills()
        assert register(100) == 503
        assert told[-1]["detail"] == "The database's disk is full."
        until(lambda: "database or disk is full" in capsys.readouterr().out)
        disk.has_room()
        assert register(1) == 200
        until(ledger.settled)
    assert not ledger.problems()
    assert len(receiver.arrivals(site)) == len(ledger.promises)
