"""Authentication: finds the client of an API key, and saves when a client last used its key."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from bridge.core.parsing import API_KEY
from bridge.db import clients as store
from bridge.db.clients import Client
from bridge.db.engine import reading
from bridge.steps.clients import ADMIN
from bridge.web.group_commit import GroupCommit
from bridge.web.problems import Problem

LAST_USE_PRECISION = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """The client that sent a request; `name` is empty when the operation needs no API key.

    `from_environment` is true when the request's key is BRIDGE_ADMIN_KEY. `api_key` is the request's key; None when
    the key is BRIDGE_ADMIN_KEY, and None when the operation needs no API key.
    """

    name: str
    admin: bool
    from_environment: bool = False
    api_key: str | None = field(default=None, repr=False)

    def sees(self, client: str) -> bool:
        """Return whether the caller may see the watches of `client`."""
        return self.admin or self.name == client


class LastUses:
    """Saves (in a thread) when each client last used its key, precise to LAST_USE_PRECISION. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._noted: dict[str, datetime] = {}
        self._unsaved: dict[str, datetime] = {}
        self._saving = False

    def note(self, client: str, now: datetime) -> None:
        """Queue `now` to be saved as the time when `client` last used its key.

        Do nothing if a use of the key was noted less than LAST_USE_PRECISION before.
        """
        with self._lock:
            last = self._noted.get(client)
            if last and last <= now < last + LAST_USE_PRECISION:
                return
            self._noted[client] = self._unsaved[client] = now
            if self._saving:
                return
            self._saving = True
        threading.Thread(target=self._save, name="last-uses", daemon=True).start()

    def _save(self) -> None:
        while unsaved := self._take_unsaved():
            try:
                with self._engine.begin() as connection:
                    for client, used_at in sorted(unsaved.items()):
                        store.record_use(connection, client, used_at)
            except SQLAlchemyError:
                with self._lock:
                    self._noted.clear()  # each client's next use is noted

    def _take_unsaved(self) -> dict[str, datetime]:
        with self._lock:
            unsaved, self._unsaved = self._unsaved, {}
            self._saving = bool(unsaved)
        return unsaved


class Authenticator:
    """Finds the client that an API key belongs to. Thread-safe."""

    def __init__(self, engine: Engine, admin_key: str | None) -> None:
        self._engine = engine
        self._admin_hash = sha256(admin_key.encode()).digest() if admin_key else None
        self._last_uses = LastUses(engine)
        # Simultaneous requests share one query: a query for each would take a third of a registration's time.
        self._find = GroupCommit(self._find_all)

    def caller(self, authorization: str | None, now: datetime) -> Caller | Problem:
        """Return the client that sent the API key, or a 401 Problem if the key is missing or not valid.

        `authorization` is the request's `Authorization` header; None when the request has none. If the key is valid,
        `now` is noted as the client's last use of a key.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            return unauthenticated("Send an API key as `Authorization: Bearer …`.", "Bearer")
        return self._by_key(key.strip(), now) or unauthenticated("This API key is not valid.")

    def _by_key(self, key: str, now: datetime) -> Caller | None:
        if not API_KEY.fullmatch(key):
            return None
        if self._admin_hash and compare_digest(sha256(key.encode()).digest(), self._admin_hash):
            caller = Caller(name=ADMIN, admin=True, from_environment=True)
        elif client := self._find(key):
            caller = Caller(name=client.name, admin=client.admin, api_key=key)
        else:
            return None
        self._last_uses.note(caller.name, now)
        return caller

    def _find_all(self, keys: Sequence[str]) -> list[Client | None]:
        with reading(self._engine) as connection:
            found = store.by_keys(connection, set(keys))
        return [found.get(key) for key in keys]


def unauthenticated(detail: str, challenge: str = 'Bearer error="invalid_token"') -> Problem:
    """Return the Problem of a request without a valid API key."""
    return Problem(status=401, detail=detail, headers={"WWW-Authenticate": challenge})
