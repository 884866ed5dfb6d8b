"""Accounts that HubSpot refuses: how long they wait, whom they do not hold up, and how they go on."""

from math import ceil

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import update

from bridge.core.account_limits import AccountLimits, FinishedCall, after_answers, grant, spend
from bridge.core.circuit_breaker import PermanentFailure
from bridge.core.polling import gap
from bridge.core.quota import Rate
from bridge.db import breakers
from bridge.db.encryption import Cipher
from bridge.db.engine import reading
from bridge.db.tables import accounts
from bridge.sandbox import Reply, Target
from bridge.sandbox.tasks import Kind
from tests.acceptance.conftest import NewStage
from tests.acceptance.stage import Setting, Stage
from tests.makers import NOW, an_answer, later
from tests.web.api import members

RATE = Rate(requests=100, seconds=10.0, share=0.5)
TOKENS = ("sandbox-token", "eu-token")


def two_accounts(stage: Stage, token: str = "eu-token") -> None:
    body = {"access_token": token, "base_url": stage.hubspot.url, "rate_limit": "100/10", "rate_share": 0.5}
    assert stage.admin.put("/v1/accounts/eu", body).status_code in {200, 201}


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


def test_a_pause_doubles_from_30_seconds_to_15_minutes_and_each_ends_with_one_trial() -> None:
    held, now, pauses = AccountLimits(), NOW, list[float]()
    for _ in range(8):
        assert grant(RATE, held, wanted=100, now=now) == (1 if pauses else 3)
        held = spend(RATE, held, requests=1, lease_ends_at=later(60, now), now=now)
        asked = FinishedCall(
            answer=an_answer(401), signal=PermanentFailure(reason="401"), asked_at=now, rate=RATE
        )
        held = after_answers(held, [asked], now=later(0.2, now))
        assert held.breaker.paused_until is not None
        assert grant(RATE, held, wanted=100, now=later(-0.1, held.breaker.paused_until)) == 0
        pauses.append((held.breaker.paused_until - now).total_seconds() - 0.2)
        now = held.breaker.paused_until
    assert pauses == pytest.approx([30, 60, 120, 240, 480, 900, 900, 900])


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ("429", 10),
        ("429-daily", 900),
        ("477", 60),
        (Reply(status_code=477, headers={"Retry-After": "7199.5"}), 7_200),
        (Reply(status_code=429, headers={"Retry-After": "32.1"}), 33),
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


def polls_of(task_seconds: float, step_seconds: float) -> int:
    """How often a task is polled in so many seconds when nothing is in the way but the worker's steps."""
    polls, age = 0, step_seconds
    while age < task_seconds:
        polls += 1
        age += ceil(gap(age) / step_seconds) * step_seconds
    return polls


def test_one_kind_without_its_scope_slows_the_others_down_for_a_moment_only(new_stage: NewStage) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=100_000)
    registered(stage, 20, "default")
    [export] = stage.hubspot.state.add_tasks(kind=Kind.CRM_EXPORT)
    stage.register(export, kind="crm-export")
    stage.hubspot.state.set_fault("403-scopes", Target(endpoint="crm-export"))
    stage.passes(1_800, steps=360)
    asked = stage.hubspot.state.ledger()["endpoints"]
    assert asked["file-import"] > 0.8 * 20 * polls_of(1_800, 5)
    assert 4 <= asked["crm-export"] <= 8


def test_a_mended_rate_limit_is_in_force_at_once(each_stage: NewStage) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=100_000, tokens=TOKENS)
    body = {"access_token": "eu-token", "base_url": stage.hubspot.url, "rate_limit": "1/86400"}
    assert stage.admin.put("/v1/accounts/eu", body).status_code == 201
    registered(stage, 3, "eu")
    stage.passes(600, steps=3)
    assert stage.asked("eu-token") == 1
    ready = members(stage.admin.get("/readyz"))
    assert [problem.split(",")[0] for problem in ready["problems"]] == ["Polls are overdue"]
    assert stage.admin.put("/v1/accounts/eu", body | {"rate_limit": "100/10"}).status_code == 200
    stage.passes(2, steps=4)
    assert stage.asked("eu-token") >= 3
    assert members(stage.admin.get("/readyz"))["problems"] == []


