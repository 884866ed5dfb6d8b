"""A database with one client and its watches: what the processes of a test work on."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import Engine

from bridge.db.encryption import Cipher
from bridge.db.engine import open_engine
from bridge.steps import clients
from bridge.steps.register import Registered, Registration, register
from tests.makers import a_registration

KEY = Fernet.generate_key().decode()

# Short enough for a test to see a lease run out; the lease must exceed both time-outs.
LEASE_SECONDS = 3.0
HUBSPOT_SECONDS = 1.0
CALLBACK_SECONDS = 2.0
# Due as soon as it is registered: the contract's first poll comes after two seconds.
OLD_ENOUGH = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """A migrated database at `url`, and the one client of it."""

    url: str
    engine: Engine
    client: str
    api_key: str
    secret: str

    def env(self, hubspot_url: str, **changes: str) -> dict[str, str]:
        """Return the environment of a process that works on it."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "HUBSPOT_"))
        }
        return inherited | {
            "DATABASE_URL": self.url,
            "BRIDGE_SECRET_KEY": KEY,
            "BRIDGE_LOG_FORMAT": "json",
            "BRIDGE_LEASE_SECONDS": f"{LEASE_SECONDS:g}",
            "BRIDGE_CALLBACK_TIMEOUT": f"{CALLBACK_SECONDS:g}",
            "BRIDGE_CALLBACK_HTTPS_ONLY": "false",
            "BRIDGE_CALLBACK_ALLOW": "127.0.0.0/8,::1/128",
            "BRIDGE_RETRY_SCHEDULE": "1,1,1,1,1,1,1,1",
            "HUBSPOT_BASE_URL": hubspot_url,
            "HUBSPOT_ACCESS_TOKEN": "sandbox-token",
            "HUBSPOT_TIMEOUT": f"{HUBSPOT_SECONDS:g}",
            # The quota has tests of its own; here nothing waits for it.
            "HUBSPOT_RATE_LIMIT": "100000/10",
            **changes,
        }

    def register(self, task_ids: Sequence[str], callback_url: str, **others: Any) -> list[str]:
        """Register watches that are due now, without a web process; returns their ids."""
        wanted = [self.registration(task_id, callback_url, **others) for task_id in task_ids]
        results = register(self.engine, wanted, now=datetime.now(UTC) - OLD_ENOUGH)
        return [result.watch.id for result in results if isinstance(result, Registered)]

    def registration(self, task_id: str, callback_url: str, **others: Any) -> Registration:
        return a_registration(task_id, client=self.client, callback_url=callback_url, **others)


@contextmanager
def an_installation(url: str) -> Iterator[Installation]:
    """Make an installation on a migrated database: add its client."""
    engine = open_engine(url)
    try:
        # A name of its own: one receiver serves many installations.
        name = f"shop-{token_hex(4)}"
        new = clients.add(engine, Cipher([KEY]), name, admin=False, now=datetime.now(UTC))
        assert isinstance(new, clients.NewClient)
        yield Installation(
            url=url, engine=engine, client=name, api_key=new.api_key, secret=new.signing_secret
        )
    finally:
        engine.dispose()
