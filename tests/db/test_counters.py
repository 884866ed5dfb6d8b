"""Counters: every process adds what it did; nothing is lost or counted twice, and no row waits for another."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, event, func, select
from sqlalchemy.exc import OperationalError

from bridge.core.counters import (
    ATTEMPTS,
    DELIVERY_DELAY,
    DETECTION_DELAY,
    ENDED,
    GIVEN_UP,
    POLLS,
    REGISTRATIONS,
)
from bridge.core.watch import Outcome
from bridge.db import counters
from bridge.db.counters import ActivityTotals, Buckets, Counters, Counts, Percentiles
from bridge.db.engine import reading
from bridge.db.tables import counters as table
from tests.makers import NOW, later
from tests.threads import at_once


def totals(engine: Engine) -> Counts:
    with reading(engine) as connection:
        return counters.totals(connection)


def test_what_is_counted_is_in_the_table_after_a_flush(engine: Engine) -> None:
    counted = Counters()
    for times in range(2):
        counted.inc(REGISTRATIONS)
        counted.inc(ATTEMPTS, "2xx", "manual", by=2)
        counted.observe(DETECTION_DELAY, 0.5, "shop")
        counted.observe(DETECTION_DELAY, 4000, "shop")
        counted.observe(DELIVERY_DELAY, 0.25)
        assert totals(engine).of(REGISTRATIONS) == ({(): 1} if times else {})
        counted.flush(engine, NOW)
    found = totals(engine)
    assert found.of(REGISTRATIONS) == {(): 2}
    assert found.of(ATTEMPTS) == {("2xx", "manual"): 4}
    assert found.buckets(DETECTION_DELAY) == {
        ("shop",): Buckets(counts={0.5: 2, float("inf"): 2}, sum_seconds=8001)
    }
    assert found.buckets(DELIVERY_DELAY) == {(): Buckets(counts={0.25: 2}, sum_seconds=0.5)}
    assert found.of(GIVEN_UP) == {}


def test_what_was_not_counted_costs_no_transaction(engine: Engine) -> None:
    counted = Counters()
    counted.inc(REGISTRATIONS, by=0)

    @event.listens_for(engine, "begin")
    def begun(_: object) -> None:
        pytest.fail("there is nothing to save")

    counted.flush(engine, NOW)


def test_many_processes_at_once_lose_nothing(engine: Engine) -> None:
    def work(number: int) -> None:
        counted = Counters()
        for _ in range(10):
            # Each in another order.
            for name in list(Outcome)[number % 6 :] + list(Outcome)[: number % 6]:
                counted.inc(ENDED, name)
            counted.flush(engine, NOW)

    at_once(8, work)
    assert totals(engine).of(ENDED) == {(outcome,): 80 for outcome in Outcome}


def test_threads_that_count_while_others_flush_lose_nothing(sqlite_engine: Engine) -> None:
    counted = Counters()

    def work(number: int) -> None:
        for _ in range(50 if number == 0 else 2_000):
            if number == 0:
                counted.flush(sqlite_engine, NOW)
            else:
                counted.inc(GIVEN_UP)

    at_once(4, work)
    counted.flush(sqlite_engine, NOW)
    assert totals(sqlite_engine).of(GIVEN_UP) == {(): 6_000}


def test_what_the_database_does_not_take_is_added_the_next_time(engine: Engine) -> None:
    counted = Counters()
    counted.inc(GIVEN_UP)

    @event.listens_for(engine, "commit")
    def fail(_: object) -> None:
        raise OperationalError("COMMIT", {}, OSError("gone"))

    with pytest.raises(OperationalError):
        counted.flush(engine, NOW)
    event.remove(engine, "commit", fail)
    counted.inc(GIVEN_UP)
    counted.flush(engine, NOW)
    counted.flush(engine, NOW)
    assert totals(engine).of(GIVEN_UP) == {(): 2}


def test_hours_are_kept_for_two_days_and_totals_for_ever(engine: Engine) -> None:
    counted = Counters()
    for hours in (0, 1, 48, 49):
        counted.inc(REGISTRATIONS)
        counted.inc(POLLS, "ended")  # nobody draws it by the hour
        counted.flush(engine, later(hours * 3600))
    with engine.begin() as connection:
        assert len(counters.by_hour(connection, NOW)) == 4
        counters.prune(connection, NOW + timedelta(hours=49))
        assert list(counters.by_hour(connection, NOW)) == [later(hours * 3600) for hours in (1, 48, 49)]
        assert connection.execute(select(func.count()).select_from(table)).scalar() == 3 + 2
    assert totals(engine).of(REGISTRATIONS) == {(): 4}
    assert totals(engine).of(POLLS) == {("ended",): 4}


def test_the_last_day_is_told_hour_by_hour(engine: Engine) -> None:
    counted = Counters()
    for ago, failed in ((-30, 0), (0, 3), (23, 1)):
        counted.inc(REGISTRATIONS, by=4)
        counted.inc(ENDED, Outcome.FAILED, by=2)
        counted.inc(ENDED, Outcome.COMPLETED)
        counted.inc(ATTEMPTS, "2xx", "manual")
        counted.inc(ATTEMPTS, "2xx", "schedule")
        counted.inc(ATTEMPTS, "no_answer", "schedule", by=failed)
        for account in ("a", "b"):
            counted.observe(DETECTION_DELAY, 1.5, account)
        counted.flush(engine, later(ago * 3600 + 59))
    with engine.begin() as connection:
        day, hours = counters.last_day(connection, later(23 * 3600 + 1800))
        next_day, _ = counters.last_day(connection, later(24 * 3600))
    first, quiet, last = hours[0], hours[1:-1], hours[-1]
    assert first == ActivityTotals(
        since=NOW,
        registered=4,
        ended={"failed": 2, "completed": 1},
        delivered=2,
        failed=3,
        detection=Percentiles(p50=1.5, p95=1.95),
        delivery=None,
    )
    assert last == replace(first, since=later(23 * 3600), failed=1)
    assert [hour.since for hour in quiet] == [later(number * 3600) for number in range(1, 23)]
    assert {(hour.registered, hour.delivered, hour.failed, hour.detection) for hour in quiet} == {
        (0, 0, 0, None)
    }
    assert day == replace(first, registered=8, ended={"failed": 4, "completed": 2}, delivered=4, failed=4)
    assert next_day == replace(last, since=later(3600))
