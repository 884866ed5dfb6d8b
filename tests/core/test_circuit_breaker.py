"""Circuit breakers: when they open, for how long, and how a trial request closes them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.circuit_breaker import (
    ACCOUNT_POLICY,
    HOST_POLICY,
    BreakerPolicy,
    CircuitBreaker,
    Failure,
    PermanentFailure,
    RetryAfter,
    Signal,
    Success,
    after_signal,
    half_open,
    limit,
)
from tests.makers import NOW, later

FAILURE = Failure(reason="no answer")
FAULT = PermanentFailure(reason="401")
LEASE_SECONDS = 60.0

policies = st.sampled_from([ACCOUNT_POLICY, HOST_POLICY])
own_signals = st.sampled_from([Success(), FAILURE, FAULT])
signals = own_signals | st.builds(RetryAfter, seconds=st.floats(1, 86_400), reason=st.just("429"))


def finished(
    breaker: CircuitBreaker, *given: Signal, policy: BreakerPolicy = ACCOUNT_POLICY, at: float = 0
) -> CircuitBreaker:
    """The breaker after signals of requests that were claimed and answered at this second, a microsecond apart."""
    for place, signal in enumerate(given):
        instant = later(at) + timedelta(microseconds=place)
        breaker = after_signal(breaker, signal, asked_at=instant, now=instant, policy=policy)
    return breaker


def after_trial(
    breaker: CircuitBreaker, signal: Signal, *, policy: BreakerPolicy = ACCOUNT_POLICY
) -> CircuitBreaker:
    """The breaker after its pause, and one trial that took a second."""
    assert breaker.paused_until is not None
    asked_at = breaker.paused_until
    on_the_way = half_open(breaker, until=asked_at + timedelta(seconds=LEASE_SECONDS))
    now = asked_at + timedelta(seconds=1)
    return after_signal(on_the_way, signal, asked_at=asked_at, now=now, policy=policy)


def pause_of(breaker: CircuitBreaker) -> float:
    """How long the breaker is paused, since its last signal."""
    assert breaker.paused_at is not None
    assert breaker.paused_until is not None
    return (breaker.paused_until - breaker.paused_at).total_seconds()


@pytest.mark.parametrize(("policy", "failures"), [(ACCOUNT_POLICY, 10), (HOST_POLICY, 5)])
def test_so_many_failures_in_a_row_pause_and_no_fewer(policy: BreakerPolicy, failures: int) -> None:
    almost = finished(CircuitBreaker(), *[FAILURE] * (failures - 1), policy=policy)
    assert (almost.paused, almost.failures) == (False, failures - 1)
    breaker = finished(almost, FAILURE, policy=policy, at=1)
    assert (breaker.paused, breaker.paused_at, breaker.reason) == (True, later(1), "no answer")


@pytest.mark.parametrize(("policy", "failures"), [(ACCOUNT_POLICY, 10), (HOST_POLICY, 5)])
def test_a_success_between_failures_starts_the_count_anew(policy: BreakerPolicy, failures: int) -> None:
    breaker = finished(CircuitBreaker(), *[FAILURE] * (failures - 1), Success(), FAILURE, policy=policy)
    assert (breaker.paused, breaker.failures) == (False, 1)


def test_one_fault_is_enough_to_pause_an_account() -> None:
    breaker = finished(CircuitBreaker(), FAULT)
    assert (breaker.paused_at, breaker.paused_until, breaker.reason) == (NOW, later(30), "401")


def test_an_account_s_pause_doubles_from_30_seconds_to_15_minutes() -> None:
    breaker, pauses = finished(CircuitBreaker(), FAULT), list[float]()
    for _ in range(7):
        pauses.append(pause_of(breaker))
        breaker = after_trial(breaker, FAULT)
    assert pauses == [30, 60, 120, 240, 480, 900, 900]


def test_a_host_s_pause_doubles_from_a_quarter_of_a_second_to_15_seconds() -> None:
    breaker, pauses = finished(CircuitBreaker(), *[FAILURE] * 5, policy=HOST_POLICY), list[float]()
    for _ in range(8):
        pauses.append(pause_of(breaker))
        breaker = after_trial(breaker, FAILURE, policy=HOST_POLICY)
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 15, 15]


def test_ten_failures_pause_an_account_as_a_401_does() -> None:
    assert pause_of(finished(CircuitBreaker(), *[FAILURE] * 10)) == 30


@pytest.mark.parametrize(
    "paused",
    [
        pytest.param(finished(CircuitBreaker(), FAULT), id="by a fault"),
        pytest.param(finished(CircuitBreaker(), *[FAILURE] * 10), id="by failures"),
        pytest.param(finished(CircuitBreaker(), RetryAfter(seconds=10, reason="429")), id="by a hold"),
    ],
)
class TestATrial:
    def test_that_succeeds_closes_the_breaker(self, paused: CircuitBreaker) -> None:
        assert after_trial(paused, Success()) == CircuitBreaker()

    @pytest.mark.parametrize("signal", [FAILURE, FAULT])
    def test_that_fails_pauses_by_the_policy(self, paused: CircuitBreaker, signal: Signal) -> None:
        again = after_trial(paused, signal)
        assert pause_of(again) == max(30, 2 * paused.pause_seconds)

    def test_that_is_told_to_wait_waits_as_long_as_it_was_told(self, paused: CircuitBreaker) -> None:
        assert paused.paused_until is not None
        answered_at = paused.paused_until + timedelta(seconds=1)
        again = after_trial(paused, RetryAfter(seconds=3, reason="429"))
        assert again.paused_until == answered_at + timedelta(seconds=3)


def test_a_pause_after_a_recovery_is_short_again() -> None:
    breaker = after_trial(after_trial(finished(CircuitBreaker(), FAULT), FAULT), Success())
    assert pause_of(finished(breaker, FAULT, at=999)) == 30


def test_a_hold_pauses_for_as_long_as_the_party_says() -> None:
    breaker = finished(CircuitBreaker(), RetryAfter(seconds=10, reason="429"))
    assert (breaker.paused_until, breaker.reason) == (later(10), "429")


def test_the_longest_of_several_holds_counts() -> None:
    breaker = CircuitBreaker()
    for seconds in (10, 40, 20):
        breaker = after_signal(
            breaker,
            RetryAfter(seconds=seconds, reason="429"),
            asked_at=later(-1),
            now=NOW,
            policy=ACCOUNT_POLICY,
        )
    assert breaker.paused_until == later(40)


def test_a_hold_is_not_what_the_next_pause_doubles() -> None:
    breaker = after_trial(finished(CircuitBreaker(), RetryAfter(seconds=3_600, reason="477")), FAULT)
    assert pause_of(breaker) == 30


def test_requests_that_were_on_the_way_before_the_pause_change_nothing() -> None:
    paused = finished(CircuitBreaker(), FAULT)
    for signal in (Success(), FAILURE, FAULT):
        assert after_signal(paused, signal, asked_at=later(-1), now=later(2), policy=ACCOUNT_POLICY) == paused


@given(policy=policies, signal=own_signals, early=st.floats(0.001, 60), after=st.floats(0, 60))
def test_nothing_stale_ever_ends_a_pause_or_makes_it_longer(
    policy: BreakerPolicy, signal: Signal, early: float, after: float
) -> None:
    breaker = finished(CircuitBreaker(), FAULT, policy=policy)
    assert after_signal(breaker, signal, asked_at=later(-early), now=later(after), policy=policy) == breaker


@given(policy=policies, moves=st.lists(st.tuples(signals, st.floats(0, 100), st.floats(0, 20)), max_size=40))
def test_a_breaker_says_whether_until_when_and_why_it_is_paused(
    policy: BreakerPolicy, moves: list[tuple[Signal, float, float]]
) -> None:
    breaker, seconds = CircuitBreaker(), 0.0
    for signal, wait, took in moves:
        seconds += wait
        breaker = after_signal(
            breaker, signal, asked_at=later(seconds - took), now=later(seconds), policy=policy
        )
        assert breaker.paused == (breaker.paused_at is not None) == (breaker.reason is not None)
        assert not breaker.paused or breaker.slow_start is None
        assert 0 <= breaker.pause_seconds <= policy.most_seconds
        assert breaker.paused or breaker.failures < policy.failure_threshold


@given(policy=policies, moves=st.lists(own_signals, max_size=30))
def test_one_success_of_a_trial_always_closes_the_breaker(policy: BreakerPolicy, moves: list[Signal]) -> None:
    breaker = finished(CircuitBreaker(), FAULT, policy=policy)
    for signal in moves:
        breaker = after_trial(breaker, signal, policy=policy) if breaker.paused else breaker
    opened = after_trial(breaker, Success(), policy=policy) if breaker.paused else breaker
    assert (opened.paused, opened.failures, opened.pause_seconds) == (False, 0, 0)


def test_a_host_that_comes_back_is_asked_by_one_then_twice_as_many_with_each_success() -> None:
    breaker = finished(CircuitBreaker(), *[FAILURE] * 5, policy=HOST_POLICY)
    breaker, limits = after_trial(breaker, Success(), policy=HOST_POLICY), list[int]()
    for place in range(12):
        limits.append(limit(breaker, room=64, in_flight=0))
        breaker = finished(breaker, Success(), policy=HOST_POLICY, at=100 + place)
    assert limits == [1, 2, 4, 8, 16, 32, 64, 64, 64, 64, 64, 64]
    assert breaker == CircuitBreaker()


def test_a_host_that_fails_while_it_comes_back_is_paused_as_ever() -> None:
    breaker = after_trial(
        finished(CircuitBreaker(), *[FAILURE] * 5, policy=HOST_POLICY), Success(), policy=HOST_POLICY
    )
    breaker = finished(breaker, *[FAILURE] * 5, policy=HOST_POLICY, at=100)
    assert (breaker.paused, breaker.slow_start) == (True, None)


def test_an_account_that_comes_back_may_be_asked_as_its_quota_allows() -> None:
    assert limit(after_trial(finished(CircuitBreaker(), FAULT), Success()), room=32, in_flight=8) == 32


@pytest.mark.parametrize(
    ("breaker", "room", "in_flight", "requests"),
    [
        pytest.param(CircuitBreaker(paused_until=NOW), 8, 0, 1, id="paused: its trial"),
        pytest.param(CircuitBreaker(paused_until=NOW), 0, 8, 1, id="paused, and older requests hang"),
        pytest.param(CircuitBreaker(failures=4), 8, 8, 8, id="well enough"),
        pytest.param(CircuitBreaker(slow_start=0), 8, 0, 1, id="just back"),
        pytest.param(CircuitBreaker(slow_start=0), 8, 1, 0, id="just back, and its first hangs"),
        pytest.param(CircuitBreaker(slow_start=0), 8, 5, 0, id="just back, and older requests hang"),
        pytest.param(CircuitBreaker(slow_start=2), 8, 3, 1, id="coming"),
        pytest.param(CircuitBreaker(slow_start=9), 8, 3, 8, id="nearly well"),
        pytest.param(CircuitBreaker(slow_start=0), 0, 0, 0, id="no room"),
    ],
)
def test_how_many_more_requests_a_worker_may_claim(
    breaker: CircuitBreaker, room: int, in_flight: int, requests: int
) -> None:
    assert limit(breaker, room=room, in_flight=in_flight) == requests
