"""Registers watches for clients: with a bound on how many are open, and many threads' at a time."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from bridge.core.counters import REGISTRATIONS
from bridge.db.counters import Counters
from bridge.db.engine import reading
from bridge.db.watches import open_watches
from bridge.steps.register import Registered, Registration, RegistrationResult, register
from bridge.web.group_commit import GroupCommit

# To count a client's open watches costs milliseconds when they are many: not on every request.
COUNTED_EVERY = timedelta(seconds=60)
# A client that is at its limit may try often; its watches settle one by one.
RECOUNTED_EVERY = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Count:
    """How many watches of a client were open at an instant, and how many this process had added before."""

    open: int
    counted_at: datetime
    added_before: int


class Registrar:
    """Registers watches. Thread-safe.

    The limit is on a client's open watches; while several processes register, it may be overshot by what the
    others add within a minute, and by what a client's requests register at the very same time: nothing is
    reserved between the look at the limit and the registration.
    """

    def __init__(self, engine: Engine, limit: int, clock: Callable[[], datetime], counters: Counters) -> None:
        self.limit = limit
        self._counters = counters
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._added: Counter[str] = Counter()
        self._group_commit = GroupCommit(self._register)

    def available(self, client: str, wanted: int, now: datetime) -> int:
        """Return how many of the wanted watches a client may have open besides those that it has."""
        count = self._counts.get(client) or self._count(client, now)
        valid_for = COUNTED_EVERY if self._remaining(client, count) >= wanted else RECOUNTED_EVERY
        if now >= count.counted_at + valid_for:
            count = self._count(client, now)
        return min(wanted, max(self._remaining(client, count), 0))

    def remaining(self, client: str, now: datetime) -> int | None:
        """Return how many more watches a client may have open; None when they were not counted in the last minute."""
        count = self._counts.get(client)
        if count is None or now >= count.counted_at + COUNTED_EVERY:
            return None
        return max(self._remaining(client, count), 0)

    def count_reopened(self, client: str, watches: int) -> None:
        """Count watches that are open again."""
        with self._lock:
            self._added[client] += watches

    def forget_counts(self) -> None:
        """Count anew: watches are open again, and nobody knows whose."""
        with self._lock:
            self._counts.clear()

    def _remaining(self, client: str, count: _Count) -> int:
        with self._lock:
            return self.limit - count.open - (self._added[client] - count.added_before)

    def _count(self, client: str, now: datetime) -> _Count:
        with self._lock:
            # Before the database is asked: what is added meanwhile may count twice, but never not at all.
            added_before = self._added[client]
        with reading(self._engine) as connection:
            open_now = open_watches(connection, client)
        count = _Count(open=open_now, counted_at=now, added_before=added_before)
        with self._lock:
            self._counts[client] = count
        return count

    def register_one(self, wanted: Registration) -> RegistrationResult:
        """Register one watch, in one transaction with those that other threads register now."""
        return self._group_commit(wanted)

    def register_many(self, wanted: Sequence[Registration]) -> list[RegistrationResult]:
        """Register watches in a transaction of their own."""
        return self._register(wanted) if wanted else []

    def _register(self, wanted: Sequence[Registration]) -> list[RegistrationResult]:
        results = register(self._engine, wanted, now=self._clock())
        new = [result.watch for result in results if isinstance(result, Registered) and result.new]
        with self._lock:
            self._added.update(watch.client for watch in new)
        self._counters.inc(REGISTRATIONS, by=len(new))
        return results
