"""Withdraws, rechecks and redelivers watches, for the REST API, the admin page and the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Engine

from bridge.core import watch as core
from bridge.core.watch import IllegalTransition, State, Watch
from bridge.db import pagination, watch_filters
from bridge.db import watches as store
from bridge.db.engine import reading
from bridge.db.watch_filters import Filters

log = structlog.get_logger()

# The most rows that one transaction locks: so few that workers do not wait long for them.
BATCH = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """The operation was carried out, or was not needed; `watch` is the watch afterwards.

    `hubspot_body` is HubSpot's last answer with a status of the task, as JSON text; None when there is none.
    """

    watch: Watch
    hubspot_body: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchUnchanged:
    """The watch was not changed; `reason` says why, in a sentence for the client.

    `state` is the watch's state; None when there is no such watch, or the watch belongs to another client.
    """

    reason: str
    watch_id: str
    state: State | None


def withdraw(engine: Engine, watch_id: str, *, client: str | None, now: datetime) -> Changed | WatchUnchanged:
    """Withdraw a watch that is `watching` or `delivering`: no more polls or callbacks are claimed for it.

    The same task may then be registered again. A poll or callback that a worker has claimed already may still be
    sent. Returns WatchUnchanged if the watch is in another state, does not exist, or belongs to another client.
    `client` is the caller, who may change only its own watches; None permits any watch.
    """
    return _change(engine, watch_id, core.withdraw, client=client, now=now)


def redeliver(
    engine: Engine, watch_id: str, *, client: str | None, now: datetime
) -> Changed | WatchUnchanged:
    """Make the callback of a `delivered` or `undelivered` watch due now, with the whole retry schedule again.

    `client` is the caller, who may change only its own watches; None permits any watch.
    """
    return _change(engine, watch_id, core.redeliver, client=client, now=now)


def problem_with_redelivery(
    engine: Engine, watch_id: str, *, client: str | None, now: datetime
) -> WatchUnchanged | None:
    """Return why `redeliver` would refuse this watch now; None when `redeliver` would accept the watch.

    `client` is the caller, who may change only its own watches; None permits any watch.
    """
    with reading(engine) as connection:
        after = _after(store.get(connection, watch_id), watch_id, core.redeliver, client, now)
    return after if isinstance(after, WatchUnchanged) else None


def recheck(engine: Engine, watch_id: str, *, client: str | None, now: datetime) -> Changed | WatchUnchanged:
    """Make the next poll of a `watching` watch due now.

    If a worker has claimed that poll already, the watch stays as it is, and the result is Changed all the same. The
    result is WatchUnchanged if the watch is in another state, does not exist, or belongs to another client. `client`
    is the caller, who may change only its own watches; None permits any watch.
    """
    return _change(engine, watch_id, _recheck, client=client, now=now)


def count_redeliverable(engine: Engine, filters: Filters) -> int:
    """Return how many watches `redeliver_all` would redeliver."""
    with reading(engine) as connection:
        return watch_filters.count_redeliverable(connection, filters)


def count_some_redeliverable(engine: Engine, filters: Filters) -> tuple[int, bool]:
    """Return how many watches `redeliver_all` would redeliver, and whether this count is surely exact.

    Only the newest watches are examined, up to a limit, so the cost is bounded. When the limit is reached, the second
    value is False: the count may be too low.
    """
    with reading(engine) as connection:
        return pagination.count_some_redeliverable(connection, filters)


def redeliver_all(engine: Engine, filters: Filters, *, by: str, now: datetime) -> int:
    """Redeliver all `delivered` and `undelivered` watches that match the filters; return how many.

    Each transaction redelivers up to BATCH watches. `by` is the caller's name, for the log.
    """
    count, before = 0, None
    while True:
        with engine.begin() as connection:
            done = watch_filters.redeliver(connection, filters, before=before, limit=BATCH, now=now)
        count, before = count + done.count, done.before
        if before is None:
            log.info("watches_redelivered", by=by, count=count)
            return count


def _change(
    engine: Engine,
    watch_id: str,
    change: Callable[..., Watch],
    *,
    client: str | None,
    now: datetime,
) -> Changed | WatchUnchanged:
    with engine.begin() as connection:
        watch = next(iter(store.lock(connection, [watch_id])), None)
        after = _after(watch, watch_id, change, client, now)
        if isinstance(after, WatchUnchanged):
            return after
        store.save(connection, after)
        return Changed(watch=after, hubspot_body=store.answers_of(connection, [watch_id]).get(watch_id))


def _after(
    watch: Watch | None, watch_id: str, change: Callable[..., Watch], client: str | None, now: datetime
) -> Watch | WatchUnchanged:
    if watch is None or client not in (None, watch.client):
        return WatchUnchanged(watch_id=watch_id, state=None, reason=f"There is no watch {watch_id}.")
    try:
        return change(watch, now=now)
    except IllegalTransition as illegal:
        why = f"{watch_id} stays as it is: {illegal}."
        return WatchUnchanged(watch_id=watch_id, state=watch.state, reason=why)


def _recheck(watch: Watch, *, now: datetime) -> Watch:
    rechecked = core.recheck(watch, now=now)
    # A worker that holds the lease is polling now. A new `due_at` would end the lease, and the result would be dropped.
    is_claimed = watch.claimed_by is not None and watch.due_at is not None and watch.due_at > now
    return watch if is_claimed else rechecked
