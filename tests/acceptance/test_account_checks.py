"""`POST /v1/accounts/{name}/check`."""

import json

import pytest

from bridge.sandbox import Target
from tests.acceptance.conftest import NewStage
from tests.acceptance.stage import Setting
from tests.hubspot_accounts import NONE
from tests.web.api import Caller, members, problem


def test_good_credentials_are_said_to_be_good_and_what_is_left_of_the_quota(each_stage: NewStage) -> None:
    stage = each_stage(burst_requests=100, daily_requests=250_000)
    answer = stage.admin.post("/v1/accounts/default/check")
    assert answer.status_code == 200
    told = members(answer)
    assert isinstance(told.pop("clock_ahead_seconds"), float)
    assert told == {
        "ok": True,
        "summary": "HubSpot takes the credentials. 99 of 100 requests are left now. "
        "249,999 of 250,000 requests are left today.",
        "status_code": 200,
        "quota": {"burst": 100, "burst_remaining": 99, "daily": 250_000, "daily_remaining": 249_999},
    }


def test_a_stored_account_with_a_wrong_token_is_said_to_be_wrong_and_pauses_nothing(
    new_stage: NewStage,
) -> None:
    stage = new_stage()
    body = {"access_token": "very-secret", "base_url": stage.hubspot.url}
    assert stage.admin.put("/v1/accounts/eu", body).status_code == 201
    answer = stage.admin.post("/v1/accounts/eu/check")
    told = members(answer)
    assert (answer.status_code, told["ok"], told["status_code"]) == (200, False, 401)
    assert told["summary"].startswith("HubSpot answered 401")
    assert "very-secret" not in answer.text
    assert stage.pause_of("eu") == 0


@pytest.mark.parametrize("fault", ["401", "404"])
def test_after_a_good_check_the_next_poll_is_tried_at_once(new_stage: NewStage, fault: str) -> None:
    """It ends no suspicion: its own task is one that HubSpot does not know."""
    stage = new_stage(pending_seconds=0, processing_seconds=0)
    stage.hubspot.state.set_fault(fault, Target(endpoint="file-import"))
    watches = [stage.register(task)["id"] for task in stage.hubspot.state.add_tasks(tasks=6)]
    stage.passes(400, steps=40)
    assert stage.pause_of() > 30
    stage.hubspot.state.clear_faults()
    assert members(stage.admin.post("/v1/accounts/default/check"))["ok"]
    assert stage.pause_of() == 0
    assert {stage.watch(watch)["state"] for watch in watches} == {"watching"}
    stage.passes(1, steps=2)
    assert {stage.watch(watch)["state"] for watch in watches} == {"delivered"}


def test_without_credentials_nobody_is_asked_and_no_pause_begins(new_stage: NewStage) -> None:
    stage = new_stage(Setting(credentials=NONE))
    told = members(stage.admin.post("/v1/accounts/default/check"))
    assert (told["ok"], told["status_code"], told["quota"]) == (False, None, None)
    assert stage.pause_of() == 0


def test_an_account_that_nobody_set_is_not_found(new_stage: NewStage) -> None:
    problem(new_stage().admin.post("/v1/accounts/nobody/check"), 404)


def test_it_is_for_admins_and_takes_no_body(new_stage: NewStage) -> None:
    stage = new_stage()
    key = members(stage.admin.post("/v1/clients", {"name": "cms"}))["api_key"]
    problem(Caller(app=stage.admin.app, key=key).post("/v1/accounts/default/check"), 403)
    problem(stage.admin.post("/v1/accounts/default/check", {"token": "x"}), 422)
    assert stage.hubspot.state.ledger()["endpoints"] == {}


def test_the_answer_is_what_the_document_says(new_stage: NewStage) -> None:
    stage = new_stage()
    schemas = json.loads(stage.admin.get("/openapi.json").text)["components"]["schemas"]
    told = members(stage.admin.post("/v1/accounts/default/check"))
    assert told.keys() == schemas["AccountCheck"]["properties"].keys()
    assert told["quota"].keys() == schemas["QuotaLeft"]["properties"].keys()
