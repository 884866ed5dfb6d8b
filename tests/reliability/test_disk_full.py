"""The disk is full: the bridge says so, keeps what it has promised, and goes on when there is room again."""

from collections.abc import Iterator
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Any

from sqlalchemy import event
from structlog.testing import capture_logs

from bridge import startup
from bridge.sandbox import Sandbox
from bridge.settings import Settings
from bridge.web.app import create_app
from bridge.wiring import Bridge
from tests.reliability.conftest import NewInstallation
from tests.reliability.database import Installation
from tests.reliability.ledger import Ledger
from tests.reliability.receiver import Receiver
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
def working(installation: Installation, hubspot: Sandbox) -> Iterator[Bridge]:
    """The whole bridge in this process: the limit is each connection's own, and no other process's."""
    bridge = Bridge(Settings.load(installation.env(hubspot.url)))
    startup.prepare(bridge)
    bridge.start_worker()
    try:
        yield bridge
    finally:
        bridge.stop_worker()
        bridge.engine.dispose()


class Client:
    """Registers over the REST API; what is promised is in its ledger."""

    def __init__(
        self, bridge: Bridge, installation: Installation, hubspot: Sandbox, receiver: Receiver
    ) -> None:
        self.ledger = Ledger(installation, receiver)
        self._http = create_app(bridge.web_dependencies).test_client()
        self._headers = {"Authorization": f"Bearer {installation.api_key}"}
        self._hubspot = hubspot
        self._url = receiver.url(installation)

    def register(self, tasks: int) -> tuple[int, Any]:
        """Register a batch; returns the status and the document."""
        watches = [
            {"task_id": task_id, "callback_url": self._url, "metadata": LARGE}
            for task_id in self._hubspot.state.add_tasks(tasks=tasks)
        ]
        answer = self._http.post("/v1/watches/batch", json={"watches": watches}, headers=self._headers)
        document: Any = answer.get_json()
        if answer.status_code == 200:
            self.ledger.promise(*(result["watch"]["id"] for result in document["results"]))
        return answer.status_code, document


def test_a_full_disk_is_told_and_loses_nothing(
    new_installation: NewInstallation, hubspot: Sandbox, receiver: Receiver
) -> None:
    installation = new_installation("sqlite")
    with capture_logs() as logged, working(installation, hubspot) as bridge:
        disk = Disk(bridge)
        client = Client(bridge, installation, hubspot, receiver)
        assert client.register(100)[0] == 200
        disk.fills()
        status, document = client.register(100)
        assert (status, document["detail"]) == (503, "The database's disk is full.")
        until(lambda: [line for line in logged if "database or disk is full" in str(line.get("error"))])
        disk.has_room()
        assert client.register(1)[0] == 200
        until(client.ledger.settled)
    assert not client.ledger.problems()
    assert len(receiver.arrivals(installation)) == len(client.ledger.promises)
