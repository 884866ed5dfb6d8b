"""Claims, on real databases: no watch is claimed twice, and the order is right."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain

import pytest
from sqlalchemy import Engine, Table, text

from bridge.core.account_limits import AccountLimits
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.polling import YOUNG_SECONDS, half_young, urgency
from bridge.core.watch import Outcome, State, Watch
from bridge.db import breakers, claims
from bridge.db.claims import Claimant
from bridge.db.due_lanes import DueLanes
from bridge.db.engine import open_engine
from tests.db.claiming import ONE, OTHER, added, claim, delivered, due, each_kind, ids, pause, saved, stored
from tests.makers import NOW, an_ended_watch, later
from tests.threads import at_once


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

    # A claimant stops too early where others are taking all that it sees; one more takes what is left.
    taken = [*chain.from_iterable(at_once(6, claim_all)), *claim_all(7)]
    assert sorted(taken) == [f"wat_{number:08}" for number in range(300)]


@pytest.mark.parametrize("state", [State.WATCHING, State.DELIVERING])
def test_no_plan_of_postgresql_s_makes_a_claim_take_more_than_its_share(
    postgres_url: str, state: State
) -> None:
    engine = open_engine(postgres_url)
    added(engine, *(due(number, state, lane="ab"[number % 2]) for number in range(100)))
    with engine.begin() as connection:
        for join in ("hashjoin", "mergejoin", "hashagg", "sort", "material"):
            connection.execute(text(f"SET LOCAL enable_{join} = off"))
        assert len(claims.claim(connection, state, {"a": 3}, ONE, NOW)) == 3
    engine.dispose()


def test_a_claim_takes_those_that_have_waited_longest_of_each_lane(engine: Engine) -> None:
    seconds = [-3.0, -9.0, -1.0, -5.0, 0.0, 1.0]
    added(engine, *(due(place, lane="a", at=second) for place, second in enumerate(seconds)))
    added(engine, *(due(place + 10, lane="b", at=second) for place, second in enumerate(seconds)))
    came = claim(engine, {"a": 2, "b": 9, "c": 5, "d": 0})
    assert sorted(ids(came)) == sorted(
        f"wat_{number:08}" for number in (1, 3, *(10 + place for place in range(5)))
    )


def test_a_word_that_a_later_release_has_written_is_kept_and_stops_no_claim(engine: Engine) -> None:
    added(engine, due(1, State.DELIVERING), due(2, State.DELIVERING))
    with engine.begin() as connection:
        connection.execute(text("UPDATE watches SET outcome = 'unheard_of' WHERE id = 'wat_00000001'"))
    claimed = claim(engine, {"a": 2}, state=State.DELIVERING)
    assert {watch.id: watch.outcome for watch in claimed} == {
        "wat_00000001": "unheard_of",
        "wat_00000002": Outcome.COMPLETED,
    }
    assert len(saved(engine, *map(delivered, claimed))) == 2
    assert {stored(engine, watch).outcome for watch in claimed} == {"unheard_of", Outcome.COMPLETED}


def test_a_claim_sees_only_its_own_state(engine: Engine) -> None:
    added(engine, due(1, State.WATCHING), due(2, State.DELIVERING))
    assert ids(claim(engine, {"a": 9}, state=State.DELIVERING)) == ["wat_00000002"]
    assert ids(claim(engine, {"a": 9}, state=State.WATCHING)) == ["wat_00000001"]


def test_a_claimed_watch_is_leased_and_otherwise_as_it_was(engine: Engine) -> None:
    [watch] = added(engine, due(1))
    [claimed] = claim(engine, {"a": 1})
    assert claimed == replace(watch, due_at=later(60), claimed_by="worker-1")
    assert stored(engine, watch) == claimed


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
    assert stored(engine, watch) == watch


def test_nobody_else_gets_a_watch_until_its_lease_has_run_out(engine: Engine) -> None:
    added(engine, due(1))
    assert claim(engine, {"a": 1})
    assert not claim(engine, {"a": 1}, by=OTHER, now=later(59.999))
    [claimed] = claim(engine, {"a": 1}, by=OTHER, now=later(60))
    assert claimed.claimed_by == "worker-2"


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
    expected = half_young(most_urgent(young), most_urgent(ready), count=31, odd_to_young=odd_to_young)
    with engine.begin() as connection:
        came = claims.claim_urgent(connection, "a", 31, ONE, NOW, odd_to_young=odd_to_young)
    assert sorted(ids(came)) == sorted(expected)
    assert {(watch.claimed_by, watch.due_at) for watch in came} == {("worker-1", later(60))}


def _waiting(number: int, draw: random.Random) -> Watch:
    """A watch of any age that has waited for any time; SQLite compares milliseconds."""
    age = round(10 ** draw.uniform(0, 5), 3)
    waited = round(age * draw.uniform(0.01, 1), 3)
    # All that are old and were never polled are equally urgent: their order is nobody's business.
    last = None if age < 100 and draw.random() < 0.5 else later(-waited)
    zero = later(-age) if draw.random() < 0.5 or last is None else later(-round(age / 2, 3))
    watch = replace(due(number, at=draw.uniform(-60, 5)), created_at=later(-age), age_zero_at=zero)
    return replace(watch, last_polled_at=last)


def _urgency(watch: Watch) -> float:
    waited = NOW - (watch.last_polled_at or watch.created_at)
    return urgency(waited.total_seconds(), (NOW - watch.age_zero_at).total_seconds())


@pytest.mark.parametrize(
    ("pause", "ended_seconds_ago", "due_at", "steady_seconds", "found"),
    [
        pytest.param(99, 0, -1, 900, True, id="paused, at the deadline"),
        pytest.param(99, -1, -1, 900, False, id="paused, before the deadline"),
        pytest.param(99, 5, 1, 900, False, id="paused, and its trial is on the way"),
        pytest.param(99, 59, -99, 58, False, id="paused, and nobody could poll at the deadline"),
        pytest.param(99, 99, -99, 60, True, id="paused, and its trial could be sent for a minute"),
        pytest.param(-1, 59, -99, 900, False, id="the pause is over, within the grace"),
        pytest.param(-1, 60, -99, 900, True, id="the pause is over, after the grace"),
        pytest.param(None, 59, -99, 900, False, id="not paused, within the grace"),
        pytest.param(None, 60, -99, 900, True, id="not paused, after the grace"),
        pytest.param(None, 60, 1, 900, False, id="not paused, and claimed"),
        pytest.param(None, 99, -59, 900, False, id="not paused, and a dead worker's lease has just ended"),
        pytest.param(None, 99, -60, 900, True, id="not paused, and a dead worker's lease ended a minute ago"),
        pytest.param(None, 99, -99, 59, False, id="not paused, and nobody could poll until lately"),
        pytest.param(None, 99, -99, 60, True, id="not paused, and it could be polled for a minute"),
    ],
)
def test_a_watch_is_overdue_when_its_last_poll_cannot_be_had(
    engine: Engine,
    *,
    pause: float | None,
    ended_seconds_ago: float,
    due_at: float,
    steady_seconds: float,
    found: bool,
) -> None:
    watch = replace(due(1, at=due_at), deadline_at=later(-ended_seconds_ago))
    added(engine, watch, replace(due(2, State.DELIVERING, at=-1), deadline_at=later(-999)))
    breaker = (
        CircuitBreaker() if pause is None else CircuitBreaker(paused_at=later(-9), paused_until=later(pause))
    )
    with engine.begin() as connection:
        breakers.lock_account_limits(connection, ["a"])
        breakers.save_account_limits(connection, {"a": AccountLimits(breaker=breaker)})
        late = claims.lock_overdue(
            connection, NOW, steady_since=later(-steady_seconds), grace_seconds=60, limit=9
        )
    assert ids(late) == ([watch.id] if found else [])


def test_the_longest_overdue_come_first(engine: Engine) -> None:
    added(engine, *(replace(due(n, at=-99), deadline_at=later(-100 * n)) for n in (3, 1, 4, 2)))
    with engine.begin() as connection:
        late = claims.lock_overdue(connection, NOW, steady_since=later(-900), grace_seconds=60, limit=3)
    assert ids(late) == ["wat_00000004", "wat_00000003", "wat_00000002"]


def test_instants_are_compared_as_instants_whatever_their_zone(engine: Engine) -> None:
    added(engine, due(1, at=1))
    east = later(0.5).astimezone(NOW.astimezone().tzinfo) + timedelta(seconds=0.5)
    assert claim(engine, {"a": 1}) == []
    assert ids(claim(engine, {"a": 1}, now=east)) == ["wat_00000001"]


@each_kind
def test_a_trial_that_is_given_back_is_free_for_another(
    engine: Engine, state: State, breaker_table: Table
) -> None:
    added(
        engine,
        *(due(number, state, lane=lane) for number, lane in enumerate(["on trial", "on trial", "paused"])),
    )
    trial = claim(engine, {"on trial": 1}, state=state)
    # It is given back together with others, one of its own lane among them, whose leases end later.
    claimed = trial + claim(engine, {"on trial": 1, "paused": 1}, state=state, now=later(1))
    with engine.begin() as connection:
        pause(connection, breaker_table, {"on trial": later(ONE.lease_seconds), "paused": later(99)})
        assert claims.give_back(connection, claimed, ONE.worker, later(1)) == 3
        assert set(DueLanes(state).look(connection, later(1))) == {"on trial"}
        assert set(DueLanes(state).look(connection, later(100))) == {"on trial", "paused"}
