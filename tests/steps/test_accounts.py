"""Accounts in trouble: they wait, one poll is their trial request, and the other accounts are polled meanwhile."""

import pytest

from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.quota import Rate
from bridge.core.watch import Outcome, State
from bridge.db import breakers, daily_stats, heartbeats
from bridge.steps.poll import FinishedPoll, time_out_overdue
from tests.makers import NOW
from tests.steps.peers import Reply, Request, saying
from tests.steps.rig import BURST, COMPLETE, EXPIRED, PENDING, Rig
from tests.threads import at_once

NO_SCOPE = saying({"category": "MISSING_SCOPES"}, 403)


class Account:
    """HubSpot's replies to the requests with one token."""

    def __init__(self, rig: Rig, token: str = "pat-test") -> None:
        self.reply = PENDING
        self.asked = 0
        before, authorization = rig.hubspot.answer, f"Bearer {token}"

        def answer(request: Request) -> Reply | None:
            if request.headers["authorization"] != authorization:
                return before(request)
            self.asked += 1
            return self.reply

        rig.hubspot.answer = answer


def pause_of(rig: Rig, name: str = "default") -> float:
    """Return how many seconds an account is still paused; 0 when it is not."""
    until = rig.account(name).breaker.paused_until
    return 0 if until is None else (until - rig.clock()).total_seconds()


def test_a_401_pauses_the_account_one_poll_is_the_trial_and_all_go_on_when_it_is_mended(rig: Rig) -> None:
    account = Account(rig)
    account.reply = EXPIRED
    watches, worker = [rig.registered(f"T{number}") for number in range(20)], rig.worker(concurrency=8)
    rig.clock.passes(2)
    worker.drain()
    asked = account.asked
    assert 1 <= asked <= 8, "only what was on the way already"
    assert pause_of(rig) == pytest.approx(30, abs=1)
    rig.clock.passes(28)
    worker.drain()
    assert account.asked == asked
    rig.clock.passes(2)
    worker.drain()
    assert account.asked == asked + 1, "one trial alone"
    assert pause_of(rig) == pytest.approx(60, abs=1)
    account.reply = COMPLETE
    rig.clock.passes(60)
    worker.drain()
    assert account.asked == asked + 1 + 20
    assert all(rig.now(watch).state is State.DELIVERED for watch in watches)
    assert rig.account().breaker == CircuitBreaker()


def test_a_paused_account_says_why_on_itself_and_on_the_watch_that_asked(rig: Rig) -> None:
    Account(rig).reply = EXPIRED
    watch = rig.registered("T1")
    rig.clock.passes(2)
    rig.worker().drain()
    reason = "HubSpot answered 401: This token expired. Give the account a valid token."
    assert rig.account().breaker.reason == rig.now(watch).last_error == reason
    assert [line["reason"] for line in rig.events("account_paused")] == [reason]


def test_an_account_without_a_token_asks_nothing_and_says_what_to_do(rig: Rig) -> None:
    watch = rig.registered("T1")
    rig.clock.passes(2)
    rig.worker(token=None).drain()
    assert not rig.hubspot.requests
    assert "HUBSPOT_ACCESS_TOKEN" in (rig.now(watch).last_error or "")
    assert pause_of(rig) == pytest.approx(30, abs=1)


def beats(rig: Rig, worker: str, *, has_credentials: bool) -> None:
    with rig.engine.begin() as connection:
        heartbeats.record(connection, worker, rig.clock(), has_credentials=has_credentials)


def test_a_worker_without_a_token_leaves_the_account_to_one_that_has_it(rig: Rig) -> None:
    rig.tasks.set("T1", COMPLETE)
    watch = rig.registered("T1")
    beats(rig, "without", has_credentials=False)
    beats(rig, "with", has_credentials=True)
    rig.clock.passes(2)
    rig.worker(name="without", token=None).drain()
    assert (rig.now(watch).polls, rig.now(watch).last_error) == (0, None)
    assert rig.events("account_paused") == []
    rig.worker(name="with").drain()
    assert rig.now(watch).state is State.DELIVERED


