"""What needs an operator: paused accounts and hosts, callbacks given up, overdue work, silent workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, func, literal, select

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.watch import State
from bridge.db import breakers, heartbeats, readiness
from bridge.db.due_lanes import distinct_values
from bridge.db.tables import is_state, watches, workers
from bridge.db.watches import waiting_for_host

GIVEN_UP_WITHIN = timedelta(days=1)
# While other workers are alive, a silent worker is shown for this long, to explain why some work came late. The other
# workers take its work over when its leases end, within minutes; work that nobody takes over is shown as overdue.
SILENCE_SHOWN = timedelta(hours=1)
# At most this many paused hosts are read, those with the largest `pause_seconds` first. Of the hosts with callbacks
# given up, and of the overdue accounts and hosts, at most this many are shown.
MOST_NAMED = 10
# At most this many hosts with callbacks given up are read, the most recent first.
MOST_GIVEN_UP_HOSTS = 50
# Counts stop at this number, so that their cost is bounded.
MOST_COUNTED = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TroubledHost:
    """A host that fails or is recovering.

    `since` is, approximately, the earliest `ended_at` of the watches whose callbacks to this host wait; None when no
    callback waits. It does not say when the host's trouble began.
    """

    name: str
    breaker: CircuitBreaker
    waiting: int  # how many callbacks wait; MOST_COUNTED when there are more
    since: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenUp:
    """Callbacks to a host that were not delivered, and will not be tried again unless somebody redelivers them."""

    host: str
    callbacks: int  # MOST_COUNTED when there are more
    last_at: datetime  # when the last of them was given up
    last_error: str | None  # the error of the last of them


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """What needs an operator, for the overview page and the command `status`."""

    paused_accounts: Mapping[str, CircuitBreaker]
    paused_hosts: Sequence[TroubledHost]  # hosts with callbacks that wait; at most MOST_NAMED
    given_up: Sequence[GivenUp]  # one per host; last day, newest first; at most MOST_GIVEN_UP_HOSTS
    overdue_accounts: Mapping[str, datetime]  # the oldest `due_at` of each account's polls
    overdue_hosts: Mapping[str, datetime]  # the oldest `due_at` of each host's callbacks
    alive_workers: Mapping[str, datetime]  # the last heartbeat of each worker
    # The last heartbeat of each worker that fell silent without a proper stop: perhaps it was killed, or it hangs.
    silent_workers: Mapping[str, datetime]

    @property
    def is_needed(self) -> bool:
        """Whether anything needs an operator, or no worker is alive."""
        troubles = (self.paused_accounts, self.paused_hosts, self.given_up, self.silent_workers)
        return not self.alive_workers or any((*troubles, self.overdue_accounts, self.overdue_hosts))


def read(connection: Connection, now: datetime) -> Attention:
    """Return what needs an operator now."""
    found = connection.execute(select(workers.c.id, workers.c.ticked_at))
    ticked = dict(sorted((row.id, row.ticked_at) for row in found))
    alive = {name: ticked_at for name, ticked_at in ticked.items() if heartbeats.is_alive(ticked_at, now)}
    shown_since = now - (SILENCE_SHOWN if alive else heartbeats.WORKERS_KEPT)
    return Attention(
        paused_accounts=readiness.paused_accounts(connection, now),
        paused_hosts=with_waiting(connection, breakers.paused_hosts(connection, most=MOST_NAMED)),
        given_up=_given_up(connection, now - GIVEN_UP_WITHIN),
        overdue_accounts=readiness.overdue_accounts(connection, now),
        overdue_hosts=readiness.overdue_hosts(connection, now),
        alive_workers=alive,
        silent_workers={
            name: ticked_at
            for name, ticked_at in ticked.items()
            if name not in alive and ticked_at >= shown_since
        },
    )


def with_waiting(connection: Connection, hosts: Mapping[str, CircuitBreaker]) -> list[TroubledHost]:
    """Return `hosts` (breakers by name) as TroubledHosts, in the same order.

    Counts the waiting callbacks of each.
    """
    found = []
    for name, breaker in hosts.items():
        waiting, since = waiting_for_host(connection, name, most=MOST_COUNTED)
        found.append(TroubledHost(name=name, breaker=breaker, waiting=waiting, since=since))
    return found


def _given_up(connection: Connection, since: datetime) -> list[GivenUp]:
    recent = _hosts_given_up(since).subquery()
    of_host = _IS_GIVEN_UP, watches.c.callback_host == recent.c.name
    counted = select(literal(1)).select_from(watches).where(*of_host, watches.c.settled_at >= since)
    counted = counted.correlate(recent).limit(MOST_COUNTED)
    callbacks = select(func.count()).select_from(counted.subquery()).scalar_subquery()
    last_error = select(watches.c.last_error).where(*of_host).order_by(watches.c.settled_at.desc()).limit(1)
    found = select(recent, callbacks, last_error.scalar_subquery())
    rows = connection.execute(found.order_by(recent.c.last_at.desc(), recent.c.name))
    return [
        GivenUp(host=host, callbacks=count, last_at=at, last_error=error) for host, at, count, error in rows
    ]


def _hosts_given_up(since: datetime) -> Select[Any]:
    """Return a query for the hosts with a callback given up at `since` or later.

    The column `name` is the host; `last_at` is when the host's last callback was given up. The query returns at most
    MOST_GIVEN_UP_HOSTS hosts, the latest `last_at` first.
    """
    # The hosts are limited, not the callbacks: many callbacks to one host would hide another host.
    hosts = distinct_values(watches.c.callback_host, _IS_GIVEN_UP)
    of_host = _IS_GIVEN_UP, watches.c.callback_host == hosts.c.name
    last_at = select(func.max(watches.c.settled_at)).where(*of_host)
    found = select(hosts.c.name, last_at.scalar_subquery().label("last_at")).subquery()
    recent = select(found).where(found.c.last_at >= since).order_by(found.c.last_at.desc(), found.c.name)
    return recent.limit(MOST_GIVEN_UP_HOSTS)


_IS_GIVEN_UP = is_state(State.UNDELIVERED)
