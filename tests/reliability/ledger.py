"""The ledger of a run: what was promised, what the database says, what arrived; and whether it adds up."""

import time
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, select

from bridge.db.engine import reading
from bridge.db.tables import attempts, watches
from tests.reliability.database import LEASE_SECONDS, Installation
from tests.reliability.receiver import Arrival, Receiver

FINAL = frozenset({"delivered", "undelivered", "withdrawn"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """What must become of a watch that was answered 201: its outcome, and one of these states."""

    outcome: str = "completed"
    states: frozenset[str] = frozenset({"delivered"})


class Ledger:
    """Follows the watches of one installation from outside: by its tables, and by its receiver's notes."""

    def __init__(self, installation: Installation, receiver: Receiver) -> None:
        self.promises: dict[str, Promise] = {}
        self._installation = installation
        self._receiver = receiver
        self._final: dict[str, tuple[str, float]] = {}
        self._changed: list[str] = []

    def promise(self, *watch_ids: str, outcome: str = "completed", state: str = "delivered") -> None:
        """Expect these to end so."""
        for watch_id in watch_ids:
            self.promises[watch_id] = Promise(outcome=outcome, states=frozenset({state}))

    def withdrawn(self, watch_id: str, *, surely: bool) -> None:
        """Expect a watch to end as withdrawn; or, when the request got no answer, perhaps."""
        before = self.promises[watch_id]
        states = frozenset({"withdrawn"}) if surely else before.states | {"withdrawn"}
        self.promises[watch_id] = replace(before, states=states)

    def reopened(self, watch_id: str) -> None:
        """Expect a watch to move once more: somebody asked for a redelivery."""
        self._final.pop(watch_id, None)

    def look(self) -> None:
        """Note which watches are final by now; whoever was final must be so still."""
        for row in self._rows(watches.c.id, watches.c.state):
            seen = self._final.get(row.id)
            if seen and seen[0] != row.state:
                self._changed.append(f"{row.id} was {seen[0]}, and is {row.state}")
            if row.state in FINAL and not seen:
                self._final[row.id] = row.state, time.time()

    def settled(self) -> bool:
        """Look, and tell whether every promised watch is final."""
        self.look()
        return self.promises.keys() <= self._final.keys()

    def open_as(self, outcome: str) -> int:
        """Return how many watches that are promised this outcome are not final."""
        return sum(
            promise.outcome == outcome and watch_id not in self._final
            for watch_id, promise in self.promises.items()
        )

    def in_state(self, *states: str) -> list[str]:
        """Return the promised watches that are in one of these states, as of now."""
        return [row.id for row in self.rows() if row.state in states and row.id in self.promises]

    def rows(self) -> list[Row[Any]]:
        """Return the installation's watches, oldest first."""
        return self._rows(watches, order_by=watches.c.id)

    def problems(self) -> list[str]:
        """Return a sentence for everything that does not add up."""
        self.look()
        rows = {row.id: row for row in self.rows()}
        saved = self._attempts()
        arrived: dict[str, list[Arrival]] = defaultdict(list)
        for arrival in self._receiver.arrivals(self._installation):
            arrived[arrival.webhook_id].append(arrival)
        problems = [*self._changed, *(f"{i}: nobody registered it" for i in arrived.keys() - rows.keys())]
        for watch_id, promise in self.promises.items():
            if row := rows.get(watch_id):
                told = [*_of_state(row, promise), *_of_attempts(row, saved[watch_id], arrived[watch_id])]
                told += _of_arrivals(row, arrived[watch_id], self._final.get(watch_id))
            else:
                told = ["is gone"]
            problems += [f"{watch_id}: {problem}" for problem in told]
        return problems

    def _rows(self, *columns: Any, order_by: Any = None) -> list[Row[Any]]:
        with reading(self._installation.engine) as connection:
            return list(connection.execute(select(*columns).order_by(order_by)))

    def _attempts(self) -> dict[str, list[Any]]:
        made: dict[str, list[Any]] = defaultdict(list)
        for row in self._rows(attempts):
            made[row.watch_id].append(row)
        return made


def _of_state(row: Row[Any], promise: Promise) -> list[str]:
    problems = []
    if row.state not in promise.states:
        problems.append(f"is {row.state} ({row.last_error}), not {' or '.join(sorted(promise.states))}")
    if row.state in FINAL and (row.due_at or row.claimed_by):
        problems.append(f"is {row.state}, and yet due or claimed")
    if row.outcome != promise.outcome and row.state != "withdrawn":
        problems.append(f"ended as {row.outcome} ({row.last_error}), not {promise.outcome}")
    return problems


def _of_attempts(row: Row[Any], saved: list[Any], arrived: list[Arrival]) -> list[str]:
    problems = []
    if sorted(attempt.number for attempt in saved) != list(range(1, row.attempts + 1)):
        problems.append(f"counts {row.attempts} attempts, and has {len(saved)}")
    if sum(attempt.status_code is not None for attempt in saved) > len(arrived):
        problems.append(f"has {len(saved)} attempts, of which {len(arrived)} arrived")
    newest = max(saved, key=lambda attempt: attempt.number, default=None)
    if row.state == "delivered" and (newest is None or newest.error):
        problems.append("is delivered, though its last attempt failed")
    return problems


def _of_arrivals(row: Row[Any], arrived: list[Arrival], final: tuple[str, float] | None) -> list[str]:
    problems = []
    if row.state == "delivered" and not any(arrival.accepted for arrival in arrived):
        problems.append("is delivered, and no receiver accepted it")
    if not all(arrival.verified for arrival in arrived):
        problems.append("was sent with a signature that does not verify")
    if not all(arrival.watch_id == row.id for arrival in arrived):
        problems.append("was sent as another watch")
    if len({arrival.body for arrival in arrived}) > 1:
        problems.append("was told in several ways")
    if {arrival.outcome for arrival in arrived} - {row.outcome}:
        problems.append(f"was told as something else than {row.outcome}")
    if final and any(arrival.signed_at > _last_instant(*final) for arrival in arrived):
        problems.append(f"was sent again after it was {final[0]}")
    return problems


def _last_instant(state: str, seen_at: float) -> float:
    """Return when an attempt may have been signed at the latest; signatures are as of whole seconds."""
    # What was claimed before is on its way, and cannot be called back.
    return seen_at + LEASE_SECONDS if state == "withdrawn" else seen_at
