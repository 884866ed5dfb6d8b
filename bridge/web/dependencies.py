"""The dependencies of the web application: objects and plain values that `wiring` gives to it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from bridge.db.accounts import Accounts
from bridge.db.counters import Counters
from bridge.db.encryption import Cipher
from bridge.http.callbacks import CallbackSender
from bridge.steps.hubspot_calls import HubSpotCalls
from bridge.steps.operator_events import OperatorOutbox
from bridge.web.auth import Authenticator
from bridge.web.registrar import Registrar


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependencies:
    """The argument of `create_app`.

    - `clock` returns the current instant, timezone-aware.
    - `watch_timeout_seconds` is the time-out of a watch when its registration does not set one.
    - `public_url` is the URL of this bridge, without a slash at the end; None when it is not known.
    """

    engine: Engine
    cipher: Cipher
    accounts: Accounts
    callbacks: CallbackSender
    hubspot_calls: HubSpotCalls
    counters: Counters
    outbox: OperatorOutbox
    authenticator: Authenticator
    registrar: Registrar
    clock: Callable[[], datetime]
    watch_timeout_seconds: float
    public_url: str | None
