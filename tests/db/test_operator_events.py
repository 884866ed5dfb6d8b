"""The operator's events in a real database: merged, claimed by one process, spaced and in order."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import permutations

import pytest
from sqlalchemy import Engine, func, select, text

from bridge.core.operator_events import OperatorEventType, new_event
from bridge.db import heartbeats
from bridge.db import operator_events as store
from bridge.db.operator_events import ClaimedEvent
from bridge.db.tables import operator_events
from tests.db.plans import plan_of
from tests.makers import NOW, later

PAUSED, RESUMED = OperatorEventType.HOST_PAUSED, OperatorEventType.HOST_RESUMED
GIVEN_UP = OperatorEventType.CALLBACK_GIVEN_UP
HOST = "app.example.com"


def add(engine: Engine, type_: OperatorEventType, *seconds: float, subject: str = HOST) -> None:
    """Let something happen at each of these seconds."""
    with engine.begin() as connection:
        store.add(connection, [new_event(type_, subject, f"At {at:g}.", later(at)) for at in seconds])


def claim(engine: Engine, at: float) -> ClaimedEvent | None:
    """Claim what may be sent at this second, for a minute."""
    with engine.begin() as connection:
        due = store.next_due(connection, later(at))
        return store.claim(connection, due, later(at), lease_ends_at=later(at + 60)) if due else None


def save(engine: Engine, sent: ClaimedEvent | None, at: float, *, again_at: float | None = None) -> None:
    assert sent is not None
    due_at = None if again_at is None else later(again_at)
    with engine.begin() as connection:
        store.save(connection, sent, due_at=due_at, now=later(at))


def send_due(engine: Engine, *, seconds: Sequence[float]) -> list[tuple[float, OperatorEventType, int]]:
    """Send what may be sent at each of these seconds; return when, what and how many."""
    sent = []
    for at in seconds:
        while claimed := claim(engine, at):
            save(engine, claimed, at)
            sent.append((at, claimed.event.type, claimed.event.count))
    return sent


def test_events_may_be_stored_in_another_order_than_they_happened(engine: Engine) -> None:
    for at in (2, 5, 1, 3):
        add(engine, PAUSED, at)
    with engine.begin() as connection:
        store.add(connection, [new_event(PAUSED, HOST, reason, later(5)) for reason in ("Too", "Last")])
    sent = claim(engine, 5)
    assert sent is not None
    assert (sent.event.since, sent.event.last_at) == (later(1), later(5))
    assert (sent.event.reason, sent.event.count) == ("Last.", 6)


def test_equal_events_of_one_transaction_are_one_whatever_their_order(engine: Engine) -> None:
    for order in permutations(range(3)):
        add(engine, PAUSED, *order, subject=str(order))
    for _ in range(6):
        sent = claim(engine, 2)
        assert sent is not None
        assert (sent.event.since, sent.event.last_at) == (NOW, later(2))
        assert (sent.event.reason, sent.event.count) == ("At 2.", 3)
    assert claim(engine, 2) is None


def rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(operator_events)).scalar_one()


def test_what_happens_before_the_first_attempt_is_counted_in_one_event(engine: Engine) -> None:
    for second in range(3):
        add(engine, PAUSED, second, second + 0.5)
    claimed = claim(engine, 3)
    assert claimed
    assert claimed.id.startswith("evt_")
    assert (claimed.event.count, claimed.event.since, claimed.event.last_at, claimed.event.reason) == (
        6,
        NOW,
        later(2.5),
        "At 2.5.",
    )


def test_what_happens_after_the_first_attempt_makes_an_event_of_its_own(engine: Engine) -> None:
    add(engine, PAUSED, 0)
    first = claim(engine, 0)
    add(engine, PAUSED, 1)
    add(engine, PAUSED, 2)
    save(engine, first, 3, again_at=5)
    again = claim(engine, 5)
    assert first
    assert again
    assert (again.id, again.event, again.attempts) == (first.id, first.event, 2)
    save(engine, again, 6)
    assert send_due(engine, seconds=[65, 66]) == [(66, PAUSED, 2)]


def test_an_event_is_followed_by_one_of_its_kind_after_a_minute_at_the_earliest(engine: Engine) -> None:
    add(engine, PAUSED, 0)
    assert send_due(engine, seconds=[0]) == [(0, PAUSED, 1)]
    for second in range(1, 100):
        add(engine, PAUSED, second)
    assert send_due(engine, seconds=range(1, 200)) == [(60, PAUSED, 99)]


def test_callbacks_that_are_given_up_in_a_burst_are_one_event_when_the_burst_is_over(engine: Engine) -> None:
    for second in range(0, 20, 4):
        add(engine, GIVEN_UP, second)
    assert send_due(engine, seconds=range(20)) == []
    assert send_due(engine, seconds=range(20, 30)) == [(21, GIVEN_UP, 5)]


def test_callbacks_that_are_given_up_without_end_are_an_event_a_minute(engine: Engine) -> None:
    sent = []
    for second in range(300):
        add(engine, GIVEN_UP, second)
        sent += send_due(engine, seconds=[second])
    assert [at for at, _, _ in sent] == [64, 129, 194, 259]
    assert sum(count for _, _, count in sent) == 260


def test_a_callback_that_is_given_up_earlier_than_the_last_does_not_hasten_the_event(engine: Engine) -> None:
    add(engine, GIVEN_UP, 10)
    add(engine, GIVEN_UP, 4)
    assert send_due(engine, seconds=range(4, 20)) == [(15, GIVEN_UP, 2)]


def test_events_of_other_types_and_subjects_are_not_waited_for(engine: Engine) -> None:
    add(engine, PAUSED, 0)
    add(engine, PAUSED, 0, subject="other.example.com")
    add(engine, OperatorEventType.ACCOUNT_PAUSED, 0)
    assert len(send_due(engine, seconds=[0])) == 3


def test_of_a_pause_and_its_end_the_last_word_is_what_holds(engine: Engine) -> None:
    add(engine, PAUSED, 0)
    add(engine, RESUMED, 10)
    assert send_due(engine, seconds=[0, 10]) == [(0, PAUSED, 1), (10, RESUMED, 1)]
    add(engine, PAUSED, 20)
    add(engine, RESUMED, 30)
    add(engine, PAUSED, 40)
    # Both may be sent from second 70 on. That it is paused holds, and is the last to be told.
    assert send_due(engine, seconds=range(41, 200)) == [(70, RESUMED, 1), (70, PAUSED, 2)]


def test_an_end_of_a_pause_waits_for_the_pause_that_could_not_be_sent_yet(engine: Engine) -> None:
    add(engine, PAUSED, 0)
    failed = claim(engine, 0)
    save(engine, failed, 1, again_at=300)
    add(engine, RESUMED, 10)
    assert send_due(engine, seconds=range(10, 302)) == [(300, PAUSED, 1), (300, RESUMED, 1)]


def test_clocks_that_disagree_hold_up_nobody_for_ever(engine: Engine) -> None:
    add(engine, PAUSED, 10)
    failed = claim(engine, 10)
    save(engine, failed, 11, again_at=15)
    # A process whose clock is behind tells of what happened later.
    add(engine, RESUMED, 9)
    add(engine, PAUSED, 8)
    assert [type_ for _, type_, _ in send_due(engine, seconds=range(12, 200))] == [PAUSED, PAUSED, RESUMED]


def test_two_processes_never_send_the_same_at_once(engine: Engine) -> None:
    for number in range(20):
        add(engine, PAUSED, 0, subject=f"{number}.example.com")

    def all_of_them(_: int) -> list[str]:
        found = []
        while claimed := claim_or_try_again(engine):
            found.append(claimed.id)
        return found

    with ThreadPoolExecutor(4) as pool:
        ids = [claimed for mine in pool.map(all_of_them, range(4)) for claimed in mine]
    assert len(ids) == len(set(ids)) == 20


def claim_or_try_again(engine: Engine) -> ClaimedEvent | None:
    while True:
        with engine.begin() as connection:
            due = store.next_due(connection, NOW)
        if due is None:
            return None
        with engine.begin() as connection:
            if claimed := store.claim(connection, due, NOW, lease_ends_at=later(60)):
                return claimed


def test_an_event_that_was_found_due_is_claimed_once(engine: Engine) -> None:
    add(engine, PAUSED, 0)
    with engine.begin() as connection:
        due = store.next_due(connection, NOW)
        assert due
        assert store.claim(connection, due, NOW, lease_ends_at=later(60))
        assert store.claim(connection, due, NOW, lease_ends_at=later(60)) is None


def test_what_is_not_saved_within_its_lease_is_another_s(engine: Engine) -> None:
    add(engine, PAUSED, 0)
    late = claim(engine, 0)
    assert claim(engine, 59) is None
    other = claim(engine, 60)
    assert other
    assert late
    assert other.id == late.id
    save(engine, late, 61)
    assert claim(engine, 119) is None
    assert claim(engine, 120)


def test_processes_that_count_at_the_same_time_lose_none_and_wait_for_nobody_in_a_circle(
    engine: Engine,
) -> None:
    events = [
        new_event(type_, f"{number}.example.com", None, NOW)
        for number in range(5)
        for type_ in (PAUSED, RESUMED)
    ]

    def keep(number: int) -> None:
        with engine.begin() as connection:
            store.add(connection, events if number % 2 else events[::-1])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, range(40)))
    with engine.connect() as connection:
        assert set(connection.scalars(select(operator_events.c.count))) == {40}


@pytest.mark.own_database
def test_with_many_hosts_in_trouble_the_next_event_is_found_by_its_indexes(engine: Engine) -> None:
    hosts = [f"{number}.example.com" for number in range(2_000)]
    for type_, at in ((PAUSED, 0), (RESUMED, 1)):
        with engine.begin() as connection:
            store.add(connection, [new_event(type_, host, None, later(at)) for host in hosts])
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        plan = plan_of(connection, lambda connection: store.next_due(connection, later(2)))
    assert "ix_operator_events_due" in plan
    assert "ix_operator_events_subject" in plan
    assert not re.search("Seq Scan|SCAN|Sort|TEMP B-TREE", plan), plan


def test_what_waits_is_counted_and_what_is_settled_is_deleted_after_a_day(engine: Engine) -> None:
    def waiting() -> tuple[int, datetime | None]:
        with engine.connect() as connection:
            return store.waiting(connection)

    def prune(at: float) -> None:
        with engine.begin() as connection:
            store.prune(connection, later(at))

    add(engine, PAUSED, 0)
    add(engine, PAUSED, 5, subject="other.example.com")
    assert waiting() == (2, NOW)
    sent = claim(engine, 5)
    save(engine, sent, 5)
    assert waiting() == (1, later(5))
    prune(86_405)
    assert rows(engine) == 2
    prune(86_406)
    assert rows(engine) == 1


def test_a_silent_worker_is_found_once_until_it_ticks_again(engine: Engine) -> None:
    def beat(at: float) -> None:
        with engine.begin() as connection:
            heartbeats.record(connection, "worker-1", later(at))

    def silent(at: float) -> dict[str, datetime]:
        with engine.begin() as connection:
            return heartbeats.newly_silent(connection, later(at))

    beat(0)
    assert silent(60) == {}
    assert silent(61) == {"worker-1": NOW}
    assert silent(62) == {}
    beat(100)
    assert silent(161) == {"worker-1": later(100)}
