"""The life of a watch with the client that openapi-python-client makes."""

import os
import time

from hub_spot_import_bridge_client import AuthenticatedClient
from hub_spot_import_bridge_client.api.accounts import put_account
from hub_spot_import_bridge_client.api.watches import (
    list_attempts,
    list_watches,
    redeliver_watch,
    register_watch,
    register_watches,
    show_watch,
    start_import,
)
from hub_spot_import_bridge_client.models import (
    Account,
    AccountSettings,
    AttemptList,
    NewImport,
    NewImportImport,
    NewWatch,
    NewWatchBatch,
    NewWatchMetadata,
    Problem,
    RegistrationResults,
    TaskKind,
    Watch,
    WatchPage,
    WatchState,
)
from hub_spot_import_bridge_client.types import UNSET

URL = os.environ["CALLBACK_URL"]
FIRST, SECOND, THIRD = os.environ["TASKS"].split(",")
LOOKS = 240


def client(key: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=os.environ["BRIDGE_URL"], token=os.environ[key])


bridge, admin = client("API_KEY"), client("ADMIN_KEY")


def settled(watch_id: str) -> Watch:
    for _ in range(LOOKS):
        watch = show_watch.sync(watch_id, client=bridge)
        assert isinstance(watch, Watch)
        if watch.settled_at is not None:
            return watch
        time.sleep(0.25)
    raise AssertionError("the watch is not settled")


registered = register_watch.sync(client=bridge, body=NewWatch(task_id=FIRST, callback_url=URL))
assert isinstance(registered, Watch)
assert registered.state is WatchState.WATCHING

metadata = NewWatchMetadata.from_dict({"order": 17, "nested": {"any": ["thing"]}})
batch = register_watches.sync(
    client=bridge,
    body=NewWatchBatch(
        watches=[
            NewWatch(task_id=SECOND, callback_url=URL, metadata=metadata),
            NewWatch(task_id=THIRD, callback_url=URL, kind=TaskKind.FILE_IMPORT, timeout_seconds=3600),
            NewWatch(task_id="", callback_url=URL),
        ]
    ),
)
assert isinstance(batch, RegistrationResults)
assert [result.status for result in batch.results] == [201, 201, 422]
assert isinstance(batch.results[2].problem, Problem)
assert batch.results[2].problem.type_ == "/problems/invalid-input"
assert isinstance(batch.results[0].watch, Watch)
assert batch.results[0].watch.metadata.to_dict() == metadata.to_dict()

seen: list[str] = []
cursor = UNSET
while cursor is not None:
    states = [WatchState.WATCHING, WatchState.DELIVERING, WatchState.DELIVERED]
    page = list_watches.sync(client=bridge, limit=1, state=states, cursor=cursor)
    assert isinstance(page, WatchPage), page
    seen += [watch.task_id for watch in page.watches]
    cursor = page.next_cursor
assert {FIRST, THIRD} <= set(seen)

ended = settled(registered.id)
assert (ended.outcome, ended.state) == ("completed", "delivered"), ended
attempts = list_attempts.sync(registered.id, client=bridge)
assert isinstance(attempts, AttemptList)
assert [attempt.status_code for attempt in attempts.attempts] == [204]
again = redeliver_watch.sync(registered.id, client=bridge)
assert isinstance(again, Watch)
assert again.state is WatchState.DELIVERING
settled(registered.id)

account = put_account.sync(
    "with-openapi-python-client",
    client=admin,
    body=AccountSettings(access_token="pat-test", rate_limit="190/10"),
)
assert isinstance(account, Account)
assert account.rate_limit == "190/10"

document = {"url": "https://files.example.com/report.csv", "access": "PRIVATE", "folderPath": "/imports"}
started = start_import.sync(
    client=bridge, body=NewImport(import_=NewImportImport.from_dict(document), callback_url=URL)
)
assert isinstance(started, Watch), started
assert started.kind is TaskKind.FILE_IMPORT

gone = show_watch.sync("wat_nothing", client=bridge)
assert isinstance(gone, Problem)
assert (gone.type_, gone.status) == ("/problems/not-found", 404)
print("done")  # noqa: T201 -- the test reads it
