"""Only old rows are deleted: watches, breakers, and dead workers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select

from bridge.core.watch import State, Watch, redeliver
from bridge.db import breakers, claims, heartbeats, housekeeping, watches
from bridge.db.engine import open_engine
from bridge.db.tables import answers, attempts, host_breakers
from bridge.db.tables import watches as table
from tests.db.claiming import added, claim, delivered, due, saved
from tests.makers import NOW, later
from tests.postgres import someone_waits
from tests.reliability.waiting import until

RETENTION = timedelta(days=30)
TODAY = NOW.date()


def in_table(engine: Engine) -> int:
    with engine.begin() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def prune(engine: Engine, limit: int) -> int:
    with engine.begin() as connection:
        return housekeeping.prune(connection, NOW, retention=RETENTION, limit=limit)


def settled(number: int, state: State, days: float) -> Watch:
    at = None if days < 0 else NOW - timedelta(days=days)
    return replace(due(number), state=state, due_at=NOW if at is None else None, settled_at=at)


@pytest.mark.parametrize(
    ("state", "days", "deleted"),
    [
        pytest.param(State.DELIVERED, 29.9, False, id="delivered lately"),
        pytest.param(State.DELIVERED, 30.1, True, id="delivered long ago"),
        pytest.param(State.WITHDRAWN, 29.9, False, id="withdrawn lately"),
        pytest.param(State.WITHDRAWN, 30.1, True, id="withdrawn long ago"),
        pytest.param(State.UNDELIVERED, 89.9, False, id="undelivered for a while"),
        pytest.param(State.UNDELIVERED, 90.1, True, id="undelivered for three times as long"),
        pytest.param(State.WATCHING, -1, False, id="still watching"),
        pytest.param(State.DELIVERING, -1, False, id="still delivering"),
    ],
)
def test_a_watch_is_kept_as_long_as_promised(
    engine: Engine, state: State, days: float, *, deleted: bool
) -> None:
    added(engine, replace(settled(1, state, days), created_at=NOW - timedelta(days=365)))
    assert prune(engine, limit=9) == int(deleted)
    assert in_table(engine) == int(not deleted)


def test_what_is_long_over_goes_in_batches_the_oldest_first(engine: Engine) -> None:
    kept, *over = added(
        engine,
        settled(99, State.UNDELIVERED, 80),
        *(settled(number, State.DELIVERED, 40 + number) for number in range(7)),
    )
    for left in (over[:4], over[:1], [], []):
        prune(engine, limit=3)
        with engine.begin() as connection:
            stored = connection.scalars(select(table.c.id)).all()
        assert sorted(stored) == sorted(watch.id for watch in (kept, *left))


def test_undelivered_ones_go_when_the_others_leave_room(engine: Engine) -> None:
    added(
        engine,
        *(settled(number, State.UNDELIVERED, 100 + number) for number in range(3)),
        *(settled(number, State.DELIVERED, 40) for number in range(3, 6)),
    )
    for deleted in (4, 2, 0):
        assert prune(engine, limit=4) == deleted
    assert in_table(engine) == 0


def test_what_is_redelivered_while_it_is_pruned_is_kept(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    [watch] = added(engine, settled(1, State.DELIVERED, 40))
    with ThreadPoolExecutor(1) as pruner, engine.begin() as connection:
        [locked] = watches.lock(connection, [watch.id])
        claims.save_watches(connection, [redeliver(locked, now=NOW)])
        pruning = pruner.submit(prune, engine, limit=9)
        until(lambda: someone_waits(engine))
        connection.commit()
        assert pruning.result() == 0
    assert in_table(engine) == 1
    engine.dispose()


def test_with_a_watch_go_its_attempts_and_what_hubspot_said(engine: Engine) -> None:
    added(engine, due(1, State.DELIVERING))
    [claimed] = claim(engine, {"a": 1}, state=State.DELIVERING)
    saved(engine, replace(delivered(claimed), hubspot_body="{}"))
    with engine.begin() as connection:
        housekeeping.prune(connection, NOW + RETENTION + timedelta(days=1), retention=RETENTION, limit=9)
        for each in (table, attempts, answers):
            assert connection.execute(select(func.count()).select_from(each)).scalar_one() == 0


def a_breaker(name: str, paused_until: datetime | None = None) -> dict[str, Any]:
    return {"name": name, "failures": 3, "pause_seconds": 0.0, "paused_until": paused_until}


def hosts(engine: Engine) -> list[str]:
    with engine.begin() as connection:
        return sorted(connection.scalars(select(host_breakers.c.name)))


def prune_breakers(engine: Engine, limit: int = 9) -> int:
    with engine.begin() as connection:
        return len(housekeeping.prune_breakers(connection, NOW, limit=limit))


def test_the_breakers_of_hosts_that_are_never_called_again_go(engine: Engine) -> None:
    lately, long_ago = NOW - timedelta(hours=23), NOW - timedelta(hours=25)
    added(
        engine,
        due(1, State.DELIVERING, lane="awaited"),
        due(2, State.DELIVERING, lane="awaited and paused"),
        due(3, State.WATCHING, lane="watching"),
        replace(settled(4, State.UNDELIVERED, 1), callback_host="given up"),
    )
    troubled = [
        a_breaker("awaited"),
        a_breaker("awaited and paused", long_ago),
        a_breaker("watching"),
        a_breaker("given up", long_ago),
        a_breaker("given up lately", lately),
        a_breaker("paused", later(9)),
        a_breaker("unknown"),
    ]
    with engine.begin() as connection:
        connection.execute(insert(host_breakers), troubled)
    assert prune_breakers(engine) == 3
    assert hosts(engine) == ["awaited", "awaited and paused", "given up lately", "paused"]


def test_breakers_go_in_batches_and_none_is_waited_for(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(insert(host_breakers), [a_breaker(name) for name in ("a", "b", "c", "d")])
    with engine.begin() as learning:
        breakers.lock_hosts(learning, ["a"])
        assert prune_breakers(engine, limit=2) == 2
        assert prune_breakers(engine, limit=2) == 1
    assert hosts(engine) == ["a"]
    engine.dispose()


def test_a_worker_is_alive_while_it_beats(engine: Engine) -> None:
    def ticked(act: Callable[..., None], *arguments: Any) -> Any:
        with engine.begin() as connection:
            act(connection, *arguments)
            return heartbeats.last_at(connection)

    assert ticked(heartbeats.record, "one", NOW) == NOW
    assert ticked(heartbeats.record, "two", later(10)) == later(10)
    assert ticked(heartbeats.record, "one", later(20)) == later(20)
    assert ticked(heartbeats.remove, "one") == later(10)
    assert ticked(heartbeats.remove, "two") is None


@pytest.mark.parametrize(
    ("seconds", "alive"), [(-3_600, 0), (-61, 0), (-60, 1), (0, 1), (60, 1), (61, 0), (3_600, 0)]
)
def test_a_heartbeat_of_long_ago_or_of_the_future_is_no_sign_of_life(
    engine: Engine, seconds: float, alive: int
) -> None:
    with engine.begin() as connection:
        heartbeats.record(connection, "one", later(seconds))
        assert heartbeats.count_alive(connection, NOW) == alive


def test_a_worker_that_died_long_ago_is_forgotten(engine: Engine) -> None:
    with engine.begin() as connection:
        heartbeats.record(connection, "dead", NOW)
        heartbeats.record(connection, "alive", later(86_401))
        heartbeats.remove(connection, "alive")
        assert heartbeats.last_at(connection) is None
