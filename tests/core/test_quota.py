"""The quota: no window ever holds more than the account's share, and little of the share is wasted."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.quota import (
    Rate,
    Usage,
    grant,
    interval_seconds,
    limit_wait,
    observe,
    spend,
    tolerance_seconds,
    wait_seconds,
)
from bridge.worker.loop import START_WITHIN_SECONDS
from tests.makers import NOW, later

HALF_OF_100 = Rate(requests=100, seconds=10.0, share=0.5)
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
MAX, REMAINING = "x-hubspot-ratelimit-max", "x-hubspot-ratelimit-remaining"
DAILY = "x-hubspot-ratelimit-daily-remaining"

rates = st.builds(
    Rate,
    requests=st.integers(1, 250),
    seconds=st.integers(1, 60).map(float),
    share=st.floats(0.01, 1),
)
claims = st.lists(
    st.tuples(st.floats(0, 3) | st.floats(0, 0.3), st.integers(1, 64), st.sampled_from([0, 10, 25, 40, 100])),
    min_size=1,
    max_size=80,
)


def granted(rate: Rate, moves: Sequence[tuple[float, int, int]]) -> list[float]:
    """Return when requests were granted; each move waits, observes a remaining quota, and claims."""
    usage, seconds, times = Usage(), 0.0, list[float]()
    for wait, wanted, remaining in moves:
        seconds += wait
        now = later(seconds)
        usage = observe(usage, {MAX: "100", REMAINING: str(remaining)}, now=now)
        count = grant(rate, usage, wanted=wanted, now=now)
        assert 0 <= count <= wanted
        usage = spend(rate, usage, requests=count, now=now)
        times += [seconds] * count
    return times


def fullest_window(rate: Rate, times: Sequence[float]) -> int:
    ends = (bisect_right(times, first + rate.seconds) for first in times)
    return max(end - start for start, end in enumerate(ends))


@given(rate=rates, moves=claims)
def test_no_window_ever_holds_more_than_the_share(rate: Rate, moves: list[tuple[float, int, int]]) -> None:
    assert fullest_window(rate, granted(rate, moves)) <= max(1, rate.requests * rate.share)


@given(rate=rates, tick=st.floats(0.02, 0.5))
def test_nor_when_everything_is_taken_as_soon_as_it_can_be(rate: Rate, tick: float) -> None:
    times = granted(rate, [(tick, 64, 100)] * 300)
    assert fullest_window(rate, times) <= max(1, rate.requests * rate.share)
    # Nor when some wait for a slot, and others leave at once.
    longer = replace(rate, seconds=rate.seconds + START_WITHIN_SECONDS)
    assert fullest_window(longer, times) <= max(1, rate.requests * rate.share)


@pytest.mark.parametrize(
    "rate",
    [HALF_OF_100, Rate(requests=190, seconds=10, share=0.5), Rate(requests=110, seconds=10, share=1)],
    ids=str,
)
def test_a_worker_that_ticks_four_times_a_second_gets_nearly_all_of_the_share(rate: Rate) -> None:
    ticks = 4 * 300
    times = granted(rate, [(0.25, 64, 100)] * ticks)
    assert len(times) > 0.9 * rate.requests * rate.share * ticks * 0.25 / rate.seconds


def test_a_limit_of_a_few_requests_is_still_used() -> None:
    times = granted(Rate(requests=5, seconds=10, share=0.5), [(0.25, 8, 100)] * 4 * 100)
    assert len(times) >= 15


def test_a_share_of_less_than_one_request_still_asks_now_and_then() -> None:
    times = granted(Rate(requests=1, seconds=10, share=0.1), [(0.25, 8, 100)] * 4 * 100)
    assert 1 <= len(times) <= 10


def test_nobody_saves_up_for_a_burst() -> None:
    rested = granted(HALF_OF_100, [(0, 64, 100), (3_600, 64, 100)])
    assert len(rested) < 10


@given(rate=rates, wait=st.floats(0, 100), wanted=st.integers(1, 64))
def test_what_is_not_wanted_is_not_spent(rate: Rate, wait: float, wanted: int) -> None:
    usage = spend(rate, Usage(), requests=0, now=NOW)
    now = later(wait)
    assert grant(rate, usage, wanted=wanted, now=now) == grant(rate, Usage(), wanted=wanted, now=now) >= 1


@pytest.mark.parametrize(
    ("remaining", "headroom"),
    [
        pytest.param("100", 1.0, id="all"),
        pytest.param("40", 1.0, id="four tenths"),
        pytest.param("25", 0.5, id="a quarter"),
        pytest.param("13", 0.1, id="little"),
        pytest.param("11", 0.05, id="hardly any"),
        pytest.param("10", 0.05, id="a tenth"),
        pytest.param("0", 0.05, id="nothing"),
    ],
)
def test_the_client_s_own_app_always_has_room(remaining: str, headroom: float) -> None:
    usage = observe(Usage(), {MAX: "100", REMAINING: remaining}, now=NOW)
    assert usage.headroom == pytest.approx(headroom)
    even = interval_seconds(HALF_OF_100, Usage(), now=NOW)
    assert interval_seconds(HALF_OF_100, usage, now=NOW) == pytest.approx(even / headroom)


def test_what_was_seen_of_a_window_counts_until_that_is_over() -> None:
    usage = observe(Usage(), {MAX: "100", REMAINING: "0"}, now=NOW)
    even = interval_seconds(HALF_OF_100, Usage(), now=NOW)
    assert interval_seconds(HALF_OF_100, usage, now=later(10)) == pytest.approx(even / 0.05)
    assert interval_seconds(HALF_OF_100, usage, now=later(10.1)) == even


def test_what_an_answer_does_not_tell_is_not_known() -> None:
    both = observe(Usage(), {DAILY: "24000", MAX: "100", REMAINING: "25"}, now=NOW)
    burst = observe(both, {MAX: "100", REMAINING: "25"}, now=later(1))
    assert burst.headroom == pytest.approx(0.5)
    assert burst.daily_remaining is None
    day = observe(both, {DAILY: "23000"}, now=later(1))
    assert (day.headroom, day.daily_remaining) == (1.0, 23_000)


def test_nobody_waits_for_the_day_s_quota_past_the_midnight_that_renews_it() -> None:
    now = MIDNIGHT - timedelta(minutes=5)
    usage = observe(Usage(), {DAILY: "0"}, now=now)
    assert spend(HALF_OF_100, usage, requests=1, now=now).free_at == MIDNIGHT
    slow = Rate(requests=1, seconds=3_600.0, share=1.0)
    even = spend(slow, Usage(), requests=1, now=now).free_at
    assert even is not None
    assert even > MIDNIGHT
    assert spend(slow, usage, requests=1, now=now).free_at == even


def test_the_newest_answer_counts() -> None:
    tight = observe(Usage(), {MAX: "100", REMAINING: "0"}, now=NOW)
    assert observe(tight, {MAX: "100", REMAINING: "90"}, now=NOW).headroom == 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({MAX: "100"}, id="half of them"),
        pytest.param({REMAINING: "5"}, id="the other half"),
        pytest.param({MAX: "0", REMAINING: "0"}, id="a limit of zero"),
        pytest.param({MAX: "many", REMAINING: "few"}, id="words"),
        pytest.param({MAX: "-100", REMAINING: "-5"}, id="negative"),
        pytest.param({MAX: "٣", REMAINING: "٣"}, id="digits that are not ASCII"),
        pytest.param({MAX: "1" * 19, REMAINING: "5"}, id="more than any quota"),
        pytest.param({DAILY: "1" * 5000}, id="more digits than Python reads"),
        pytest.param({MAX: "", REMAINING: "", DAILY: ""}, id="empty"),
    ],
)
def test_headers_that_say_nothing_change_nothing(headers: dict[str, str]) -> None:
    assert observe(Usage(headroom=0.5), headers, now=NOW) == Usage(headroom=0.5)


@pytest.mark.parametrize(
    ("daily_remaining", "hours_left", "seconds"),
    [
        pytest.param("24000", 12, 3.6, id="half of what is left over half a day"),
        pytest.param("2400", 1, 3.0, id="over the last hour"),
        pytest.param("1", 12, 900, id="one is left"),
        pytest.param("0", 12, 900, id="nothing is left"),
    ],
)
def test_half_of_the_day_s_quota_is_spread_until_midnight_utc(
    daily_remaining: str, hours_left: float, seconds: float
) -> None:
    now = MIDNIGHT - timedelta(hours=hours_left)
    usage = observe(Usage(), {DAILY: daily_remaining}, now=now)
    assert interval_seconds(HALF_OF_100, usage, now=now) == pytest.approx(seconds, abs=1)


def test_a_day_s_quota_that_is_plenty_leaves_the_burst_limit_in_charge() -> None:
    usage = observe(Usage(), {DAILY: "500000"}, now=NOW)
    even = interval_seconds(HALF_OF_100, Usage(), now=NOW)
    assert interval_seconds(HALF_OF_100, usage, now=NOW) == even


def test_a_short_day_s_quota_and_a_busy_app_multiply() -> None:
    both = observe(Usage(), {DAILY: "24000", MAX: "100", REMAINING: "25"}, now=NOW)
    assert interval_seconds(HALF_OF_100, both, now=NOW) == pytest.approx(7.2)


def test_yesterday_s_quota_does_not_bind_today() -> None:
    usage = observe(Usage(), {DAILY: "0"}, now=MIDNIGHT - timedelta(seconds=1))
    even = interval_seconds(HALF_OF_100, Usage(), now=MIDNIGHT)
    assert interval_seconds(HALF_OF_100, usage, now=MIDNIGHT) == even
    finished = observe(usage, {MAX: "100", REMAINING: "90"}, now=MIDNIGHT)
    assert interval_seconds(HALF_OF_100, finished, now=MIDNIGHT) == even


@given(rate=rates, daily=st.integers(0, 10**18 - 1), remaining=st.integers(0, 100), at=st.floats(0, 86_399))
def test_whatever_is_left_the_account_is_asked_every_15_minutes(
    rate: Rate, daily: int, remaining: int, at: float
) -> None:
    now = MIDNIGHT + timedelta(seconds=at)
    headers = {DAILY: str(daily), MAX: "100", REMAINING: str(remaining)}
    usage = observe(Usage(), headers, now=now)
    assert 0 < interval_seconds(rate, usage, now=now) <= 900
    assert tolerance_seconds(rate) >= 0.3
    assert spend(rate, usage, requests=1, now=now).free_at is not None


def test_the_wait_is_until_one_request_is_granted() -> None:
    usage = spend(HALF_OF_100, Usage(), requests=5, now=NOW)
    wait = wait_seconds(HALF_OF_100, usage, now=NOW)
    assert 0 < wait < 1
    assert grant(HALF_OF_100, usage, wanted=1, now=later(wait - 0.01)) == 0
    assert grant(HALF_OF_100, usage, wanted=1, now=later(wait + 0.01)) == 1
    assert wait_seconds(HALF_OF_100, usage, now=later(wait + 0.01)) == 0


@given(rate=rates, moves=claims)
def test_at_a_steady_pace_there_is_nothing_to_be_relieved_of(
    rate: Rate, moves: list[tuple[float, int, int]]
) -> None:
    usage, seconds = Usage(), 0.0
    for wait, wanted, _ in moves:
        seconds += wait
        count = grant(rate, usage, wanted=wanted, now=later(seconds))
        usage = spend(rate, usage, requests=count, now=later(seconds))
        eased = limit_wait(rate, usage, now=later(seconds))
        assert eased.free_at == pytest.approx(usage.free_at, abs=timedelta(microseconds=10))


def test_what_was_spent_at_a_slower_pace_is_forgotten_but_for_one_request() -> None:
    slow = observe(Usage(), {DAILY: "0"}, now=NOW)
    spent = observe(spend(HALF_OF_100, slow, requests=1, now=NOW), {DAILY: "5000000"}, now=NOW)
    assert wait_seconds(HALF_OF_100, spent, now=NOW) > 890
    eased = limit_wait(HALF_OF_100, spent, now=NOW)
    even = interval_seconds(HALF_OF_100, Usage(), now=NOW)
    assert wait_seconds(HALF_OF_100, eased, now=NOW) == pytest.approx(even)


@pytest.mark.parametrize("other_apps_share", [0, 3])
def test_each_request_leaves_time_for_as_many_of_the_other_apps_until_midnight(other_apps_share: int) -> None:
    """While the bridge asks once, others may ask so often; what is left is told with each answer."""
    now, left, asked = MIDNIGHT - timedelta(hours=10), 3_000, list[tuple[datetime, int]]()
    usage = observe(Usage(), {DAILY: str(left)}, now=now)
    while now < MIDNIGHT - timedelta(minutes=1) and left > 0:
        if grant(HALF_OF_100, usage, wanted=1, now=now):
            asked.append((now, left))
            usage = spend(HALF_OF_100, usage, requests=1, now=now)
            left -= 1 + other_apps_share
            usage = observe(usage, {DAILY: str(left)}, now=now)
        now += timedelta(seconds=1)
    assert len(asked) > 500
    for (since, left_then), (until, _) in pairwise(asked):
        evenly = (MIDNIGHT - since) / left_then
        assert until - since >= 2 * evenly - timedelta(seconds=tolerance_seconds(HALF_OF_100))


def test_what_hubspot_said_once_is_never_used_by_more_than_half() -> None:
    now, asked = MIDNIGHT - timedelta(hours=10), 0
    usage = observe(Usage(), {DAILY: "3000"}, now=now)
    while now < MIDNIGHT:
        count = grant(HALF_OF_100, usage, wanted=64, now=now)
        usage = spend(HALF_OF_100, usage, requests=count, now=now)
        asked += count
        now += timedelta(seconds=1)
    assert 1_400 < asked <= 1_501
