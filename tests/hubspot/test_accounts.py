"""Accounts that HubSpot refuses: how long they wait, whom they do not hold up, and how they go on."""

import pytest

from bridge.core.admission import AccountGate, Heard, after_answers, grant, spend
from bridge.core.gates import Fault
from bridge.core.quota import Rate
from bridge.sandbox import Reply, Target
from tests.hubspot.conftest import NewStage
from tests.hubspot.stage import Setting, Stage
from tests.makers import NOW, an_answer, later

RATE = Rate(requests=100, seconds=10.0, share=0.5)
TOKENS = ("sandbox-token", "eu-token")


def two_accounts(stage: Stage, token: str = "eu-token") -> None:
    body = {"access_token": token, "base_url": stage.hubspot.url, "rate_limit": "100/10", "rate_share": 0.5}
    assert stage.admin.put("/v1/accounts/eu", body).status_code == 201


def registered(stage: Stage, tasks: int, account: str) -> list[str]:
    """The watches of so many new tasks."""
    new = stage.hubspot.state.add_tasks(tasks=tasks)
    return [stage.register(task_id, account=account)["id"] for task_id in new]


def delivered(stage: Stage, watches: list[str]) -> int:
    return sum(stage.watch(watch)["state"] == "delivered" for watch in watches)


def test_a_401_pauses_its_account_while_another_goes_on_at_full_speed(each_stage: NewStage) -> None:
    stage = each_stage(Setting(rate=RATE), pending_seconds=0, processing_seconds=0, tokens=TOKENS)
    two_accounts(stage, token="revoked")
    bad, good = registered(stage, 20, "eu"), registered(stage, 40, "default")
    stage.passes(12, steps=40)
    # Half of a hundred in ten seconds, less the slack: as if the other account were not there.
    assert stage.asked("sandbox-token") == delivered(stage, good) == 40
    assert delivered(stage, bad) == 0
    assert 10 < stage.pause_of("eu") <= 30
    assert stage.pause_of() == 0
    refused = stage.hubspot.state.ledger()["status_codes"]["401"]
    # What was on the way when the first 401 came, and no more.
    assert 1 <= refused <= 8
    stage.passes(30, steps=10)
    assert stage.hubspot.state.ledger()["status_codes"]["401"] == refused + 1
    assert 30 < stage.pause_of("eu") <= 60


def test_with_a_new_token_a_paused_account_goes_on_at_once(each_stage: NewStage) -> None:
    stage = each_stage(Setting(rate=RATE), pending_seconds=0, processing_seconds=0, tokens=TOKENS)
    two_accounts(stage, token="revoked")
    watches = registered(stage, 10, "eu")
    stage.passes(400, steps=30)
    assert stage.pause_of("eu") > 60
    assert stage.account("eu")["paused_reason"].startswith("HubSpot answered 401")
    good = {"access_token": "eu-token", "base_url": stage.hubspot.url}
    assert stage.admin.put("/v1/accounts/eu", good).status_code == 200
    stage.passes(4, steps=10)
    assert delivered(stage, watches) == 10
    assert stage.account("eu")["paused_until"] is None


def test_a_pause_doubles_from_30_seconds_to_15_minutes_and_each_ends_with_one_probe() -> None:
    held, now, pauses = AccountGate(), NOW, list[float]()
    for _ in range(8):
        assert grant(RATE, held, wanted=100, now=now) == (1 if pauses else 3)
        held = spend(RATE, held, requests=1, lease_ends_at=later(60, now), now=now)
        asked = Heard(answer=an_answer(401), signal=Fault(reason="401"), asked_at=now, rate=RATE)
        held = after_answers(held, [asked], now=later(0.2, now))
        assert held.gate.paused_until is not None
        assert grant(RATE, held, wanted=100, now=later(-0.1, held.gate.paused_until)) == 0
        pauses.append((held.gate.paused_until - now).total_seconds() - 0.2)
        now = held.gate.paused_until
    assert pauses == pytest.approx([30, 60, 120, 240, 480, 900, 900, 900])


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ("429", 10),
        ("429-daily", 900),
        ("477", 60),
        (Reply(status_code=477, headers={"Retry-After": "7200"}), 7_200),
        (Reply(status_code=429, headers={"Retry-After": "33"}), 33),
    ],
    ids=["429", "DAILY", "477", "477 for hours", "429 with Retry-After"],
)
def test_an_account_waits_as_long_as_hubspot_says(
    new_stage: NewStage, fault: str | Reply, seconds: float
) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=0)
    watches = registered(stage, 5, "default")
    stage.hubspot.state.set_fault(fault, Target(endpoint="file-import"))
    stage.passes(2.5)
    assert stage.pause_of() == pytest.approx(seconds, abs=1)
    asked = stage.asked("sandbox-token")
    stage.hubspot.state.clear_faults()
    stage.passes(seconds - 2, steps=5)
    assert (stage.asked("sandbox-token"), delivered(stage, watches)) == (asked, 0)
    stage.passes(4, steps=8)
    assert delivered(stage, watches) == 5


def test_a_day_s_quota_that_is_gone_is_looked_for_four_times_an_hour(new_stage: NewStage) -> None:
    # It is noon; the other apps have used the day's quota, which is renewed at midnight.
    stage = new_stage(pending_seconds=0, processing_seconds=0, daily_requests=1_000)
    stage.hubspot.state.take_quota("sandbox-token", 1_000)
    watches = registered(stage, 5, "default")
    stage.passes(3_600, steps=60)
    assert 4 <= stage.asked("sandbox-token") <= 8 + 4
    assert {stage.watch(watch)["last_error"] for watch in watches} >= {
        "HubSpot answered 429: You have reached your daily limit"
    }
    stage.passes(11.1 * 3_600, steps=60)
    stage.passes(1_000, steps=10)
    assert delivered(stage, watches) == 5