def test_an_account_that_cannot_be_read_pauses_alone_and_says_why(each_stage: NewStage) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=0, tokens=TOKENS)
    two_accounts(stage)
    stranger = Cipher([Fernet.generate_key().decode()])
    with stage.engine.begin() as connection:
        lost = {"credentials": stranger.encrypt("{}")}
        connection.execute(update(accounts).where(accounts.c.name == "eu").values(lost))
    bad, good = registered(stage, 2, "eu"), registered(stage, 2, "default")
    stage.passes(4, steps=4)
    assert (delivered(stage, good), delivered(stage, bad)) == (2, 0)
    assert "'eu' are not encrypted with BRIDGE_SECRET_KEY" in stage.account("eu")["paused_reason"]
    summary = stage.admin.get("/v1/summary")
    assert [account["name"] for account in members(summary)["accounts"]] == ["default", "eu"]
    two_accounts(stage)
    stage.passes(4, steps=4)
    assert delivered(stage, bad) == 2


def test_a_check_that_goes_well_lets_the_watches_go_on_at_once(new_stage: NewStage) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=0)
    stage.hubspot.state.set_fault("401")
    watches = registered(stage, 1, "default")
    stage.passes(600, steps=60)
    assert stage.pause_of() > 60
    stage.hubspot.state.clear_faults()
    assert members(stage.admin.post("/v1/accounts/default/check"))["ok"]
    stage.passes(1, steps=2)
    assert delivered(stage, watches) == 1


def shown_as_paused(stage: Stage) -> set[str]:
    """Where the account eu is shown as paused."""
    ready = members(stage.admin.get("/readyz"))["paused_accounts"]
    summary = members(stage.admin.get("/v1/summary"))["accounts"]
    listed = members(stage.admin.get("/v1/accounts"))["accounts"]
    metrics = stage.admin.get("/metrics").text
    found = {
        "readyz": any(account["name"] == "eu" for account in ready),
        "summary": any(account["name"] == "eu" and account["paused_until"] for account in summary),
        "list": any(account["name"] == "eu" and account["paused_until"] for account in listed),
        "metrics": 'bridge_account_paused{account="eu"} 1.0' in metrics,
    }
    return {place for place, shown in found.items() if shown}


EVERYWHERE = {"readyz", "summary", "list", "metrics"}


def test_an_account_is_shown_as_paused_while_a_watch_waits_for_it_and_no_longer(
    each_stage: NewStage,
) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=0, tokens=TOKENS)
    two_accounts(stage, token="revoked")
    [watch] = registered(stage, 1, "eu")
    stage.passes(3)
    assert shown_as_paused(stage) == EVERYWHERE
    stage.clock.passes(3_600)
    assert shown_as_paused(stage) == EVERYWHERE
    assert stage.admin.delete(f"/v1/watches/{watch}").status_code == 200
    assert shown_as_paused(stage) == set()


def test_a_pause_that_was_asked_for_is_over_when_its_time_is(new_stage: NewStage) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=0, tokens=TOKENS)
    two_accounts(stage)
    stage.hubspot.state.set_fault("429", times=1)
    registered(stage, 1, "eu")
    stage.passes(3)
    assert shown_as_paused(stage) == EVERYWHERE
    stage.clock.passes(11)
    assert shown_as_paused(stage) == set()


def test_a_removed_account_leaves_no_pause_behind(each_stage: NewStage) -> None:
    stage = each_stage(tokens=TOKENS)
    two_accounts(stage, token="revoked")
    [watch] = registered(stage, 1, "eu")
    stage.passes(3)
    assert shown_as_paused(stage) == EVERYWHERE
    assert stage.admin.delete(f"/v1/watches/{watch}").status_code == 200
    assert stage.admin.delete("/v1/accounts/eu").status_code == 200
    assert shown_as_paused(stage) == set()
    with reading(stage.engine) as connection:
        assert "eu" not in breakers.all_account_limits(connection)
