"""Breakers and quotas that processes share: no signal, no request and no count is lost."""

from bisect import bisect_right
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import chain

import pytest
from sqlalchemy import Engine

from bridge.core import quota
from bridge.core.account_limits import AccountLimits
from bridge.core.circuit_breaker import HOST_POLICY, CircuitBreaker, Failure, Success, after_signal
from bridge.core.quota import Rate, Usage
from bridge.db import breakers as store
from bridge.db import daily_stats
from bridge.db.engine import open_engine
from tests.makers import NOW, SteppedClock, later
from tests.threads import at_once

PAUSED = CircuitBreaker(failures=5, paused_at=NOW, paused_until=later(8), pause_seconds=8, reason="no answer")
DAY = NOW.date()


def save_host(engine: Engine, name: str, breaker: CircuitBreaker) -> None:
    with engine.begin() as connection:
        store.lock_hosts(connection, [name])
        store.save_hosts(connection, {name: breaker})


def host(engine: Engine, name: str) -> CircuitBreaker | None:
    with engine.begin() as connection:
        return store.read_hosts(connection, [name]).get(name)


def test_twenty_workers_at_once_lose_no_failure_of_a_host(engine: Engine) -> None:
    high_threshold = replace(HOST_POLICY, failure_threshold=1_000)

    def fail(_: int) -> None:
        for _ in range(5):
            with engine.begin() as connection:
                breaker = store.lock_hosts(connection, ["app.example.com"])["app.example.com"]
                after = after_signal(
                    breaker, Failure(reason="no"), asked_at=NOW, now=NOW, policy=high_threshold
                )
                store.save_hosts(connection, {"app.example.com": after})

    at_once(20, fail)
    assert host(engine, "app.example.com") == CircuitBreaker(failures=100)


def test_twenty_workers_at_once_lose_no_request_of_an_account(engine: Engine) -> None:
    rate = Rate(requests=100, seconds=10, share=0.5)

    def spend(_: int) -> None:
        for _ in range(5):
            with engine.begin() as connection:
                held = store.lock_account_limits(connection, ["default"])["default"]
                usage = quota.spend(rate, held.usage, requests=1, now=NOW)
                store.save_account_limits(connection, {"default": replace(held, usage=usage)})

    at_once(20, spend)
    with engine.begin() as connection:
        usage = store.all_account_limits(connection)["default"].usage
    assert usage.free_at is not None
    spent = (usage.free_at - NOW).total_seconds() / quota.interval_seconds(rate, Usage(), now=NOW)
    assert spent == pytest.approx(100, abs=0.01)


def test_workers_that_lock_several_in_any_order_never_block_each_other_for_good(engine: Engine) -> None:
    names = ["a", "b", "c", "d"]

    def acquire(number: int) -> None:
        for place in range(10):
            first = (number + place) % len(names)
            with engine.begin() as connection:
                held = store.lock_hosts(connection, names[first:] + names[:first])
                store.save_hosts(
                    connection, {n: replace(g, failures=g.failures + 1) for n, g in held.items()}
                )

    at_once(6, acquire)
    with engine.begin() as connection:
        assert store.read_hosts(connection, names) == {name: CircuitBreaker(failures=60) for name in names}


def test_a_row_that_others_delete_is_added_and_locked_all_the_same(engine: Engine) -> None:
    def acquire(number: int) -> set[str]:
        seen = set[str]()
        for _ in range(20):
            with engine.begin() as connection:
                seen.add(",".join(store.lock_account_limits(connection, ["eu"])))
                if number % 2:
                    store.forget_account(connection, "eu")
        return seen

    assert at_once(8, acquire) == [{"eu"}] * 8


def test_the_trial_of_a_paused_host_is_taken_by_one_worker_alone(engine: Engine) -> None:
    save_host(engine, "app.example.com", PAUSED)

    def take(_: int) -> bool:
        with engine.begin() as connection:
            return store.take_trial(connection, "app.example.com", seen=later(8), until=later(68))

    assert sorted(at_once(8, take)) == [False] * 7 + [True]
    assert host(engine, "app.example.com") == replace(PAUSED, paused_until=later(68))


