"""The limits of an account: grants, what each costs, and what answers change."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.core.account_limits import (
    CHANGED,
    SUSPECTS,
    AccountLimits,
    AccountSignal,
    FinishedCall,
    Refusal,
    after_account_change,
    after_answers,
    count,
    grant,
    signal_of,
    signal_of_single_call,
    spend,
    spend_ungranted,
    suspicion,
)
from bridge.core.circuit_breaker import CircuitBreaker, Failure, PermanentFailure, RetryAfter, Success
from bridge.core.classification import (
    AccountError,
    Classification,
    Inconclusive,
    Postponed,
    Refused,
    Throttled,
    TransientError,
    Unfinished,
)
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.quota import Rate, Usage, interval_seconds, observe
from tests.makers import NOW, an_answer, later

RATE = Rate(requests=100, seconds=10.0, share=0.5)
LEASE_ENDS_AT = later(60)


def paused(until_seconds: float) -> AccountLimits:
    return AccountLimits(
        breaker=CircuitBreaker(paused_at=later(-30), paused_until=later(until_seconds), reason="401")
    )


def finished(
    answer: HttpResponse | NoResponse | NoToken, signal: AccountSignal | None = None
) -> FinishedCall:
    return FinishedCall(answer=answer, signal=signal or Success(), asked_at=NOW, rate=RATE)


@pytest.mark.parametrize(
    ("held", "wanted", "granted"),
    [
        pytest.param(AccountLimits(), 2, 2, id="well"),
        pytest.param(AccountLimits(), 1_000, 3, id="as the quota allows"),
        pytest.param(paused(1), 2, 0, id="paused"),
        pytest.param(paused(0), 2, 1, id="one trial when the pause is over"),
        pytest.param(paused(0), 0, 0, id="no trial that nobody wants"),
        pytest.param(AccountLimits(usage=Usage(free_at=later(60))), 2, 0, id="the quota is used up"),
    ],
)
def test_a_grant_asks_the_breaker_and_the_quota(held: AccountLimits, wanted: int, granted: int) -> None:
    assert grant(RATE, held, wanted=wanted, now=NOW) == granted


def test_what_was_granted_uses_up_the_quota_and_leaves_a_closed_breaker_closed() -> None:
    after = spend(RATE, AccountLimits(), requests=3, lease_ends_at=LEASE_ENDS_AT, now=NOW)
    interval = interval_seconds(RATE, Usage(), now=NOW)
    assert after == AccountLimits(usage=Usage(free_at=NOW + timedelta(seconds=3 * interval)))


def test_while_a_trial_is_on_the_way_nobody_else_goes() -> None:
    after = spend(RATE, paused(0), requests=1, lease_ends_at=LEASE_ENDS_AT, now=NOW)
    assert after.breaker.paused_until == LEASE_ENDS_AT
    assert grant(RATE, after, wanted=2, now=later(59)) == 0
    assert grant(RATE, after, wanted=2, now=LEASE_ENDS_AT) == 1


def test_answers_change_the_breaker_and_the_quota_in_their_order() -> None:
    fault = finished(an_answer(401, x_hubspot_ratelimit_daily_remaining="8"), PermanentFailure(reason="401"))
    well = finished(an_answer(200, x_hubspot_ratelimit_daily_remaining="9"))
    silent = finished(NoResponse(reason="timed out"), Failure(reason="timed out"))
    assert after_answers(AccountLimits(), [fault, well, silent], now=NOW) == AccountLimits(
        breaker=CircuitBreaker(failures=1), usage=Usage(daily_remaining=9, observed_at=NOW)
    )
    assert after_answers(AccountLimits(), [well, fault], now=NOW).breaker.paused_until == later(30)
    assert after_answers(AccountLimits(), [], now=NOW) == AccountLimits()


def test_an_account_that_is_back_does_not_wait_for_what_it_spent_while_it_was_slow() -> None:
    none_left = observe(Usage(), {"x-hubspot-ratelimit-daily-remaining": "0"}, now=NOW)
    held = spend(
        RATE,
        AccountLimits(breaker=paused(0).breaker, usage=none_left),
        requests=1,
        lease_ends_at=LEASE_ENDS_AT,
        now=NOW,
    )
    assert held.usage.free_at == later(900)
    renewed = an_answer(200, x_hubspot_ratelimit_daily_remaining="2500000")
    after = after_answers(held, [finished(renewed)], now=NOW)
    assert grant(RATE, after, wanted=9, now=later(1)) == 3
    # It is back, and yet has no more than its share.
    assert grant(RATE, after, wanted=9, now=NOW) == 0


def test_what_was_granted_before_the_pause_does_not_end_it() -> None:
    late = FinishedCall(answer=an_answer(), signal=Success(), asked_at=later(-31), rate=RATE)
    assert after_answers(paused(30), [late], now=NOW).breaker == paused(30).breaker


def test_any_answer_but_2xx_counts_as_an_error_and_what_was_not_sent_not_at_all() -> None:
    answers = [finished(an_answer(status_code)) for status_code in (202, 404, 302)]
    answers += [finished(NoResponse(reason="timed out")), finished(NoToken(reason="no token"))]
    assert count(answers) == (4, 3)
    assert count([]) == (0, 0)


def test_a_token_that_was_refused_before_is_counted_and_spent_too() -> None:
    answers = [
        finished(replace(an_answer(202), earlier_refusals=1)),
        finished(replace(an_answer(401), earlier_refusals=1)),
        finished(NoResponse(reason="timed out", earlier_refusals=1)),
        finished(NoToken(reason="no token", earlier_refusals=1)),
    ]
    assert [count([h]) for h in answers] == [(2, 1), (2, 2), (2, 2), (1, 1)]
    interval = interval_seconds(RATE, Usage(), now=NOW)
    spent = [after_answers(AccountLimits(), [h], now=NOW).usage.free_at for h in answers]
    assert spent == [NOW + timedelta(seconds=interval)] * 3 + [None]


def test_an_answer_that_says_nothing_of_the_account_leaves_its_breaker() -> None:
    for breaker in (CircuitBreaker(failures=3), paused(30).breaker):
        silent = FinishedCall(answer=an_answer(403), signal=None, asked_at=NOW, rate=RATE)
        assert after_answers(AccountLimits(breaker=breaker), [silent], now=NOW).breaker == breaker


def test_an_account_that_is_set_anew_gets_its_trial_at_once_at_its_new_pace() -> None:
    slow = Rate(requests=1, seconds=86_400, share=1)
    usage = Usage(headroom=0.05, daily_remaining=0, observed_at=NOW)
    held = AccountLimits(breaker=paused(600).breaker, usage=usage)
    held = AccountLimits(
        breaker=held.breaker, usage=spend(slow, held, requests=1, lease_ends_at=later(60), now=NOW).usage
    )
    after = after_account_change(RATE, held, now=NOW)
    assert (after.breaker.paused_at, after.breaker.paused_until, after.breaker.reason) == (NOW, NOW, CHANGED)
    assert (after.usage.headroom, after.usage.daily_remaining) == (1.0, None)
    assert grant(RATE, after, wanted=9, now=later(1)) == 1


def test_a_breaker_that_pauses_nobody_stays_as_it_is() -> None:
    held = AccountLimits(breaker=CircuitBreaker(failures=3))
    assert after_account_change(RATE, held, now=NOW) == held


def test_a_pause_that_is_over_already_stays_so_when_the_account_is_set_anew() -> None:
    breaker = paused(-5).breaker
    after = after_account_change(RATE, AccountLimits(breaker=breaker), now=NOW)
    assert after.breaker == replace(breaker, reason=CHANGED)


def test_requests_that_nobody_granted_hold_up_the_others_for_one_turn() -> None:
    held = AccountLimits(usage=Usage(daily_remaining=1, observed_at=NOW))
    for _ in range(20):
        held = spend_ungranted(RATE, held, now=NOW)
    assert grant(RATE, held, wanted=1, now=NOW) == 0
    assert grant(RATE, held, wanted=1, now=later(900)) == 1


@pytest.mark.parametrize(
    ("classified", "signal"),
    [
        (Unfinished(status="PENDING", body="{}"), Success()),
        (Inconclusive(reason="no status"), Success()),
        (Refused(reason="404"), Refusal(reason="404")),
        (TransientError(reason="502"), Failure(reason="502")),
        (AccountError(reason="401"), PermanentFailure(reason="401")),
        (Throttled(seconds=7, reason="429"), RetryAfter(seconds=7, reason="429")),
        (Postponed(reason="The token is still being refreshed."), None),
    ],
)
def test_a_finding_about_a_task_says_how_the_account_is(
    classified: Classification, signal: AccountSignal | None
) -> None:
    assert signal_of(classified) == signal
    assert signal_of_single_call(classified) == signal


def test_a_scope_that_one_request_lacks_says_nothing_of_the_account() -> None:
    lacking = AccountError(reason="403", scopes=True)
    assert signal_of(lacking) == PermanentFailure(reason="403")
    assert signal_of_single_call(lacking) is None


# Refusals


def refused(*watches: str | None, at: float = 0) -> list[FinishedCall]:
    """Refusals of these watches, in this order."""
    return [
        FinishedCall(
            answer=an_answer(404),
            signal=Refusal(reason="404", watch_id=watch),
            asked_at=later(at),
            rate=RATE,
        )
        for watch in watches
    ]


WELL = [finished(an_answer())]
FIVE = ("a", "b", "c", "d", "e")
SUSPECTED = after_answers(AccountLimits(), refused(*FIVE), now=NOW)


def test_refusals_of_five_different_watches_in_a_row_pause_the_account() -> None:
    assert len(FIVE) == SUSPECTS
    assert SUSPECTED.suspected
    assert SUSPECTED.breaker.paused_until == later(30)
    assert SUSPECTED.breaker.reason == suspicion("404")


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(refused(*"abcd"), id="four"),
        pytest.param(refused(*["a"] * 9), id="one watch over and over"),
        pytest.param(refused(*"abcdabcdabcd"), id="four watches over and over"),
        pytest.param([*refused(*"abcd"), *WELL, *refused("e")], id="a success between"),
        pytest.param(refused(*"abcd", None, None), id="requests that are about no watch"),
    ],
)
def test_fewer_different_watches_in_a_row_do_not(answers: list[FinishedCall]) -> None:
    after = after_answers(AccountLimits(), answers, now=NOW)
    assert (after.suspected, after.breaker) == (False, CircuitBreaker())


def test_they_are_counted_from_one_batch_to_the_next() -> None:
    held = AccountLimits()
    for seconds, watch in enumerate(FIVE):
        assert not held.suspected
        held = after_answers(held, refused(watch, at=seconds), now=later(seconds))
    assert held.suspected


@pytest.mark.parametrize("between", [Failure(reason="502"), RetryAfter(seconds=0, reason="429"), None])
def test_what_is_no_success_is_none_between_refusals(between: AccountSignal | None) -> None:
    silent = FinishedCall(answer=NoResponse(reason="x"), signal=between, asked_at=NOW, rate=RATE)
    after = after_answers(AccountLimits(), [*refused(*"abcd"), silent, *refused("e")], now=NOW)
    assert after.suspected


def test_a_suspected_account_gets_trials_less_and_less_often_until_a_success() -> None:
    held, now, pauses = SUSPECTED, NOW, list[float]()
    for watch in (*FIVE, "f", "g"):
        assert held.breaker.paused_until is not None
        pauses.append((held.breaker.paused_until - now).total_seconds())
        now = held.breaker.paused_until
        assert grant(RATE, held, wanted=9, now=now) == 1
        held = spend(RATE, held, requests=1, lease_ends_at=later(60, now), now=now)
        [trial] = refused(watch)
        held = after_answers(held, [replace(trial, asked_at=now)], now=now)
    assert pauses == [30, 60, 120, 240, 480, 900, 900]
    assert held.refused_watches == FIVE
    well = FinishedCall(answer=an_answer(), signal=Success(), asked_at=now, rate=RATE)
    back = after_answers(held, [well], now=now)
    assert (back.breaker, back.refused_watches) == (CircuitBreaker(), ())


def test_a_refused_import_leaves_the_trial_of_a_suspected_account_to_a_watch() -> None:
    over = later(30)
    on_trial = spend(RATE, SUSPECTED, requests=1, lease_ends_at=later(60, over), now=over)
    after = after_answers(on_trial, refused(None, at=30), now=later(31))
    assert after.breaker == replace(SUSPECTED.breaker, paused_at=later(31), paused_until=later(31))
    assert (after.suspected, grant(RATE, after, wanted=9, now=later(31))) == (True, 1)


def test_an_import_sent_before_the_suspicion_ends_no_pause() -> None:
    assert after_answers(SUSPECTED, refused(None, at=-1), now=later(1)) == SUSPECTED


def test_what_was_asked_before_the_pause_neither_ends_the_suspicion_nor_adds_to_it() -> None:
    late = [replace(h, asked_at=later(-1)) for h in (*WELL, *refused("f"))]
    assert after_answers(SUSPECTED, late, now=later(1)) == SUSPECTED


def test_new_credentials_are_tried_at_once_and_suspected_until_they_work() -> None:
    after = after_account_change(RATE, SUSPECTED, now=later(1))
    assert after.suspected
    assert after.breaker.paused_until == later(1)


def test_a_refusal_ends_a_pause_for_another_reason_as_the_credentials_work() -> None:
    held = spend(RATE, paused(0), requests=1, lease_ends_at=LEASE_ENDS_AT, now=NOW)
    after = after_answers(held, refused("a"), now=NOW)
    assert (after.breaker, after.refused_watches) == (CircuitBreaker(), ("a",))
