"""Registers watches for clients: with a bound on how many are open, and many threads' at a time."""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from bridge.edges.database import reading
from bridge.edges.store.clients import by_keys
from bridge.edges.store.watches import open_watches
from bridge.register import Differs, Registered, Registration, register
from bridge.web.together import Together

# To count a client's open watches costs milliseconds when they are many: not on every request.
COUNTED_EVERY = timedelta(seconds=60)
# A client that is at its limit may try often; its watches settle one by one.
RECOUNTED_EVERY = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyGone:
    """The presumed key does not stand any more: nothing was registered."""


_Wish = tuple[Registration, str | None]


@dataclass(slots=True)
class _Count:
    """How many watches of a client were open at an instant, and how many this process added since."""

    open: int
    counted_at: datetime
    added: int = 0


class Registrar:
    """Registers watches. Thread-safe.

    The limit is on a client's open watches; while several processes register, it may be
    overshot by what the others add within a minute.
    """

    def __init__(self, engine: Engine, limit: int, clock: Callable[[], datetime]) -> None:
        self.limit = limit
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._one = Together(self._register_presumed)

    def has_room(self, client: str, wanted: int, now: datetime) -> bool:
        """Tell whether a client may register as many watches as it wants to."""
        count = self._counts.get(client) or self._count(client, now)
        lasts = COUNTED_EVERY if self._fit(count, wanted) else RECOUNTED_EVERY
        if now >= count.counted_at + lasts:
            count = self._count(client, now)
        return self._fit(count, wanted)

    def reopened(self, client: str, watches: int) -> None:
        """Count watches that are open again."""
        with self._lock:
            if count := self._counts.get(client):
                count.added += watches

    def _fit(self, count: _Count, wanted: int) -> bool:
        return count.open + count.added + wanted <= self.limit

    def _count(self, client: str, now: datetime) -> _Count:
        with reading(self._engine) as connection:
            count = _Count(open=open_watches(connection, client), counted_at=now)
        with self._lock:
            self._counts[client] = count
        return count

    def one(self, wanted: Registration, presumed_key: str | None) -> Registered | Differs | KeyGone:
        """Register one watch, in one transaction with those that other threads register now.

        A presumed key is looked up first, with theirs.
        """
        return self._one((wanted, presumed_key))

    def many(self, wanted: Sequence[Registration]) -> list[Registered | Differs]:
        """Register watches in a transaction of their own."""
        return self._register(wanted) if wanted else []

    def _register_presumed(self, wishes: Sequence[_Wish]) -> list[Registered | Differs | KeyGone]:
        keys = {key for _, key in wishes if key}
        standing = self._standing(keys) if keys else {}
        welcome = [key is None or key in standing for _, key in wishes]
        results = iter(
            self.many([wanted for (wanted, _), is_welcome in zip(wishes, welcome, strict=True) if is_welcome])
        )
        return [next(results) if is_welcome else KeyGone() for is_welcome in welcome]

    def _standing(self, keys: Collection[str]) -> Collection[str]:
        with reading(self._engine) as connection:
            return by_keys(connection, keys)

    def _register(self, wanted: Sequence[Registration]) -> list[Registered | Differs]:
        results = register(self._engine, wanted, now=self._clock())
        with self._lock:
            for registration, result in zip(wanted, results, strict=True):
                count = self._counts.get(registration.client)
                if count and isinstance(result, Registered) and result.new:
                    count.added += 1
        return results
