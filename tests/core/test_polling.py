"""When a task is polled again, and which polls come first when the quota is short."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.http_results import HttpResponse
from bridge.core.kinds import KINDS
from bridge.core.polling import after_answer, first_poll_at, gap, half_young, urgency
from bridge.core.watch import State, Watch
from tests.makers import NOW, a_watch, an_answer, asked, later

PENDING = an_answer(202, {"status": "PENDING"})
PROCESSING = an_answer(202, {"status": "PROCESSING"})


@pytest.mark.parametrize(
    ("age_seconds", "seconds"),
    [
        (0, 2),
        (5, 3),
        (60, 8),
        (896, 30),
        (904.0088, 30.1336),  # where a thirtieth of the age takes over
        (3_600, 120),
        (86_400, 2_880),
    ],
)
def test_the_gap_is_the_root_of_the_age_then_a_thirtieth_of_it(age_seconds: float, seconds: float) -> None:
    assert gap(age_seconds) == pytest.approx(seconds, rel=1e-4)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_the_gap_only_grows_with_the_age(one: float, other: float) -> None:
    younger, older = sorted([one, other])
    assert 2 <= gap(younger) <= gap(older)


def polled_until(watch: Watch, seconds: float, *, jitter: float = 0.0) -> list[float]:
    """The ages, in seconds from NOW, at which a task that stays PENDING is polled."""
    ages = []
    while watch.due_at is not None and watch.due_at <= later(seconds):
        now = watch.due_at
        ages.append((now - NOW).total_seconds())
        watch = after_answer(KINDS[watch.kind], watch, PENDING, now=now, jitter=jitter).watch
        if watch.state is not State.WATCHING:
            break
    return ages


def test_the_first_polls_come_after_2_and_2_4_and_2_9_and_3_4_and_3_8_seconds() -> None:
    ages = polled_until(a_watch(), 15)
    gaps = [after - before for before, after in zip([0, *ages], ages, strict=False)]
    assert gaps == pytest.approx([2, 2.45, 2.91, 3.37, 3.84], abs=0.01)


@pytest.mark.parametrize(("jitter", "share"), [(-1, 0.9), (0, 1), (1, 1.1)], ids=["early", "even", "late"])
@pytest.mark.parametrize("answer", [PENDING, an_answer(200)], ids=["goes on", "inconclusive"])
def test_a_gap_varies_by_a_tenth(jitter: float, share: float, answer: HttpResponse) -> None:
    assert asked(answer, jitter=jitter).watch.due_at == later(8 * share)


@pytest.mark.parametrize(
    ("timeout_seconds", "seconds"), [(86_400, 2), (10, 2), (1, 1)], ids=["a day", "10 s", "less than a gap"]
)
def test_the_first_poll_comes_one_gap_after_registration(timeout_seconds: float, seconds: float) -> None:
    assert first_poll_at(NOW, later(timeout_seconds)) == later(seconds)


@pytest.mark.parametrize("jitter", [-1.0, 0.0, 1.0])
def test_the_last_poll_comes_exactly_at_the_deadline(jitter: float) -> None:
    assert polled_until(a_watch(timeout_seconds=60), 100, jitter=jitter)[-1] == 60


@pytest.mark.parametrize(
    "answer",
    [PENDING, PROCESSING, an_answer(200), an_answer(503), an_answer(404, {})],
    ids=["pending", "processing", "inconclusive", "trouble", "refused"],
)
def test_no_answer_puts_a_poll_beyond_the_deadline(answer: HttpResponse) -> None:
    assert asked(answer, jitter=1, timeout_seconds=60.5, failures=9).watch.due_at == later(0.5)


def test_the_age_starts_anew_when_the_task_is_first_seen_at_work() -> None:
    watch = a_watch(created_at=later(-3_600))
    watch = after_answer(KINDS[watch.kind], watch, PENDING, now=NOW, jitter=0).watch
    assert watch.due_at == later(120)
    watch = after_answer(KINDS[watch.kind], watch, PROCESSING, now=later(120), jitter=0).watch
    assert watch.due_at == later(122)
    watch = after_answer(KINDS[watch.kind], watch, PROCESSING, now=later(125), jitter=0).watch
    assert watch.due_at == later(128)
    watch = after_answer(KINDS[watch.kind], watch, PENDING, now=later(180), jitter=0).watch
    assert watch.due_at == later(188)


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    watch = a_watch(created_at=later(3_600))
    assert after_answer(KINDS[watch.kind], watch, PENDING, now=NOW, jitter=0).watch.due_at == later(2)


@pytest.mark.parametrize(
    ("waited_seconds", "age_seconds", "value"),
    [(2, 0, 1), (4, 0, 4), (8, 60, 1), (30, 896, 1), (120, 3_600, 1), (240, 3_600, 4)],
)
def test_urgency_is_the_square_of_the_wait_over_the_gap(
    waited_seconds: float, age_seconds: float, value: float
) -> None:
    assert urgency(waited_seconds, age_seconds) == pytest.approx(value)
    assert urgency(waited_seconds, age_seconds) == pytest.approx((waited_seconds / gap(age_seconds)) ** 2)


@pytest.mark.parametrize(
    ("young", "every", "count", "odd_to_young", "chosen"),
    [
        pytest.param("ab", "stuv", 4, False, "abst", id="half and half"),
        pytest.param("ab", "stuv", 3, True, "abs", id="the odd one to the young"),
        pytest.param("ab", "stuv", 3, False, "ast", id="the odd one to all"),
        pytest.param("ab", "s", 1, True, "a", id="one, for the young"),
        pytest.param("ab", "s", 1, False, "s", id="one, for all"),
        pytest.param("", "stuv", 3, True, "stu", id="none is young"),
        pytest.param("a", "stuv", 4, True, "astu", id="one is young"),
        pytest.param("abcd", "abcd", 4, True, "abcd", id="all are young"),
        pytest.param("ab", "ba", 4, True, "ab", id="fewer than wanted"),
        pytest.param("ab", "asb", 3, True, "abs", id="nobody twice"),
        pytest.param("ab", "ab", 0, False, "", id="none wanted"),
    ],
)
def test_half_of_a_claim_goes_to_the_young(
    young: str, every: str, count: int, *, odd_to_young: bool, chosen: str
) -> None:
    assert half_young([*young], [*every], count=count, odd_to_young=odd_to_young) == [*chosen]


@given(
    order=st.permutations(range(12)),
    young=st.sets(st.integers(0, 11)),
    count=st.integers(0, 12),
    odd_to_young=st.booleans(),
)
def test_a_mix_is_as_large_as_can_be_and_fair_to_both_sides(
    order: list[int], young: set[int], count: int, *, odd_to_young: bool
) -> None:
    every = [f"{number}" for number in order][:count]
    first = [f"{number}" for number in order if number in young][:count]
    chosen = half_young(first, every, count=count, odd_to_young=odd_to_young)
    assert len(chosen) == len(set(chosen)) == count
    assert set(first[: count // 2]) <= set(chosen)
    assert set(every[: count // 2]) <= set(chosen)


@given(age_seconds=st.floats(0, 86_400 * 30), jitter=st.floats(-1, 1), starts=st.booleans())
def test_every_gap_is_within_its_bounds(*, age_seconds: float, jitter: float, starts: bool) -> None:
    watch = a_watch(created_at=later(-age_seconds), timeout_seconds=86_400 * 60)
    answer = PROCESSING if starts else PENDING
    due_at = after_answer(KINDS[watch.kind], watch, answer, now=NOW, jitter=jitter).watch.due_at
    assert due_at is not None
    expected = gap(0 if starts else age_seconds)
    assert 0.899 * expected <= (due_at - NOW).total_seconds() <= 1.101 * expected


@pytest.mark.parametrize(
    ("completed_at", "delay_seconds"),
    [
        ("2026-11-21T11:59:56.500Z", 3.5),
        ("2026-11-21T12:59:57+01:00", 3),
        ("2026-11-21T12:00:09Z", 0),  # HubSpot's clock may be ahead of ours
        ("2026-10-22T12:00:00Z", 30 * 86_400),
        ("2026-10-22T11:59:59Z", None),  # before any watch of today's began
        ("0001-01-01T00:00:00Z", None),
        ("2026-11-21T11:59:56", None),  # of some time zone
        ("yesterday", None),
        (1_795_262_396_500, None),
        (None, None),
    ],
)
def test_the_delay_counts_from_when_hubspot_says_that_the_task_was_over(
    completed_at: Any, delay_seconds: float | None
) -> None:
    body = {"status": "COMPLETE", "result": {"id": "1"}, "completedAt": completed_at}
    assert asked(an_answer(200, body)).delay_seconds == delay_seconds


def test_an_end_of_which_hubspot_does_not_say_when_it_was_has_no_delay() -> None:
    assert asked(an_answer(200, {"status": "CANCELED"})).delay_seconds is None
