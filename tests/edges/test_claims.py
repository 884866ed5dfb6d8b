"""Claims and saves, on real databases: no watch is ever shared, and who is late changes nothing."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, text

from bridge.core.delivery import RetryPolicy, after_attempt
from bridge.core.gates import Gate
from bridge.core.polling import YOUNG_SECONDS, mix, urgency
from bridge.core.watch import State, Watch, recheck, withdraw
from bridge.edges.store import claims, gates, watches
from bridge.edges.store.claims import Claimant, Result
from bridge.edges.store.rows import to_row
from bridge.edges.tables import watches as table
from tests.makers import NOW, a_watch, an_answer, an_ended_watch, asked, later
from tests.together import at_once

ONE = Claimant(worker="worker-1", lease_seconds=60)
OTHER = Claimant(worker="worker-2", lease_seconds=60)
ONE_TRY = RetryPolicy(schedule_seconds=(), jitter_share=0)


def added(engine: Engine, *new: Watch) -> Sequence[Watch]:
    with engine.begin() as connection:
        connection.execute(insert(table), [to_row(watch) for watch in new])
    return new


def due(number: int, state: State = State.WATCHING, *, lane: str = "a", at: float = 0) -> Watch:
    """A watch in a lane that is due at this second."""
    watch = an_ended_watch() if state is State.DELIVERING else a_watch(timeout_seconds=86_400)
    return replace(watch, id=f"wat_{number:08}", account=lane, callback_host=lane, due_at=later(at))


def claim(
    engine: Engine,
    shares: dict[str, int],
    *,
    by: Claimant = ONE,
    state: State = State.WATCHING,
    now: datetime = NOW,
) -> list[Watch]:
    with engine.begin() as connection:
        return claims.claim(connection, state, shares, by, now)


def saved(engine: Engine, *results: Result, by: Claimant = ONE) -> list[Result]:
    with engine.begin() as connection:
        return claims.save(connection, results, by.worker)


def standing(engine: Engine, watch: Watch) -> Watch:
    with engine.begin() as connection:
        found = watches.get(connection, watch.id)
    assert found is not None
    return found


def polled(claimed: Watch) -> Result:
    after = asked(an_answer(200, {"status": "PENDING"}))
    return Result(claimed=claimed, watch=replace(after.watch, id=claimed.id), hubspot=after.hubspot)


def delivered(claimed: Watch) -> Result:
    done = after_attempt(claimed, an_answer(200), started_at=NOW, now=NOW, policy=ONE_TRY, jitter=0)
    return Result(claimed=claimed, watch=done.watch, attempt=done.attempt)


def ids(found: Sequence[Watch]) -> list[str]:
    return [watch.id for watch in found]


@pytest.mark.parametrize("state", [State.WATCHING, State.DELIVERING])
def test_many_claimants_never_share_a_watch(engine: Engine, state: State) -> None:
    lanes = {"a": 7, "b": 3, "c": 5}
    added(engine, *(due(number, state, lane="abc"[number % 3]) for number in range(300)))

    def claim_all(number: int) -> list[str]:
        claimant, mine = Claimant(worker=f"worker-{number}", lease_seconds=60), list[str]()
        while came := claim(engine, lanes, by=claimant, state=state):
            assert all(count <= lanes[lane] for lane, count in Counter(w.account for w in came).items())
            assert {watch.claimed_by for watch in came} == {claimant.worker}
            mine += ids(came)
        return mine

    # Where all rows that it saw are being taken by others, a claimant stops too early; then comes one more.
    taken = sum(at_once(6, claim_all), []) + claim_all(7)
    assert sorted(taken) == [f"wat_{number:08}" for number in range(300)]


def test_a_claim_takes_those_that_have_waited_longest_of_each_lane(engine: Engine) -> None:
    seconds = [-3.0, -9.0, -1.0, -5.0, 0.0, 1.0]
    added(engine, *(due(place, lane="a", at=second) for place, second in enumerate(seconds)))
    added(engine, *(due(place + 10, lane="b", at=second) for place, second in enumerate(seconds)))
    came = claim(engine, {"a": 2, "b": 9, "c": 5, "d": 0})
    assert sorted(ids(came)) == sorted(
        f"wat_{number:08}" for number in (1, 3, *(10 + place for place in range(5)))
    )


def test_a_claim_sees_only_its_own_state(engine: Engine) -> None:
    added(engine, due(1, State.WATCHING), due(2, State.DELIVERING))
    assert ids(claim(engine, {"a": 9}, state=State.DELIVERING)) == ["wat_00000002"]
    assert ids(claim(engine, {"a": 9}, state=State.WATCHING)) == ["wat_00000001"]


def test_a_claimed_watch_is_leased_and_otherwise_as_it_was(engine: Engine) -> None:
    [watch] = added(engine, due(1))
    [claimed] = claim(engine, {"a": 1})
    assert claimed == replace(watch, due_at=later(60), claimed_by="worker-1")
    assert standing(engine, watch) == claimed


def test_a_watch_comes_out_of_the_table_as_it_went_in(engine: Engine) -> None:
    watch = replace(
        an_ended_watch(),
        created_at=later(0.123456).astimezone(),
        ended_at=later(1.000001),
        settled_at=later(2),
        last_polled_at=later(0.5),
        last_attempt_at=later(1.5),
        claimed_by="worker-1",
        status="COMPLETE",
        error="é 😀",
        refusals=2,
        manual=True,
        last_status_code=503,
        metadata='{"größe": "\\u0000"}',
    )
    added(engine, watch)
    assert standing(engine, watch) == watch


def test_nobody_else_gets_a_watch_until_its_lease_has_run_out(engine: Engine) -> None:
    added(engine, due(1))
    assert claim(engine, {"a": 1})
    assert not claim(engine, {"a": 1}, by=OTHER, now=later(59.999))
    [claimed] = claim(engine, {"a": 1}, by=OTHER, now=later(60))
    assert claimed.claimed_by == "worker-2"


@pytest.mark.parametrize("finished", [polled, delivered], ids=["poll", "delivery"])
def test_a_save_that_comes_too_late_loses_and_changes_nothing(
    engine: Engine, finished: Callable[[Watch], Result]
) -> None:
    state = State.WATCHING if finished is polled else State.DELIVERING
    added(engine, due(1, state))
    [late] = claim(engine, {"a": 1}, state=state)
    [owner] = claim(engine, {"a": 1}, by=OTHER, state=state, now=later(60))
    assert saved(engine, finished(late)) == []
    assert standing(engine, late) == owner
    with engine.begin() as connection:
        assert watches.attempts_of(connection, late.id) == []
        assert watches.answers_of(connection, [late.id]) == {}
    assert saved(engine, finished(owner), by=OTHER) == [finished(owner)]
    assert standing(engine, late) == finished(owner).watch


@pytest.mark.parametrize("change", [withdraw, recheck])
def test_what_a_client_has_changed_meanwhile_stays_changed(
    engine: Engine, change: Callable[..., Watch]
) -> None:
    added(engine, due(1))
    [claimed] = claim(engine, {"a": 1})
    with engine.begin() as connection:
        [locked] = watches.lock(connection, [claimed.id])
        changed = change(locked, now=later(1))
        claims.put(connection, [changed])
    assert saved(engine, polled(claimed)) == []
    assert standing(engine, claimed) == changed


def test_the_same_worker_cannot_save_one_claim_twice(engine: Engine) -> None:
    added(engine, due(1, State.DELIVERING))
    [claimed] = claim(engine, {"a": 1}, state=State.DELIVERING)
    assert saved(engine, delivered(claimed))
    assert saved(engine, delivered(claimed)) == []


def test_fifty_results_are_saved_in_one_transaction(engine: Engine) -> None:
    added(engine, *(due(number) for number in range(25)))
    added(engine, *(due(number, State.DELIVERING) for number in range(25, 50)))
    results = [polled(watch) for watch in claim(engine, {"a": 25})]
    results += [delivered(watch) for watch in claim(engine, {"a": 25}, state=State.DELIVERING)]
    assert saved(engine, *results) == results
    for result in results:
        assert standing(engine, result.watch) == result.watch
    with engine.begin() as connection:
        every = [result.watch.id for result in results]
        assert watches.answers_of(connection, every) == {
            result.watch.id: result.hubspot for result in results[:25]
        }
        assert [watches.attempts_of(connection, id_) for id_ in every] == [
            [result.attempt] if result.attempt else [] for result in results
        ]


def test_of_results_saved_together_the_late_ones_alone_are_left_out(engine: Engine) -> None:
    added(engine, due(1), due(2))
    first, second = sorted(claim(engine, {"a": 2}), key=lambda watch: watch.id)
    with engine.begin() as connection:
        claims.put(connection, [withdraw(second, now=NOW)])
    assert saved(engine, polled(first), polled(second)) == [polled(first)]
    assert standing(engine, second).state is State.WITHDRAWN


def test_the_newest_answer_of_hubspot_s_replaces_the_one_before(engine: Engine) -> None:
    [watch] = added(engine, due(1))
    for body in ('{"status": "PENDING"}', '{ "status":"PENDING", "f": 1.10, "b": "\\u0000" }'):
        [claimed] = claim(engine, {"a": 1}, now=later(100))
        saved(engine, Result(claimed=claimed, watch=replace(claimed, due_at=NOW), hubspot=body))
        with engine.begin() as connection:
            assert watches.answers_of(connection, [watch.id]) == {watch.id: body}


def test_a_worker_that_stops_gives_back_what_is_still_its_own(engine: Engine) -> None:
    added(engine, due(1), due(2))
    first, second = sorted(claim(engine, {"a": 2}), key=lambda watch: watch.id)
    with engine.begin() as connection:
        claims.put(connection, [withdraw(second, now=NOW)])
        assert claims.give_back(connection, [first, second], "worker-1", later(5)) == 1
    assert standing(engine, first) == replace(first, due_at=later(5), claimed_by=None)
    assert standing(engine, second).state is State.WITHDRAWN
    assert ids(claim(engine, {"a": 2}, by=OTHER, now=later(5))) == [first.id]


@pytest.mark.parametrize("odd_to_young", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_when_the_quota_is_short_the_most_urgent_are_claimed(
    engine: Engine, seed: int, *, odd_to_young: bool
) -> None:
    draw = random.Random(seed)  # noqa: S311 -- test data
    some = [_waiting(number, draw) for number in range(150)]
    added(engine, *some, *(replace(w, id=f"{w.id}_b", account="b") for w in some))

    def most_urgent(found: Sequence[Watch]) -> list[str]:
        return ids(sorted(found, key=_urgency, reverse=True)[:31])

    ready = [watch for watch in some if watch.due_at is not None and watch.due_at <= NOW]
    young = [watch for watch in ready if (NOW - watch.age_zero_at).total_seconds() < YOUNG_SECONDS]
    expected = mix(most_urgent(young), most_urgent(ready), count=31, odd_to_young=odd_to_young)
    with engine.begin() as connection:
        came = claims.claim_urgent(connection, "a", 31, ONE, NOW, odd_to_young=odd_to_young)
    assert sorted(ids(came)) == sorted(expected)
    assert {(watch.claimed_by, watch.due_at) for watch in came} == {("worker-1", later(60))}


def _waiting(number: int, draw: random.Random) -> Watch:
    """A watch of any age that has waited for any time; SQLite compares milliseconds."""
    age = round(10 ** draw.uniform(0, 5), 3)
    waited = round(age * draw.uniform(0.01, 1), 3)
    last = None if draw.random() < 0.3 else later(-waited)
    zero = later(-age) if draw.random() < 0.5 or last is None else later(-round(age / 2, 3))
    watch = replace(due(number, at=draw.uniform(-60, 5)), created_at=later(-age), age_zero_at=zero)
    return replace(watch, last_polled_at=last)


def _urgency(watch: Watch) -> float:
    waited = NOW - (watch.last_polled_at or watch.created_at)
    return urgency(waited.total_seconds(), (NOW - watch.age_zero_at).total_seconds())


@pytest.mark.parametrize("state", [State.WATCHING, State.DELIVERING])
def test_the_lanes_are_those_with_due_watches_and_since_when(engine: Engine, state: State) -> None:
    draw = random.Random(7)  # noqa: S311 -- test data
    lanes = ["a", "B", "b.example", "ab", "z" * 60, "é", "_", "app.example.com"]
    some = [
        due(number, draw.choice(list(State)[:2]), lane=draw.choice(lanes), at=draw.uniform(-5, 30))
        for number in range(60)
    ]
    added(engine, *some, due(99, state, lane="exactly now"), due(98, state, lane="soon", at=0.001))
    expected: dict[str, datetime] = {}
    for watch in (*some, due(99, state, lane="exactly now")):
        if watch.state is state and watch.due_at is not None and watch.due_at <= NOW:
            expected[watch.account] = min(watch.due_at, expected.get(watch.account, NOW))
    with engine.begin() as connection:
        assert claims.due_lanes(connection, state, NOW) == expected


def test_an_empty_table_has_no_lanes(engine: Engine) -> None:
    with engine.begin() as connection:
        assert claims.due_lanes(connection, State.WATCHING, NOW) == {}


@pytest.mark.parametrize(
    ("paused", "ended_seconds_ago", "due_at", "found"),
    [
        pytest.param(True, 0, -1, True, id="paused, at the deadline"),
        pytest.param(True, -1, -1, False, id="paused, before the deadline"),
        pytest.param(True, 5, 1, False, id="paused, and its probe is on the way"),
        pytest.param(False, 59, -1, False, id="not paused, within the grace"),
        pytest.param(False, 60, -1, True, id="not paused, after the grace"),
        pytest.param(False, 60, 1, False, id="not paused, and claimed"),
    ],
)
def test_a_watch_is_overdue_when_its_last_poll_cannot_be_had(
    engine: Engine, *, paused: bool, ended_seconds_ago: float, due_at: float, found: bool
) -> None:
    watch = replace(due(1, at=due_at), deadline_at=later(-ended_seconds_ago))
    added(engine, watch, replace(due(2, State.DELIVERING, at=-1), deadline_at=later(-999)))
    gate = Gate(paused_until=later(99) if paused else None)
    with engine.begin() as connection:
        gates.lock_accounts(connection, ["a"])
        gates.save_accounts(connection, {"a": gates.AccountGate(gate=gate)})
        late = claims.overdue(connection, NOW, grace_seconds=60, limit=9)
    assert ids(late) == ([watch.id] if found else [])


def test_the_longest_overdue_come_first(engine: Engine) -> None:
    added(engine, *(replace(due(n, at=-1), deadline_at=later(-100 * n)) for n in (3, 1, 4, 2)))
    with engine.begin() as connection:
        late = claims.overdue(connection, NOW, grace_seconds=60, limit=3)
    assert ids(late) == ["wat_00000004", "wat_00000003", "wat_00000002"]


HOT = {
    "ix_watches_to_poll": [
        lambda c: claims.due_lanes(c, State.WATCHING, NOW),
        lambda c: claims.claim(c, State.WATCHING, {"lane-3": 9}, ONE, NOW),
        lambda c: claims.claim_urgent(c, "lane-3", 9, ONE, NOW, odd_to_young=True),
    ],
    "ix_watches_to_deliver": [
        lambda c: claims.due_lanes(c, State.DELIVERING, NOW),
        lambda c: claims.claim(c, State.DELIVERING, {"lane-3": 9}, ONE, NOW),
    ],
    "ix_watches_to_time_out": [lambda c: claims.overdue(c, NOW, grace_seconds=60, limit=9)],
}


@pytest.mark.parametrize("index", HOT)
def test_what_runs_all_the_time_goes_by_its_partial_index(engine: Engine, index: str) -> None:
    settled = [replace(due(n), state=State.DELIVERED, due_at=None, settled_at=NOW) for n in range(3_000)]
    waiting = [
        due(n, list(State)[n % 2], lane=f"lane-{n // 2 % 20}", at=n - 4_000) for n in range(3_000, 5_000)
    ]
    added(engine, *settled, *waiting)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        for act in HOT[index]:
            plan = _plan_of(connection, act)
            assert index in plan
            assert "Seq Scan" not in plan
            assert "SCAN watches" not in plan.replace(f"SCAN watches USING COVERING INDEX {index}", "")


def _plan_of(connection: Connection, act: Callable[[Connection], Any]) -> str:
    """How the database carries out every statement of `act`."""
    ran: list[tuple[str, Any]] = []

    @event.listens_for(connection, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        ran.append((statement, parameters))

    act(connection)
    event.remove(connection, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    lines = [
        str(row[-1])
        for statement, parameters in ran
        for row in connection.exec_driver_sql(explain + statement, parameters)
    ]
    return "\n".join(lines)


def test_a_claim_is_not_sorted_where_the_index_is_in_order(engine: Engine) -> None:
    added(engine, *(due(number, at=-number) for number in range(500)))
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        plan = _plan_of(connection, lambda c: claims.claim(c, State.WATCHING, {"a": 9}, ONE, NOW))
    assert "TEMP B-TREE" not in plan


def test_instants_are_compared_as_instants_whatever_their_zone(engine: Engine) -> None:
    added(engine, due(1, at=1))
    east = later(0.5).astimezone(NOW.astimezone().tzinfo) + timedelta(seconds=0.5)
    assert claim(engine, {"a": 1}) == []
    assert ids(claim(engine, {"a": 1}, now=east)) == ["wat_00000001"]