def test_when_the_worker_that_has_the_token_is_gone_the_other_says_what_to_do(rig: Rig) -> None:
    watch = rig.registered("T1")
    beats(rig, "with", has_credentials=True)
    rig.clock.passes(31)
    rig.worker(name="without", token=None).drain()
    assert "HUBSPOT_ACCESS_TOKEN" in (rig.now(watch).last_error or "")
    assert pause_of(rig) == pytest.approx(30, abs=1)


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        pytest.param(BURST, 10, id="429"),
        pytest.param(saying({}, 429, retry_after="7"), 7, id="429 Retry-After"),
        pytest.param(saying({"policyName": "DAILY"}, 429), 900, id="429 daily"),
        pytest.param(saying({}, 477, retry_after="7200"), 7_200, id="477"),
    ],
)
def test_an_account_that_is_asked_to_wait_waits_and_no_other_does(
    rig: Rig, reply: Reply, seconds: float
) -> None:
    rig.add_account("second")
    busy = Account(rig)
    busy.reply = reply
    rig.tasks.set("S1", COMPLETE)
    first, second = rig.registered("T1"), rig.registered("S1", account="second")
    rig.clock.passes(2)
    worker = rig.worker()
    worker.drain()
    assert rig.now(second).state is State.DELIVERED
    assert pause_of(rig) == pytest.approx(seconds, abs=1)
    assert pause_of(rig, "second") == 0
    rig.clock.passes(seconds - 1)
    worker.drain()
    assert busy.asked == 1
    busy.reply = COMPLETE
    rig.clock.passes(1)
    worker.drain()
    assert (busy.asked, rig.now(first).state) == (2, State.DELIVERED)


def test_the_next_trial_is_for_an_old_watch_however_urgent_the_young_one_is_that_failed(rig: Rig) -> None:
    before = rig.hubspot.answer
    rig.hubspot.answer = lambda request: NO_SCOPE if "/crm/" in request.path else before(request)
    rig.tasks.set("OLD", PENDING)
    old, worker = rig.registered("OLD", timeout_seconds=86_400), rig.worker()
    rig.clock.passes(3_600)
    worker.drain()
    rig.clock.passes(117)
    young = rig.registered("YOUNG", kind="crm-export")
    rig.clock.passes(2)
    worker.drain()
    assert (rig.now(old).polls, rig.now(young).polls) == (1, 1)
    rig.clock.passes(30)
    worker.drain()
    assert rig.now(old).polls == 2


def test_a_trial_that_is_told_to_wait_again_waits_as_long_as_it_was_told(rig: Rig) -> None:
    account = Account(rig)
    account.reply = BURST
    rig.registered("T1")
    worker = rig.worker()
    for _ in range(3):
        rig.clock.passes(10)
        worker.drain()
        assert pause_of(rig) == pytest.approx(10, abs=1)
    assert account.asked == 3


def test_ten_failures_without_a_success_between_pause_the_account(rig: Rig) -> None:
    account = Account(rig)
    account.reply = saying({}, 502)
    watch, worker = rig.registered("T1", timeout_seconds=86_400), rig.worker()
    for failures in range(1, 10):
        rig.clock.passes(61)
        worker.drain()
        assert (account.asked, pause_of(rig)) == (failures, 0)
    rig.clock.passes(61)
    worker.drain()
    assert pause_of(rig) == pytest.approx(30, abs=1)
    assert rig.now(watch).last_error == "HubSpot answered 502"


def test_one_success_between_failures_keeps_the_account_going(rig: Rig) -> None:
    account = Account(rig)
    rig.registered("T1", timeout_seconds=86_400)
    worker = rig.worker()
    for number in range(24):
        account.reply = PENDING if number == 9 else saying({}, 502)
        rig.clock.passes(61)
        worker.drain()
        if number < 19:
            assert pause_of(rig) == 0
    assert account.asked >= 20
    assert rig.events("account_paused")


def test_hubspot_that_is_not_there_is_trouble_and_is_counted_as_an_error(rig: Rig) -> None:
    watch = rig.registered("T1")
    rig.hubspot.stop_listening()
    rig.clock.passes(2)
    rig.worker().drain()
    after = rig.now(watch)
    assert (after.state, after.failures, after.polls) == (State.WATCHING, 1, 1)
    assert (after.last_error or "").startswith("HubSpot did not answer: ")
    with rig.engine.begin() as connection:
        assert daily_stats.counts(connection, rig.clock().date()) == {"default": (1, 1)}


