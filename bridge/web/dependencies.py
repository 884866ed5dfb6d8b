"""The dependencies of the web application: objects and plain values that `wiring` gives to it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine

from bridge.db.accounts import Accounts
from bridge.db.counters import Counters
from bridge.db.encryption import Cipher
from bridge.http.callbacks import CallbackSender
from bridge.steps.hubspot_calls import HubSpotCalls

OPEN_WATCH_LIMIT = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependencies:
    """The arguments of `create_app`. `clock` returns the present time, timezone-aware; `public_url` has no final slash.

    `open_watch_limit` is the greatest number of watches that one client may have open.
    `behind_router` is true when every request comes through Heroku's router.
    """

    engine: Engine
    cipher: Cipher
    accounts: Accounts
    callbacks: CallbackSender
    hubspot_calls: HubSpotCalls
    counters: Counters
    clock: Callable[[], datetime]
    is_migrated: Callable[[Connection], bool]
    watch_timeout_seconds: float
    admin_key: str | None = field(repr=False)
    public_url: str | None
    open_watch_limit: int = OPEN_WATCH_LIMIT
    behind_router: bool = False
