"""Pages of watches: filters, orders, the way back and forth, and how far a page looks."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from bridge.core.watch import Outcome, State
from bridge.db import pagination
from bridge.db.engine import reading
from bridge.db.pagination import Cursor, Order, Page
from bridge.db.watch_filters import Filters
from tests.db.claiming import added, numbered
from tests.db.plans import plan_of
from tests.makers import NOW, later


def page(
    engine: Engine,
    filters: Filters | None = None,
    *,
    order: Order = Order.CREATED_AT,
    cursor: Cursor | None = None,
    limit: int = 100,
) -> Page:
    with engine.begin() as connection:
        return pagination.page(connection, filters or Filters(), order=order, cursor=cursor, limit=limit)


def tasks(page: Page) -> list[str]:
    return [watch.task_id for watch in page.watches]


def walked(
    start: Callable[[Cursor | None], Page], *, backwards_from: Cursor | None = None
) -> list[list[str]]:
    """The pages one after another; backwards, they come in the order in which they are found."""
    found, cursor, end = [], backwards_from, False
    while not end:
        one = start(cursor)
        found.append(tasks(one))
        cursor = one.previous if backwards_from else one.following
        end = cursor is None
    return found


def test_pages_follow_each_other_newest_first(engine: Engine) -> None:
    added(engine, *(numbered(number) for number in (2, 0, 3, 1, 4)))
    found = walked(lambda cursor: page(engine, cursor=cursor, limit=2))
    assert found == [["task-4", "task-3"], ["task-2", "task-1"], ["task-0"]]
    assert page(engine).previous is None


def test_pages_lead_back_to_the_first(engine: Engine) -> None:
    added(engine, *(numbered(number) for number in range(5)))
    last = page(engine, cursor=Cursor(watch_id=numbered(1).id), limit=2)
    assert tasks(last) == ["task-0"]
    assert last.following is None
    found = walked(lambda cursor: page(engine, cursor=cursor, limit=2), backwards_from=last.previous)
    assert found == [["task-2", "task-1"], ["task-4", "task-3"]]


@pytest.mark.parametrize("states", [[State.DELIVERING, State.WATCHING], [State.WATCHING]])
def test_a_watch_that_changes_meanwhile_is_in_the_page_as_it_was(engine: Engine, states: list[State]) -> None:
    """The page takes several statements, and the watch changes right after the first one."""
    before = numbered(0)
    added(engine, before)
    changed = text("UPDATE watches SET state = 'delivering'")

    with reading(engine) as connection:

        def change(*_: Any) -> None:
            with engine.begin() as writer:
                writer.execute(changed)

        event.listen(connection, "after_cursor_execute", change, once=True)
        found = pagination.page(
            connection, Filters(state=states), order=Order.CREATED_AT, cursor=None, limit=2
        )
    assert found.watches == [before]


def test_a_page_that_was_found_backwards_leads_on(engine: Engine) -> None:
    added(engine, *(numbered(number) for number in range(5)))
    middle = page(engine, cursor=Cursor(watch_id=numbered(1).id, backwards=True), limit=2)
    assert tasks(middle) == ["task-3", "task-2"]
    assert tasks(page(engine, cursor=middle.following, limit=2)) == ["task-1", "task-0"]


def undelivered(engine: Engine, order: Order) -> Callable[[Cursor | None], Page]:
    """Add six watches, and return the function that reads a page of two of those that are still undelivered."""
    added(engine, *(numbered(n, State.UNDELIVERED, ended_at=later(n)) for n in range(6)))
    return lambda cursor: page(
        engine, Filters(state=[State.UNDELIVERED]), order=order, cursor=cursor, limit=2
    )


def deliver(engine: Engine, *numbers: int) -> None:
    with engine.begin() as connection:
        delivered = text("UPDATE watches SET state = 'delivered' WHERE task_id = :task")
        connection.execute(delivered, [{"task": f"task-{number}"} for number in numbers])


@pytest.mark.parametrize("order", Order)
def test_the_page_after_an_empty_one_is_the_one_that_led_there(engine: Engine, order: Order) -> None:
    """All watches before a page leave the list."""
    listed = undelivered(engine, order)
    second = listed(listed(None).following)
    deliver(engine, 5, 4)
    empty = listed(second.previous)
    assert (tasks(empty), tasks(listed(empty.following))) == ([], ["task-3", "task-2"])


@pytest.mark.parametrize("order", Order)
def test_the_page_before_an_empty_one_is_the_one_that_led_there(engine: Engine, order: Order) -> None:
    """All watches after a page leave the list."""
    listed = undelivered(engine, order)
    first = listed(None)
    deliver(engine, 3, 2, 1, 0)
    empty = listed(first.following)
    assert (tasks(empty), tasks(listed(empty.previous))) == ([], ["task-5", "task-4"])


def test_what_has_ended_comes_in_the_order_of_its_end(engine: Engine) -> None:
    ends = {0: 9, 1: 7, 2: 9, 3: 5}
    added(engine, numbered(4), *(numbered(n, State.DELIVERED, ended_at=later(at)) for n, at in ends.items()))

    def by_end(cursor: Cursor | None) -> Page:
        return page(engine, order=Order.ENDED_AT, cursor=cursor, limit=3)

    assert walked(by_end) == [["task-2", "task-0", "task-1"], ["task-3"]]
    last = by_end(by_end(None).following)
    assert walked(by_end, backwards_from=last.previous) == [["task-2", "task-0", "task-1"]]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"state": [State.DELIVERED]}, [1]),
        ({"state": [State.DELIVERED, State.WITHDRAWN]}, [7, 1]),
        ({"state": [State.WITHDRAWN, State.DELIVERING]}, [8, 7]),
        ({"outcome": [Outcome.FAILED]}, [1]),
        ({"outcome": [Outcome.FAILED, Outcome.REJECTED]}, [8, 1]),
        ({"outcome": [Outcome.COMPLETED, Outcome.REJECTED]}, [8, 7]),
        ({"kind": ["crm-export"]}, [2]),
        ({"kind": ["crm-export", "crm-import"]}, [3, 2]),
        ({"account": "portal-2"}, [3]),
        ({"client": "shop"}, [4]),
        ({"task_id": "task-5"}, [5]),
        ({"callback_host": "other.example.com"}, [6]),
        ({"created_after": later(7)}, [8]),
        ({"created_before": later(1)}, [0]),
        ({"created_after": later(1), "created_before": later(4)}, [3, 2]),
        ({"ended_after": later(20)}, [8]),
        ({"ended_before": later(30)}, [7]),
        ({"settled_after": NOW}, []),
        ({"settled_before": later(1)}, [7, 1]),
        ({"client": "cms", "state": [State.WATCHING], "created_after": later(3)}, [6, 5]),
        ({"outcome": [Outcome.FAILED], "state": [State.UNDELIVERED]}, []),
    ],
)
@pytest.mark.parametrize("order", Order)
def test_each_filter_must_be_passed(
    engine: Engine, order: Order, filters: dict[str, Any], found: list[int]
) -> None:
    added(
        engine,
        numbered(0),
        numbered(1, State.DELIVERED, outcome=Outcome.FAILED),
        numbered(2, kind="crm-export"),
        numbered(3, account="portal-2", kind="crm-import"),
        numbered(4, client="shop"),
        numbered(5),
        numbered(6, callback_host="other.example.com"),
        numbered(7, State.WITHDRAWN, outcome=Outcome.COMPLETED, ended_at=later(20)),
        numbered(8, State.DELIVERING, outcome=Outcome.REJECTED, ended_at=later(30)),
    )
    in_order = [number for number in found if order is Order.CREATED_AT or number in (7, 8)]
    assert tasks(page(engine, Filters(**filters), order=order)) == [f"task-{number}" for number in in_order]


def test_a_page_looks_only_so_far_and_leads_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "MOST_SCANNED", 4)
    rare = {3: "rare.example.com", 11: "rare.example.com"}
    added(engine, *(numbered(n, callback_host=rare.get(n, "often.example.com")) for n in range(14)))

    def looking(cursor: Cursor | None) -> Page:
        return page(engine, Filters(callback_host="rare.example.com"), cursor=cursor, limit=2)

    assert walked(looking) == [["task-11"], [], ["task-3"], []]
    assert walked(looking, backwards_from=Cursor(watch_id=numbered(0).id, backwards=True)) == [
        ["task-3"],
        [],
        ["task-11"],
        [],
    ]


@pytest.mark.parametrize(
    ("filters", "looked_at"),
    [
        ({"state": [State.UNDELIVERED]}, [3]),
        ({"callback_host": "app.example.com"}, [3]),
        ({"callback_host": "no.example.com"}, [3, 12, 15]),
    ],
)
def test_a_page_looks_no_further_than_it_must(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any], looked_at: list[int]
) -> None:
    monkeypatch.setattr(pagination, "MOST_SCANNED", 30)
    added(engine, *(numbered(number, State.UNDELIVERED, due_at=None) for number in range(40)))
    rows: list[int] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, given: Any, *_: Any) -> None:
        if "is_match" in statement:
            values = given.values() if isinstance(given, dict) else given
            rows.append([value for value in values if isinstance(value, int) and value][-1])  # the limit

    page(engine, Filters(**filters), limit=2)
    assert rows == looked_at


def test_a_page_does_not_visit_all_that_waits_for_a_host(sqlite_engine: Engine) -> None:
    # No ANALYZE: nobody runs it on a bridge's SQLite.
    added(sqlite_engine, *(numbered(number, State.DELIVERING) for number in range(100)))
    waiting = Filters(state=[State.DELIVERING], callback_host="app.example.com")
    with sqlite_engine.begin() as connection:
        plan = plan_of(
            connection,
            partial(pagination.page, filters=waiting, order=Order.CREATED_AT, cursor=None, limit=9),
        )
    assert "ix_watches_not_delivered" in plan
    assert "ix_watches_to_deliver" not in plan


SELECTIVE = [
    Filters(outcome=[Outcome.REJECTED]),
    Filters(outcome=[Outcome.REJECTED, Outcome.FAILED], client="cms"),
    Filters(state=[State.UNDELIVERED]),
    Filters(state=[State.UNDELIVERED, State.WITHDRAWN], kind=["file-import"]),
    Filters(client="shop"),
    Filters(task_id="task-17"),
    Filters(created_before=later(-1)),
]


@pytest.mark.own_database
def test_no_filter_reads_all_that_is_there(engine: Engine) -> None:
    ended = {"outcome": Outcome.COMPLETED, "ended_at": NOW}
    added(engine, *(numbered(number, State.DELIVERED, **ended) for number in range(3_000)))
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        for filters, order in product(SELECTIVE, Order):
            look = partial(pagination.page, filters=filters, order=order, cursor=None, limit=50)
            plan = plan_of(connection, look)
            assert "Seq Scan on watches" not in plan, filters
            assert "SCAN watches" not in plan.replace("SCAN watches USING", ""), filters


SETTLED: dict[str, Any] = {
    "due_at": None,
    "settled_at": NOW,
    "ended_at": NOW,
    "outcome": Outcome.COMPLETED,
}


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (Filters(), 3),
        (Filters(state=[State.UNDELIVERED]), 2),
        (Filters(state=[State.UNDELIVERED, State.WATCHING]), 2),
        (Filters(state=[State.WATCHING]), 0),
        (Filters(outcome=[Outcome.FAILED]), 1),
        (Filters(task_id="task-2"), 1),
        (Filters(client="nobody"), 0),
        (Filters(created_before=later(-1)), 0),
    ],
)
def test_settled_watches_are_counted(engine: Engine, filters: Filters, count: int) -> None:
    states = (State.WATCHING, State.DELIVERED, State.UNDELIVERED, State.UNDELIVERED, State.WITHDRAWN)
    rows = [replace(numbered(number), **SETTLED, state=state) for number, state in enumerate(states)]
    added(engine, *rows[:3], replace(rows[3], outcome=Outcome.FAILED), rows[4])
    with engine.begin() as connection:
        assert pagination.count_some_redeliverable(connection, filters) == (count, True)


def test_only_the_newest_are_counted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pagination, "MOST_SCANNED_TO_COUNT", 3)
    added(engine, *(replace(numbered(number), **SETTLED, state=State.DELIVERED) for number in range(5)))
    with engine.begin() as connection:
        assert pagination.count_some_redeliverable(connection, Filters(client="cms")) == (3, False)
        assert pagination.count_some_redeliverable(connection, Filters(state=[State.UNDELIVERED])) == (
            0,
            True,
        )
