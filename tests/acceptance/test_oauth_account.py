"""An OAuth account at work: tokens that end, one that is revoked, a refresh token that is no good."""

import json
from dataclasses import asdict, replace

import pytest

from bridge.sandbox import Reply, Target
from tests.acceptance.conftest import NewStage
from tests.acceptance.stage import Setting, Stage
from tests.hubspot_accounts import OAUTH
from tests.web.api import members

REASON = (
    "HubSpot takes the refresh token no more: install the app again, and set the new one (BAD_REFRESH_TOKEN)."
)


def registered(stage: Stage, tasks: int) -> list[str]:
    """The watches of so many new tasks."""
    return [stage.register(task_id)["id"] for task_id in stage.hubspot.state.add_tasks(tasks=tasks)]


def test_tokens_that_end_during_the_work_cost_no_error(each_stage: NewStage) -> None:
    stage = each_stage(Setting(credentials=OAUTH), pending_seconds=600, processing_seconds=4_000)
    watches = registered(stage, 3)
    stage.passes(5_400, steps=45)
    assert {stage.watch(watch)["outcome"] for watch in watches} == {"completed"}
    ledger = stage.hubspot.state.ledger()
    # Tokens last for 1,800 s, and are refreshed when a tenth of that is left.
    assert ledger["refreshes"] == ledger["endpoints"]["oauth-token"] == 3
    assert not ledger["status_codes"].keys() - {"200", "202"}
    assert not stage.lines("account_paused")


def test_a_token_that_ended_while_nobody_asked_is_not_tried(new_stage: NewStage) -> None:
    stage = new_stage(Setting(credentials=OAUTH), pending_seconds=0, processing_seconds=0)
    registered(stage, 1)
    stage.passes(3)
    stage.clock.passes(7_200)
    registered(stage, 1)
    stage.passes(3)
    assert len(stage.events()) == 2
    assert stage.hubspot.state.ledger()["status_codes"] == {"200": 4}
    assert stage.hubspot.state.ledger()["refreshes"] == 2


def test_a_token_that_is_revoked_during_the_work_is_replaced_once_and_nobody_waits(
    new_stage: NewStage,
) -> None:
    stage = new_stage(Setting(credentials=OAUTH), pending_seconds=0, processing_seconds=60)
    watches = registered(stage, 3)
    stage.passes(30, steps=10)
    stage.hubspot.state.set_fault("401", times=1)
    stage.passes(60, steps=10)
    assert {stage.watch(watch)["outcome"] for watch in watches} == {"completed"}
    ledger = stage.hubspot.state.ledger()
    assert (ledger["refreshes"], ledger["status_codes"]["401"]) == (2, 1)
    assert not stage.lines("account_paused")


@pytest.mark.parametrize("when", ["from the start", "during the work"])
def test_a_bad_refresh_token_pauses_the_account_and_is_told_wherever_somebody_looks(
    new_stage: NewStage, when: str
) -> None:
    stage = new_stage(Setting(credentials=OAUTH), pending_seconds=0, processing_seconds=7_200)
    watches = registered(stage, 10)
    if when == "during the work":
        stage.passes(60, steps=10)
    stage.hubspot.state.change_options({"refresh_tokens": ()})
    stage.passes(2_000, steps=20)
    assert REASON in (stage.account()["paused_reason"] or "")
    readiness = members(stage.admin.get("/readyz"))
    assert [(p["name"], p["reason"]) for p in readiness["paused_accounts"]] == [("default", REASON)]
    assert REASON in {stage.watch(watch)["last_error"] for watch in watches}
    trials = stage.lines("account_paused")
    assert {line["reason"] for line in trials} == {REASON}
    # One line and one refresh for each trial request: 30 s, 60 s and so on.
    assert 3 <= len(trials) <= 8
    assert len(stage.lines("oauth_refresh_failed")) <= len(trials) + 2


def test_a_bad_refresh_token_is_logged_once_however_many_watches_there_are(new_stage: NewStage) -> None:
    stage = new_stage(Setting(credentials=replace(OAUTH, refresh_token="no-more")))
    registered(stage, 50)
    stage.passes(29, steps=10)
    [paused] = stage.lines("account_paused")
    assert (paused["account"], paused["reason"]) == ("default", REASON)
    assert len(stage.lines("oauth_refresh_failed")) == 1
    assert stage.hubspot.state.ledger()["endpoints"] == {"oauth-token": 1}
    assert stage.account()["paused_reason"] == REASON


