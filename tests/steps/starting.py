"""Starts imports at the simulated HubSpot, for tests."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from bridge.db.accounts import Account
from bridge.sandbox import Sandbox, Target
from bridge.steps import start_import
from bridge.steps.register import RegistrationResult, register
from bridge.steps.start_import import StartResult
from tests.hubspot_accounts import hubspot_calls
from tests.makers import a_registration

START = Target(endpoint="start-import")
DOCUMENT = '{"access":"PRIVATE","url":"https://files.example.com/a.csv?secret","folderPath":"/imports"}'
JSON = {"Content-Type": "application/json"}


def started(
    engine: Engine,
    clock: Callable[[], datetime],
    account: Account,
    document: str = DOCUMENT,
    *,
    metadata: str = '{"order":17}',
    claim_hubspot_call: Callable[[], bool] = lambda: True,
) -> StartResult:
    def register_task(task_id: str) -> RegistrationResult:
        wanted = a_registration(task_id, metadata=metadata, timeout_seconds=600.0)
        return register(engine, [wanted], now=clock())[0]

    return start_import.start(
        hubspot_calls(engine, clock, account, timeout_seconds=2),
        client="cms",
        account="default",
        document=document,
        register=register_task,
        claim_hubspot_call=claim_hubspot_call,
    )


def starts(hubspot: Sandbox) -> int:
    """Return how many starts of an import HubSpot got."""
    return int(hubspot.state.ledger()["endpoints"].get("start-import", 0))