def test_a_host_that_is_well_again_is_forgotten(engine: Engine) -> None:
    save_host(engine, "app.example.com", CircuitBreaker(failures=1))
    save_host(engine, "app.example.com", CircuitBreaker())
    assert host(engine, "app.example.com") is None


def test_a_breaker_comes_out_of_the_table_as_it_went_in(engine: Engine) -> None:
    save_host(engine, "app.example.com", replace(PAUSED, slow_start=3, pause_seconds=0.25))
    assert host(engine, "app.example.com") == replace(PAUSED, slow_start=3, pause_seconds=0.25)
    both = AccountLimits(
        breaker=PAUSED,
        usage=Usage(free_at=later(0.000001), headroom=0.05, daily_remaining=10**18 - 1, observed_at=NOW),
        refused_watches=("wat_00000001", "wat_00000002"),
    )
    with engine.begin() as connection:
        store.lock_account_limits(connection, ["default", "other"])
        store.save_account_limits(connection, {"default": both})
        assert store.all_account_limits(connection) == {"default": both, "other": AccountLimits()}


def test_nothing_is_saved_when_there_is_nothing_to_save(engine: Engine) -> None:
    with engine.begin() as connection:
        store.save_account_limits(connection, {})
        store.save_hosts(connection, {})
        daily_stats.count(connection, DAY, {})
        assert store.all_account_limits(connection) == {}


def test_twenty_workers_at_once_lose_no_request_of_the_day(engine: Engine) -> None:
    def count(number: int) -> None:
        names = ["a", "b"] if number % 2 else ["b", "a"]
        for _ in range(5):
            with engine.begin() as connection:
                daily_stats.count(connection, DAY, dict.fromkeys(names, (3, 1)))

    at_once(20, count)
    with engine.begin() as connection:
        assert daily_stats.counts(connection, DAY) == {"a": (300, 100), "b": (300, 100)}
        assert daily_stats.counts(connection, date(2026, 11, 22)) == {}


def test_three_workers_each_with_its_own_connections_never_use_more_than_the_share(
    database_url: str,
) -> None:
    rate, clock = Rate(requests=40, seconds=1, share=0.5), SteppedClock()

    def worker(_: int) -> list[datetime]:
        engine, mine = open_engine(database_url), list[datetime]()
        for _ in range(150):
            clock.passes(0.005)
            now = clock()
            with engine.begin() as connection:
                held = store.lock_account_limits(connection, ["default"])["default"]
                count = quota.grant(rate, held.usage, wanted=8, now=now)
                usage = quota.spend(rate, held.usage, requests=count, now=now)
                store.save_account_limits(connection, {"default": replace(held, usage=usage)})
            mine += [now] * count
        engine.dispose()
        return mine

    granted = sorted(chain.from_iterable(at_once(3, worker)))
    window = timedelta(seconds=rate.seconds)
    fullest = max(bisect_right(granted, first + window) - place for place, first in enumerate(granted))
    assert fullest <= 20
    assert len(granted) >= 0.6 * 20 * (clock() - NOW).total_seconds()


def test_signals_of_many_workers_pause_a_host_once(engine: Engine) -> None:
    """Failures of requests in flight when the pause began do not make it longer."""

    def fail(number: int) -> None:
        with engine.begin() as connection:
            breaker = store.lock_hosts(connection, ["app.example.com"])["app.example.com"]
            failure = Failure(reason=f"{number}")
            after = after_signal(breaker, failure, asked_at=later(-1), now=NOW, policy=HOST_POLICY)
            store.save_hosts(connection, {"app.example.com": after})

    at_once(12, fail)
    breaker = host(engine, "app.example.com")
    assert breaker is not None
    assert (breaker.failures, breaker.paused_until) == (5, later(0.25))
    save_host(
        engine,
        "app.example.com",
        after_signal(breaker, Success(), asked_at=later(1), now=later(1), policy=HOST_POLICY),
    )
    assert host(engine, "app.example.com") == CircuitBreaker(slow_start=0)
