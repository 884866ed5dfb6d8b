"""Redelivery in bulk, counts, and what is due."""

from sqlalchemy import Engine

from bridge.core.watch import Outcome, State, redeliver
from bridge.db import watch_filters, watches
from bridge.db.watch_filters import Filters
from tests.db.claiming import added, numbered
from tests.makers import later
from tests.threads import at_once


def redelivered(
    engine: Engine, filters: Filters, *, before: str | None, limit: int
) -> watch_filters.Redelivered:
    with engine.begin() as connection:
        return watch_filters.redeliver(connection, filters, before=before, limit=limit, now=later(60))


def test_a_redelivery_goes_on_where_the_batch_before_ended(engine: Engine) -> None:
    added(engine, *(numbered(number, State.DELIVERED) for number in range(5)))
    first = redelivered(engine, Filters(), before=None, limit=2)
    second = redelivered(engine, Filters(), before=first.before, limit=2)
    third = redelivered(engine, Filters(), before=second.before, limit=2)
    assert [first.count, second.count, third.count] == [2, 2, 1]
    assert [first.before, second.before, third.before] == [numbered(3).id, numbered(1).id, None]


def test_only_what_is_settled_is_redelivered_and_as_the_core_decides(engine: Engine) -> None:
    others = {"outcome": Outcome.FAILED, "attempts": 3, "tries": 3, "last_error": "The receiver answered 500"}
    settled = [numbered(1, State.DELIVERED, **others), numbered(2, State.UNDELIVERED, **others)]
    left_alone = [numbered(3), numbered(4, State.DELIVERING, **others), numbered(5, State.WITHDRAWN)]
    added(engine, *settled, *left_alone)
    with engine.begin() as connection:
        assert watch_filters.count_redeliverable(connection, Filters()) == 2
    assert redelivered(engine, Filters(), before=None, limit=10).count == 2
    with engine.begin() as connection:
        for watch in settled:
            assert watches.get(connection, watch.id) == redeliver(watch, now=later(60))
        for watch in left_alone:
            assert watches.get(connection, watch.id) == watch


def test_redeliveries_at_once_count_each_watch_once(engine: Engine) -> None:
    added(engine, *(numbered(number, State.UNDELIVERED) for number in range(300)))

    def redeliver_all(_: int) -> int:
        count, before = 0, None
        while True:
            done = redelivered(engine, Filters(), before=before, limit=50)
            count, before = count + done.count, done.before
            if before is None:
                return count

    assert sum(at_once(4, redeliver_all)) == 300