def test_with_a_good_refresh_token_the_account_goes_on_at_once(new_stage: NewStage) -> None:
    stage = new_stage(Setting(credentials=replace(OAUTH, refresh_token="no-more")), pending_seconds=0)
    watches = registered(stage, 5)
    stage.passes(600, steps=10)
    assert stage.pause_of() > 60
    good = {name: value for name, value in asdict(OAUTH).items() if value}
    assert stage.admin.put("/v1/accounts/default", good | {"base_url": stage.hubspot.url}).status_code == 201
    stage.passes(5, steps=5)
    assert {stage.watch(watch)["state"] for watch in watches} == {"delivered"}
    assert stage.account()["paused_until"] is None
    assert [line["account"] for line in stage.lines("account_resumed")] == ["default"]


def test_a_token_server_in_trouble_is_no_fault_of_the_account(new_stage: NewStage) -> None:
    stage = new_stage(Setting(credentials=OAUTH), pending_seconds=0)
    [watch] = registered(stage, 1)
    stage.hubspot.state.set_fault("503", Target(endpoint="oauth-token"), times=2)
    stage.passes(60, steps=30)
    assert stage.watch(watch)["outcome"] == "completed"
    assert counted(stage) == (1, 0)


def counted(stage: Stage) -> tuple[int, int]:
    """The requests and errors of the day, as the summary tells them."""
    [account] = members(stage.admin.get("/v1/summary"))["accounts"]
    return account["requests_today"], account["errors_today"]


def test_what_waits_for_a_token_neither_multiplies_its_trouble_nor_counts(new_stage: NewStage) -> None:
    stage = new_stage(Setting(credentials=OAUTH), pending_seconds=0)
    registered(stage, 40)
    stage.hubspot.state.set_fault("503", Target(endpoint="oauth-token"), times=1)
    stage.passes(2.5)
    assert 0 < stage.pause_of() <= 5
    assert counted(stage) == (0, 0)
    assert stage.hubspot.state.ledger()["endpoints"] == {"oauth-token": 1}
    stage.passes(8, steps=8)
    assert len(stage.events()) == 40
    assert len([line for line in stage.lines("account_paused") if line["log_level"] == "warning"]) == 1


def test_the_day_counts_what_hubspot_counts_when_a_token_is_revoked(each_stage: NewStage) -> None:
    stage = each_stage(Setting(credentials=OAUTH), pending_seconds=0, processing_seconds=60)
    registered(stage, 20)
    stage.passes(20, steps=10)
    stage.hubspot.state.set_fault("401", times=5)
    stage.passes(20, steps=10)
    ledger = stage.hubspot.state.ledger()
    requests = sum(n for endpoint, n in ledger["endpoints"].items() if endpoint != "oauth-token")
    assert ledger["status_codes"]["401"] == 5
    assert counted(stage) == (requests, 5)


def test_in_a_day_each_trouble_is_told_once(new_stage: NewStage) -> None:
    stage = new_stage(Setting(credentials=replace(OAUTH, refresh_token="no-more")))
    registered(stage, 5)
    stage.passes(43_200, steps=100)
    stage.hubspot.state.set_fault(Reply(status_code=401, body=b"{}"), Target(endpoint="oauth-token"))
    stage.passes(42_000, steps=100)
    for event in ("account_paused", "oauth_refresh_failed"):
        told = [line["reason"] for line in stage.lines(event) if line["log_level"] == "warning"]
        assert told[0] == REASON
        [other] = told[1:]
        assert other.startswith(
            "HubSpot answered 401 to the refresh of the OAuth token: check the app's client id"
        )
    assert stage.hubspot.state.ledger()["endpoints"]["oauth-token"] > 50


def test_a_token_that_was_over_for_longer_is_no_new_reason(new_stage: NewStage) -> None:
    stage = new_stage()
    registered(stage, 2)
    for seconds in (60, 90, 150):
        body = json.dumps({"message": f"The token expired {seconds} second(s) ago."}).encode()
        stage.hubspot.state.clear_faults()
        stage.hubspot.state.set_fault(Reply(status_code=401, body=body))
        stage.passes(1_000)
    lines = stage.lines("account_paused")
    assert [line["log_level"] for line in lines] == ["warning", "debug", "debug"]
