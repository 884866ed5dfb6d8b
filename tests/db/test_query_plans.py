"""Frequent statements use the indexes that were made for them, on both databases."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, text

from bridge.core.watch import State
from bridge.db import (
    attention,
    breakers,
    claims,
    clients,
    housekeeping,
    pagination,
    readiness,
    watch_counts,
    watch_filters,
)
from bridge.db import watches as store
from bridge.db.due_lanes import DueLanes, due_lanes
from bridge.db.engine import open_engine
from bridge.db.tables import is_state
from bridge.db.watch_filters import Filters
from tests.db.claiming import ONE, added, due, numbered
from tests.db.plans import plan_of
from tests.makers import NOW, later

# A plan depends on the statistics.
pytestmark = pytest.mark.own_database

HOT: dict[str, list[Callable[[Connection], object]]] = {
    "ix_watches_to_poll": [
        lambda c: due_lanes(c, State.WATCHING, NOW),
        lambda c: claims.claim(c, State.WATCHING, {"lane-3": 9}, ONE, NOW),
        lambda c: claims.claim_urgent(c, "lane-3", 9, ONE, NOW, odd_to_young=True),
    ],
    "ix_watches_to_deliver": [
        lambda c: due_lanes(c, State.DELIVERING, NOW),
        lambda c: claims.claim(c, State.DELIVERING, {"lane-3": 9}, ONE, NOW),
        lambda c: store.waiting_for_host(c, "lane-3", most=9),
        breakers.count_paused_hosts,
    ],
    "ix_watches_due_polls": [
        lambda c: DueLanes(State.WATCHING).look(c, NOW),
        lambda c: watch_counts.oldest_due_at(c, State.WATCHING, None, NOW),
    ],
    "ix_watches_due_callbacks": [
        lambda c: DueLanes(State.DELIVERING).look(c, NOW),
        lambda c: watch_counts.oldest_due_at(c, State.DELIVERING, None, NOW),
    ],
    "ix_watches_open": [lambda c: store.count_open_watches(c, "cms")],
    "ix_watches_over": [lambda c: housekeeping.prune(c, NOW, retention=timedelta(days=30), limit=9)],
    "ix_watches_settled": [lambda c: housekeeping.prune(c, NOW, retention=timedelta(days=30), limit=9)],
    "ix_watches_to_time_out": [
        lambda c: claims.lock_overdue(c, NOW, steady_since=NOW, grace_seconds=60, limit=9),
        lambda c: claims.lock_overdue(c, NOW, steady_since=later(-60), grace_seconds=60, limit=9),
    ],
}


# How many watches are settled, how many wait, and in how many lanes: a database looks different to its planner
# when a burst is on, when it is old, and when every callback goes to a host of its own.
MIXES = [(3_000, 2_000, 20), (4_900, 100, 4), (4_000, 1_000, 1_000)]


@pytest.mark.parametrize(("settled", "open_", "lanes"), MIXES)
def test_what_runs_all_the_time_goes_by_its_partial_index(
    engine: Engine, settled: int, open_: int, lanes: int
) -> None:
    over = [replace(due(n), state=State.DELIVERED, due_at=None, settled_at=NOW) for n in range(settled)]
    waiting = [
        due(n, list(State)[n % 2], lane=f"lane-{n // 2 % lanes}", at=n - 4_000)
        for n in range(settled, settled + open_)
    ]
    added(engine, *over, *waiting)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        plans = [(index, plan_of(connection, act)) for index, acts in HOT.items() for act in acts]
    for index, plan in plans:
        assert index in plan
        assert "Seq Scan on watches" not in plan
        assert "SCAN watches" not in plan.replace(f"SCAN watches USING COVERING INDEX {index}", "")


# What the operators' pages ask besides lists, of which tests/db/test_pages.py speaks.
FOR_OPERATORS: list[Callable[[Connection], object]] = [
    lambda c: attention.read(c, NOW),
    lambda c: watch_counts.count_up_to(c, 9, is_state(State.WATCHING)),
    lambda c: watch_counts.count_up_to(c, 9, is_state(State.DELIVERING)),
    lambda c: pagination.count_some_redeliverable(
        c, Filters(state=[State.UNDELIVERED], callback_host="lane-3")
    ),
    lambda c: pagination.count_some_redeliverable(c, Filters(client="cms")),
    lambda c: store.kinds_of_account(c, "lane-3"),
    lambda c: store.get(c, "wat_00000001"),
    lambda c: store.attempts_of(c, "wat_00000001"),
]


def test_no_page_for_operators_reads_all_watches(engine: Engine) -> None:
    over = [replace(due(n), state=State.DELIVERED, due_at=None, settled_at=NOW) for n in range(4_900)]
    waiting = [due(n, list(State)[n % 2], lane=f"lane-{n % 4}", at=n - 4_000) for n in range(4_900, 5_000)]
    added(engine, *over, *waiting)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        plans = [plan_of(connection, act) for act in FOR_OPERATORS]
    for plan in plans:
        assert "watches" in plan or "attempts" in plan
        assert "Seq Scan on watches" not in plan
        assert "SCAN watches" not in plan.replace("SCAN watches USING", "")


def test_hosts_with_callbacks_given_up_are_found_without_a_look_at_each_callback(engine: Engine) -> None:
    delivered = [numbered(number, State.DELIVERED) for number in range(3_000)]
    given_up = [
        numbered(number, State.UNDELIVERED, callback_host=f"host-{number % 20}")
        for number in range(3_000, 5_000)
    ]
    added(engine, *delivered, *given_up)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        plan = plan_of(connection, lambda c: attention.read(c, NOW))
    assert "ix_watches_given_up" in plan
    for other in ("ix_watches_not_delivered", "ix_watches_settled", "Seq Scan on watches"):
        assert other not in plan
    assert "SCAN watches" not in plan


BY_ID: list[Callable[[Connection], object]] = [
    lambda c: claims.claim(c, State.WATCHING, {"a": 9}, ONE, NOW),
    lambda c: claims.claim_least_refused(c, "a", ONE, NOW),
    lambda c: watch_filters.redeliver(c, Filters(client="cms"), before=None, limit=9, now=NOW),
    lambda c: housekeeping.prune(c, NOW, retention=timedelta(0), limit=9),
]


def test_few_rows_are_changed_by_their_ids_though_one_lane_has_nearly_all(postgres_url: str) -> None:
    waiting = [due(n, at=n - 4_000) for n in range(5_000)]
    over = [
        replace(due(n), state=State.DELIVERED, due_at=None, settled_at=NOW - timedelta(1))
        for n in range(5_000, 6_000)
    ]
    engine = open_engine(postgres_url)
    added(engine, *waiting, *over)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        plans = [plan_of(connection, act) for act in BY_ID]
    engine.dispose()
    for plan in plans:
        assert "Seq Scan" not in plan


HELD = [replace(due(number, at=60), claimed_by=ONE.worker) for number in range(9)]


@pytest.mark.parametrize(
    "act",
    [
        lambda c: claims.give_back(c, HELD, ONE.worker, NOW),
        lambda c: claims.claim_urgent(c, "a", 9, ONE, NOW, odd_to_young=True),
        lambda c: store.answers_of(c, ["a", "b"]),
        lambda c: breakers.lock_account_limits(c, ["a", "b"]),
        lambda c: breakers.lock_hosts(c, ["a", "b"]),
        lambda c: breakers.read_account_limits(c, ["a", "b"]),
        lambda c: breakers.read_hosts(c, ["a", "b"]),
        lambda c: clients.by_keys(c, ["hib_a", "hib_b"]),
        lambda c: clients.secrets_of(c, ["a", "b"], NOW),
    ],
)
def test_what_is_asked_for_by_name_is_not_looked_for(
    sqlite_engine: Engine, act: Callable[[Connection], object]
) -> None:
    # No ANALYZE: nobody runs it on a bridge's SQLite. PostgreSQL scans tables as small as these on purpose.
    added(sqlite_engine, *HELD, *(due(number, at=-number) for number in range(10, 100)))
    with sqlite_engine.begin() as connection:
        plan = plan_of(connection, act)
    assert "SEARCH" in plan
    assert "SCAN" not in plan.replace("SCAN value VIRTUAL TABLE", "")


def test_a_claim_is_not_sorted_where_the_index_is_in_order(engine: Engine) -> None:
    added(engine, *(due(number, at=-number) for number in range(500)))
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        plan = plan_of(connection, lambda c: claims.claim(c, State.WATCHING, {"a": 9}, ONE, NOW))
    assert "TEMP B-TREE" not in plan


ASKED: list[Callable[[Connection], object]] = [
    lambda c: store.is_watched(c, "account-7"),
    lambda c: readiness.overdue_accounts(c, later(300)),
    lambda c: readiness.overdue_hosts(c, later(9_999)),
]


def test_what_is_asked_often_goes_by_the_partial_indexes(engine: Engine) -> None:
    settled = [numbered(number, State.DELIVERED) for number in range(3_000)]
    waiting = [
        numbered(n, list(State)[n % 2], account=f"account-{n % 40}", callback_host=f"host-{n % 40}")
        for n in range(3_000, 3_400)
    ]
    added(engine, *settled, *waiting)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        plans = [plan_of(connection, act) for act in ASKED]
    for plan in plans:
        assert "ix_watches_to_" in plan
        assert "ix_watches_of_client" not in plan
        assert "Seq Scan on watches" not in plan
        assert "SCAN watches\n" not in f"{plan}\n"
