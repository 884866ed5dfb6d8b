"""Registers watches for clients, and tells how many more watches each client may open."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from bridge.core.counters import REGISTRATIONS
from bridge.db.counters import Counters
from bridge.db.engine import reading
from bridge.db.watches import count_open_watches
from bridge.steps.register import Registered, Registration, RegistrationResult, register
from bridge.web.group_commit import GroupCommit

# A count of a client's open watches is used for at most this long. Counting takes milliseconds when there are many: too
# long for every request.
COUNTED_EVERY = timedelta(seconds=60)
# The nearer the limit, the shorter a count is used, because other processes register, too: it is used until they could
# have reached the limit at this rate: that of a few processes that register in batches.
OTHERS_REGISTER_PER_SECOND = 20_000
# A count that would refuse watches is used for this long only: watches may have been settled since.
RECOUNTED_EVERY = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Count:
    """A count of a client's open watches."""

    open: int
    counted_at: datetime
    added_before: int  # how many watches this process had ever opened for the client before the count


class Registrar:
    """Registers watches, and says how many more open watches the limit leaves to each client. Thread-safe.

    The methods that register do not check the limit. A caller that must keep to the limit asks `available` first.
    `available` reserves nothing: if other threads or processes register watches for the client at the same moment, the
    client may exceed the limit a little.
    """

    def __init__(self, engine: Engine, limit: int, clock: Callable[[], datetime], counters: Counters) -> None:
        self.limit = limit
        self._counters = counters
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._added: Counter[str] = Counter()
        self._group_commit = GroupCommit(self.register_many)

    def available(self, client: str, wanted: int, now: datetime) -> int:
        """Return how many more watches the client may open, but at most `wanted`."""
        count = self._counts.get(client) or self._count(client, now)
        room = self._remaining(client, count)
        valid_for = _valid_for(room - wanted) if room >= wanted else RECOUNTED_EVERY
        if now >= count.counted_at + valid_for:
            count = self._count(client, now)
        return min(wanted, max(self._remaining(client, count), 0))

    def remaining(self, client: str, now: datetime) -> int | None:
        """Return how many more watches the client may open; None if its watches were not counted in the last minute."""
        count = self._counts.get(client)
        if count is None or now >= count.counted_at + COUNTED_EVERY:
            return None
        return max(self._remaining(client, count), 0)

    def count_reopened(self, client: str, watches: int) -> None:
        """Add `watches` to the client's count of open watches, after a redelivery has opened that many again."""
        with self._lock:
            self._added[client] += watches

    def forget_counts(self) -> None:
        """Forget every client's count of open watches, so that it is counted anew when it is next needed.

        Call this after a redelivery that may have opened watches of any client again.
        """
        with self._lock:
            self._counts.clear()

    def _remaining(self, client: str, count: _Count) -> int:
        with self._lock:
            return self.limit - count.open - (self._added[client] - count.added_before)

    def _count(self, client: str, now: datetime) -> _Count:
        with self._lock:
            # Read before the query: a watch that is added meanwhile may count twice, but is never missed.
            added_before = self._added[client]
        with reading(self._engine) as connection:
            open_now = count_open_watches(connection, client)
        count = _Count(open=open_now, counted_at=now, added_before=added_before)
        with self._lock:
            self._counts[client] = count
        return count

    def register_one(self, wanted: Registration) -> RegistrationResult:
        """Register one watch; simultaneous calls by other threads may share its transaction."""
        return self._group_commit(wanted)

    def register_many(self, wanted: Sequence[Registration]) -> list[RegistrationResult]:
        """Register all of `wanted` in one transaction; return the results in the same order.

        A further transaction follows only in a rare case: a watch with the same `registration_key` exists already,
        and is withdrawn during the call.
        """
        results = register(self._engine, wanted, now=self._clock())
        new = [result.watch for result in results if isinstance(result, Registered) and result.new]
        with self._lock:
            self._added.update(watch.client for watch in new)
        self._counters.inc(REGISTRATIONS, by=len(new))
        return results


def _valid_for(room: int) -> timedelta:
    """Return how long a count of a client's open watches may be used: the smaller `room`, the shorter.

    `room` is the client's limit, minus the count, minus the watches that this process has opened for the client since
    the count, minus those that the client wants to open now.
    """
    return min(COUNTED_EVERY, timedelta(seconds=room / OTHERS_REGISTER_PER_SECOND))
