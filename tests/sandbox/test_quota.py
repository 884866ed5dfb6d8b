"""Each account's quota: the rolling window and the day."""

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from bridge.sandbox import SandboxOptions, Target
from bridge.sandbox.quota import Quota
from tests.sandbox.caller import TOKEN, Caller, Clock


def ask(hubspot: Caller, requests_count: int, token: str = TOKEN) -> list[int]:
    return [hubspot.status("AAAAEZ6whGI", token=token).status_code for _ in range(requests_count)]


def limits(answer: requests.Response) -> dict[str, str]:
    prefix = "X-HubSpot-RateLimit-"
    return {
        name.removeprefix(prefix): value for name, value in answer.headers.items() if name.startswith(prefix)
    }


def test_the_window_rolls(hubspot: Caller, clock: Clock) -> None:
    hubspot.state.change_options({"burst_requests": 3})
    assert ask(hubspot, 2) == [404, 404]
    clock.passes(6)
    assert ask(hubspot, 2) == [404, 429]
    clock.passes(4)
    assert ask(hubspot, 3) == [404, 404, 429]
    clock.passes(6)
    assert ask(hubspot, 2) == [404, 429]


@given(
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
    burst_requests=st.integers(1, 5),
    burst_seconds=st.sampled_from([1.0, 2.5]),
)
def test_no_rolling_window_ever_holds_more_than_the_limit(
    gaps: list[float], burst_requests: int, burst_seconds: float
) -> None:
    options = SandboxOptions(burst_requests=burst_requests, burst_seconds=burst_seconds)
    quota, now, taken = Quota(), 1000.0, list[float]()
    for gap in gaps:
        now += gap
        within = [at for at in taken if at > now - burst_seconds]
        refused = quota.take(options, now)
        assert (refused is None) == (len(within) < burst_requests)
        taken += [now] if refused is None else []


def test_a_429_has_its_own_envelope_and_no_retry_after(hubspot: Caller) -> None:
    hubspot.state.take_quota("sandbox-token", 100)
    answer = hubspot.status("AAAAEZ6whGI")
    document = answer.json()
    assert answer.status_code == 429
    assert (document["status"], document["errorType"]) == ("error", "RATE_LIMIT")
    assert document["policyName"] == "TEN_SECONDLY_ROLLING"
    assert document["correlationId"]
    assert "category" not in document
    assert "Retry-After" not in answer.headers


def test_a_limit_per_second_is_called_secondly(hubspot: Caller) -> None:
    hubspot.state.change_options({"burst_requests": 1, "burst_seconds": 1})
    hubspot.status("AAAAEZ6whGI")
    assert hubspot.status("AAAAEZ6whGI").json()["policyName"] == "SECONDLY"


def test_the_day_ends_at_midnight_utc(hubspot: Caller, clock: Clock) -> None:
    hubspot.state.change_options({"daily_requests": 2})
    assert ask(hubspot, 3) == [404, 404, 429]
    assert hubspot.status("AAAAEZ6whGI").json()["policyName"] == "DAILY"
    clock.passes(86_400 - 11)
    assert ask(hubspot, 1) == [429]
    clock.passes(1)
    assert ask(hubspot, 1) == [404]


def test_every_answer_tells_the_limits(hubspot: Caller) -> None:
    assert limits(hubspot.start()) == {
        "Max": "100",
        "Remaining": "99",
        "Interval-Milliseconds": "10000",
        "Daily": "1000000",
        "Daily-Remaining": "999999",
    }
    assert limits(hubspot.start(url=None))["Remaining"] == "98"
    assert limits(hubspot.status("malformed"))["Remaining"] == "97"
    hubspot.state.set_fault("500")
    assert limits(hubspot.status("malformed"))["Remaining"] == "96"
    hubspot.state.take_quota("sandbox-token", 100)
    assert limits(hubspot.status("malformed"))["Remaining"] == "0"


@pytest.mark.parametrize("fault", ["null", "429-daily"])
def test_an_oauth_token_is_not_told_the_daily_limits(hubspot: Caller, fault: str) -> None:
    token = hubspot.refresh().json()["access_token"]
    hubspot.state.set_fault(fault)
    assert set(limits(hubspot.status("malformed", token=token))) == {
        "Max",
        "Remaining",
        "Interval-Milliseconds",
    }


def test_each_account_has_its_own_quota(hubspot: Caller) -> None:
    hubspot.state.change_options({"tokens": ["one", "two"], "burst_requests": 1})
    assert ask(hubspot, 2, token="one") == [404, 429]
    assert ask(hubspot, 1, token="two") == [404]


def test_the_access_tokens_of_one_refresh_token_share_a_quota(hubspot: Caller) -> None:
    hubspot.state.change_options({"burst_requests": 2, "rotate_refresh_token": True})
    first = hubspot.refresh().json()
    second = hubspot.refresh(refresh_token=first["refresh_token"]).json()
    assert ask(hubspot, 1, token=first["access_token"]) == [404]
    assert ask(hubspot, 2, token=second["access_token"]) == [404, 429]


def test_a_call_without_a_good_token_uses_no_quota(hubspot: Caller) -> None:
    answer = hubspot.status("AAAAEZ6whGI", token="wrong")
    assert limits(answer) == {}
    assert limits(hubspot.status("AAAAEZ6whGI"))["Remaining"] == "99"


@pytest.mark.parametrize("named", ["token", "account"])
def test_another_app_can_use_up_the_window_of_an_oauth_account(hubspot: Caller, named: str) -> None:
    token = hubspot.refresh().json()["access_token"]
    taken = hubspot.control(
        "quota/take", {"token": token if named == "token" else "oauth:sandbox-refresh", "requests": 60}
    )
    assert taken.json() == {"taken": 60}
    assert limits(hubspot.status("AAAAEZ6whGI", token=token))["Remaining"] == "39"


def test_another_app_takes_no_more_than_is_left(hubspot: Caller, clock: Clock) -> None:
    assert hubspot.control("quota/take", {"token": "sandbox-token", "requests": 70}).json() == {"taken": 70}
    assert hubspot.control("quota/take", {"token": "sandbox-token", "requests": 70}).json() == {"taken": 30}
    assert ask(hubspot, 1) == [429]
    clock.passes(10)
    assert ask(hubspot, 1) == [404]


def test_the_quota_of_nobody_cannot_be_taken(hubspot: Caller) -> None:
    assert hubspot.control("quota/take", {"token": "nobody", "requests": 1}).status_code == 400


def test_a_refused_request_uses_up_no_fault(hubspot: Caller, clock: Clock) -> None:
    hubspot.state.set_fault("500", Target(token="sandbox-token"), times=1)
    hubspot.state.take_quota("sandbox-token", 100)
    assert ask(hubspot, 1) == [429]
    clock.passes(10)
    assert ask(hubspot, 2) == [500, 404]