def test_a_deadline_that_passes_while_the_account_is_paused_is_told(rig: Rig) -> None:
    account = Account(rig)
    account.reply = EXPIRED
    watches = [rig.registered(f"T{number}", timeout_seconds=20) for number in range(3)]
    worker = rig.worker()
    rig.clock.passes(2)
    worker.drain()
    asked = account.asked
    rig.clock.passes(19)
    worker.drain()
    assert time_out_overdue(rig.engine, rig.clock(), steady_since=NOW) == 3
    worker.drain()
    assert account.asked == asked
    for watch in watches:
        after = rig.now(watch)
        assert (after.outcome, after.state) == (Outcome.TIMED_OUT, State.DELIVERED)
    assert {request.json["type"] for request in rig.receiver.requests} == {"import.timed_out"}


@pytest.mark.parametrize("tick", [0.5, 1.1, 2.3])
def test_a_small_quota_is_kept_and_serves_old_and_young(rig: Rig, tick: float) -> None:
    rate = Rate(requests=10, seconds=10, share=0.5)
    old = [rig.registered(f"O{number}", timeout_seconds=86_400) for number in range(10)]
    rig.clock.passes(600)
    young = [rig.registered(f"Y{number}") for number in range(10)]
    rig.clock.passes(5)
    before, worker = rig.clock(), rig.worker(rate=rate)
    for _ in range(30):
        rig.clock.passes(tick)
        worker.drain()
    seconds = (rig.clock() - before).total_seconds()
    assert len(rig.hubspot.requests) <= seconds * 0.5 + 1
    assert len(rig.hubspot.requests) >= seconds * 0.5 * 0.7
    polls_of_old = sum(rig.now(watch).polls for watch in old)
    polls_of_young = sum(rig.now(watch).polls for watch in young)
    assert min(polls_of_old, polls_of_young) >= len(rig.hubspot.requests) // 3


def test_what_hubspot_s_headers_say_is_left_slows_the_account_down(rig: Rig) -> None:
    headers = {"x_hubspot_ratelimit_max": "100", "x_hubspot_ratelimit_remaining": "25"}
    Account(rig).reply = saying(
        {"status": "PENDING"}, 200, x_hubspot_ratelimit_daily_remaining="5000", **headers
    )
    rig.registered("T1")
    rig.clock.passes(2)
    rig.worker().drain()
    usage = rig.account().usage
    assert usage.headroom == pytest.approx(0.5)
    assert usage.daily_remaining == 5_000


def test_several_workers_together_keep_one_account_s_quota(rig: Rig) -> None:
    rate = Rate(requests=100, seconds=10, share=0.5)
    for number in range(40):
        rig.registered(f"T{number}")
    rig.clock.passes(3)
    before = rig.clock()
    workers = [rig.worker(name=f"worker-{number}", rate=rate) for number in range(3)]
    for _ in range(15):
        rig.clock.passes(0.4)
        at_once(3, lambda number: workers[number].drain())
    share = 5 * (rig.clock() - before).total_seconds()
    assert 0.7 * share <= len(rig.hubspot.requests) <= share + 1


def test_workers_that_save_failures_of_several_accounts_never_block_each_other_for_good(rig: Rig) -> None:
    """PostgreSQL would end one of two that wait for each other."""
    names = ["a", "b", "c"]
    for name in names:
        rig.add_account(name)
        rig.tasks.set(name, EXPIRED if name == "b" else PENDING)
        rig.registered(name, account=name)
    worker = rig.worker()
    rig.clock.passes(2)
    done = [one for job in worker._claim() if isinstance(one := worker._work(job), FinishedPoll)]
    assert len(done) == len(names)

    def lock(number: int) -> None:
        for _ in range(20):
            with rig.engine.begin() as connection:
                if number % 2:
                    worker._polls.record_calls(connection, done, rig.clock(), lost=())
                else:
                    breakers.lock_account_limits(connection, names)

    at_once(6, lock)
    assert rig.account("b").breaker.paused
