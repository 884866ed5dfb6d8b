"""What needs an operator: the worst is listed, and counts stop at a bound."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from bridge.core.watch import State, Watch
from bridge.db import attention, heartbeats
from bridge.db.attention import Attention
from bridge.db.tables import host_breakers
from tests.db.claiming import added, numbered
from tests.makers import NOW, later


def looked_at(engine: Engine) -> Attention:
    with engine.begin() as connection:
        return attention.read(connection, NOW)


def pause(engine: Engine, *hosts: str, **others: Any) -> None:
    usual = {
        "failures": 5,
        "paused_at": NOW,
        "paused_until": later(15),
        "reason": "The receiver answered 503",
    }
    with engine.begin() as connection:
        rows = [{"name": host, **usual, "pause_seconds": 15.0, **others} for host in hosts]
        connection.execute(insert(host_breakers), rows)


def waiting(engine: Engine, host: str, *ended_ats: float) -> None:
    added(
        engine,
        *(
            replace(
                numbered(number),
                state=State.DELIVERING,
                callback_host=host,
                ended_at=later(at),
                due_at=later(at),
            )
            for number, at in enumerate(ended_ats)
        ),
    )


def test_a_worker_whose_clock_was_set_back_is_named_and_not_alive(engine: Engine) -> None:
    with engine.begin() as connection:
        for worker, seconds in (("well", 30), ("ahead", 3_600)):
            heartbeats.record(connection, worker, later(seconds))
        found = attention.read(connection, NOW)
        assert len(found.alive_workers) == heartbeats.count_alive(connection, NOW) == 1
    assert (set(found.alive_workers), set(found.silent_workers)) == ({"well"}, {"ahead"})


def test_paused_hosts_for_which_nothing_waits_take_no_place(engine: Engine) -> None:
    pause(engine, *(f"idle-{number}.example.com" for number in range(attention.MOST_NAMED)))
    pause(engine, "down.example.com", pause_seconds=0.25)
    waiting(engine, "down.example.com", -30, -60)
    [host] = looked_at(engine).paused_hosts
    assert (host.name, host.waiting, host.since) == ("down.example.com", 2, later(-60))


def test_what_waits_is_counted_no_further_than_a_look_may_cost(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "MOST_COUNTED", 2)
    pause(engine, "down.example.com")
    waiting(engine, "down.example.com", -1, -2, -3)
    assert [host.waiting for host in looked_at(engine).paused_hosts] == [2]


@pytest.mark.parametrize(
    ("minutes", "other_minutes", "silent"),
    [(59, 0, ["killed"]), (61, 0, []), (61, 2, ["killed", "other"])],
    ids=["for an hour", "while others work", "but for longer while nobody does"],
)
def test_a_silent_worker_needs_somebody(
    sqlite_engine: Engine, minutes: int, other_minutes: int, silent: list[str]
) -> None:
    with sqlite_engine.begin() as connection:
        heartbeats.record(connection, "killed", later(-60 * minutes))
        heartbeats.record(connection, "other", later(-60 * other_minutes))
    found = looked_at(sqlite_engine)
    assert list(found.silent_workers) == silent
    assert found.is_needed == bool(silent)


def given_up(number: int, host: str, seconds_ago: float, error: str | None = None) -> Watch:
    """Return the watch that was registered as number `number`, whose callback was given up that long ago."""
    settled_at = later(-seconds_ago)
    fields = {"callback_host": host, "ended_at": NOW, "settled_at": settled_at, "last_error": error}
    return numbered(number, State.UNDELIVERED, **fields)


@pytest.fixture
def counts_stop_at_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MOST_COUNTED", 2)


@pytest.mark.usefixtures("counts_stop_at_two")
def test_callbacks_given_up_lately_are_found_however_many_were_registered_after_them(engine: Engine) -> None:
    two_days = 2 * 86_400
    added(engine, given_up(0, "gone", 60), *(given_up(number, "gone long", two_days) for number in (1, 2, 3)))
    assert [(each.host, each.callbacks) for each in looked_at(engine).given_up] == [("gone", 1)]


@pytest.mark.usefixtures("counts_stop_at_two")
def test_a_burst_of_callbacks_given_up_to_one_host_hides_no_other_host(engine: Engine) -> None:
    added(engine, given_up(0, "quiet", 60), *(given_up(number, "burst", 30) for number in (1, 2, 3)))
    found = looked_at(engine).given_up
    assert [(each.host, each.callbacks) for each in found] == [("burst", 2), ("quiet", 1)]


def test_of_the_hosts_with_callbacks_given_up_the_most_recent_are_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "MOST_GIVEN_UP_HOSTS", 2)
    added(
        engine,
        given_up(0, "a", 50, "The receiver answered 500."),
        given_up(1, "b", 60, "The receiver answered 410."),
        given_up(2, "c", 70, "No answer."),
        given_up(3, "a", 80, "The connection was refused."),
    )
    found = looked_at(engine).given_up
    assert [(each.host, each.callbacks, each.last_at, each.last_error) for each in found] == [
        ("a", 2, later(-50), "The receiver answered 500."),
        ("b", 1, later(-60), "The receiver answered 410."),
    ]
