"""Starts imports at the simulated HubSpot, for tests."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from bridge.db.accounts import Account
from bridge.sandbox import Sandbox, Target
from bridge.steps import start_import
from bridge.steps.register import register
from bridge.steps.start_import import ImportRequest, Started
from tests.hubspot_accounts import hubspot_calls

START = Target(endpoint="start-import")
DOCUMENT = '{"access":"PRIVATE","url":"https://files.example.com/a.csv?secret","folderPath":"/imports"}'
JSON = {"Content-Type": "application/json"}


def an_import(document: str = DOCUMENT, **others: Any) -> ImportRequest:
    fields: dict[str, Any] = {
        "client": "cms",
        "account": "default",
        "callback_url": "https://app.example.com/hooks",
        "callback_host": "app.example.com",
        "metadata": '{"order":17}',
        "timeout_seconds": 600.0,
    }
    return ImportRequest(document=document, **fields | others)


def started(
    engine: Engine, clock: Callable[[], datetime], account: Account, new: ImportRequest | None = None
) -> Started:
    asking = hubspot_calls(engine, clock, account, timeout_seconds=2)
    return start_import.start(
        asking, new or an_import(), lambda wanted: register(engine, wanted, now=clock()), lambda: True
    )


def starts(hubspot: Sandbox) -> int:
    """Return how many starts of an import HubSpot got."""
    return int(hubspot.state.ledger()["endpoints"].get("start-import", 0))
