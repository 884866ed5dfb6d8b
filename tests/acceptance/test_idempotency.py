"""`Idempotency-Key` on `POST /v1/imports`: whatever crashes, HubSpot is asked once, and the answer is the same."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from bridge.db import idempotent_requests as store
from bridge.db.tables import keyed_requests
from bridge.sandbox import Outcome, Reply
from bridge.steps import start_import
from bridge.web.idempotency import MAX_DURATION, Execution
from tests.acceptance.conftest import NewStage
from tests.acceptance.stage import Setting, Stage
from tests.acceptance.test_imports import DOCUMENT, START, problem, starts, watches
from tests.web.api import Caller, members

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
LONGER = MAX_DURATION.total_seconds() + 1


class Died(BaseException):
    """The process dies here."""


def sent(stage: Stage, key: str = KEY, caller: Caller | None = None, **others: Any) -> TestResponse:
    body = {"import": DOCUMENT, "callback_url": stage.callback_url("imports")} | others
    return (caller or stage.admin).send("POST", "/v1/imports", body, headers={"Idempotency-Key": key})


def dies(*_: Any) -> None:
    raise Died


def kept(stage: Stage) -> int:
    with stage.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(keyed_requests)).scalar_one()


def crash_during(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str, replacement: Callable[..., Any] = dies
) -> None:
    """Send a request whose process dies in this method of its attempt."""
    with monkeypatch.context() as patch:
        patch.setattr(Execution, name, replacement)
        with pytest.raises(Died):
            sent(stage)


def test_the_same_request_gets_the_first_answer_again_and_hubspot_is_asked_once(each_stage: NewStage) -> None:
    stage = each_stage()
    first = sent(stage, metadata={"order": 17})
    stage.passes(60, steps=10)
    again = sent(stage, metadata={"order": 17})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.data == first.data
    assert again.headers["Location"] == first.headers["Location"]
    assert starts(stage) == 1


def test_a_key_in_quotes_is_the_same_key(new_stage: NewStage) -> None:
    stage = new_stage()
    assert sent(stage, f'"{KEY}"').data == sent(stage, KEY).data
    assert starts(stage) == 1


def test_what_hubspot_refused_is_told_again(new_stage: NewStage) -> None:
    stage = new_stage()
    refused: dict[str, Any] = {"import": {"access": "PRIVATE"}}
    first, again = (problem(sent(stage, **refused), 502) for _ in range(2))
    assert {**again, "request_id": ""} == {**first, "request_id": ""}
    assert starts(stage) == 1


def test_what_was_accepted_is_not_judged_again_when_its_account_is_gone(each_stage: NewStage) -> None:
    stage = each_stage()
    token = {"access_token": "sandbox-token", "base_url": stage.hubspot.url}
    stage.admin.send("PUT", "/v1/accounts/gone", token)
    first = sent(stage, account="gone")
    stage.admin.send("DELETE", f"/v1/watches/{members(first)['id']}")
    assert stage.admin.send("DELETE", "/v1/accounts/gone").status_code == 200
    assert sent(stage, account="gone").data == first.data
    assert problem(sent(stage, "another key", account="gone"), 422)["type"] == "/problems/invalid-input"
    assert starts(stage) == 1


def test_a_key_belongs_to_one_body(each_stage: NewStage) -> None:
    stage = each_stage()
    sent(stage)
    told = problem(sent(stage, metadata={"other": 1}), 422)
    assert told["type"] == "/problems/idempotency-key-reused"
    assert starts(stage) == 1


def test_clients_keys_are_their_own(new_stage: NewStage) -> None:
    stage = new_stage()
    made = members(stage.admin.post("/v1/clients", {"name": "cms"}))
    other = Caller(app=stage.admin.app, key=made["api_key"])
    assert members(sent(stage, caller=other))["id"] != members(sent(stage))["id"]
    assert starts(stage) == 2


def test_without_a_key_each_request_starts_an_import(new_stage: NewStage) -> None:
    stage = new_stage()
    body = {"import": DOCUMENT, "callback_url": stage.callback_url("imports")}
    for _ in range(2):
        assert stage.admin.post("/v1/imports", body).status_code == 201
    assert (starts(stage), kept(stage)) == (2, 0)


def test_what_was_not_started_may_be_sent_again_with_its_key(new_stage: NewStage) -> None:
    """HubSpot has not heard of it."""
    stage = new_stage()
    too_many = {"Retry-After": "30", "Content-Type": "application/json"}
    stage.hubspot.state.set_fault(Reply(status_code=429, headers=too_many, body=b"{}"), START)
    stage.admin.post("/v1/imports", {"import": DOCUMENT, "callback_url": stage.callback_url("imports")})
    assert problem(sent(stage), 503)["type"] == "/problems/import-not-started"
    stage.hubspot.state.clear_faults()
    stage.passes(60)
    assert sent(stage).status_code == 201


def test_while_it_is_at_work_the_same_request_is_told_to_wait(
    each_stage: NewStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = each_stage()
    crash_during(stage, monkeypatch, "claim_hubspot_call")
    told = problem(sent(stage), 409)
    assert told["type"] == "/problems/request-at-work"
    assert told["detail"].endswith("is being carried out, or was interrupted less than a minute ago.")
    assert 0 < told["retry_after_seconds"] <= MAX_DURATION.total_seconds()
    assert starts(stage) == 0
    stage.passes(told["retry_after_seconds"])
    assert sent(stage).status_code == 201


def test_after_a_crash_before_hubspot_was_asked_it_is_asked(
    each_stage: NewStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = each_stage()
    crash_during(stage, monkeypatch, "claim_hubspot_call")
    stage.passes(LONGER)
    first = sent(stage)
    assert first.status_code == 201
    assert sent(stage).data == first.data
    assert starts(stage) == 1


def test_after_a_crash_while_hubspot_was_asked_nobody_knows_and_it_is_not_asked_again(
    each_stage: NewStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = each_stage()
    crash_during(stage, monkeypatch, "note_task")
    stage.passes(LONGER)
    told = problem(sent(stage), 504)
    assert told["type"] == "/problems/no-answer-from-hubspot"
    assert starts(stage) == 1


@pytest.mark.parametrize("open_watches", [0, 1], ids=["below the limit", "at the limit"])
def test_after_a_crash_with_hubspot_s_answer_the_task_is_watched(
    each_stage: NewStage, monkeypatch: pytest.MonkeyPatch, open_watches: int
) -> None:
    stage = each_stage(Setting(open_watch_limit=1))
    noted = Execution.note_task

    def note_and_die(attempt: Execution, task_id: str) -> None:
        noted(attempt, task_id)
        raise Died

    crash_during(stage, monkeypatch, "note_task", note_and_die)
    assert not watches(stage)
    [stuck] = stage.hubspot.state.add_tasks(outcome=Outcome.STUCK)
    others = [stage.register(stuck)["id"] for _ in range(open_watches)]
    stage.passes(LONGER)
    again = sent(stage)
    assert again.status_code == 201
    assert {watch["id"] for watch in watches(stage)} == {members(again)["id"], *others}
    assert starts(stage) == 1


def test_after_a_crash_before_the_answer_was_kept_the_watch_is_found(
    each_stage: NewStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = each_stage()
    crash_during(stage, monkeypatch, "keep")
    [watch] = watches(stage)
    stage.passes(LONGER)
    again = sent(stage)
    assert (again.status_code, members(again)["id"]) == (200, watch["id"])
    assert starts(stage) == 1


def test_an_attempt_that_was_taken_over_does_not_ask_hubspot(
    new_stage: NewStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process was stopped for a minute, and goes on."""
    stage = new_stage()
    acquire: Callable[..., Any] = start_import._acquire

    def stopped_for_long(*arguments: Any) -> Any:
        with stage.engine.begin() as connection:
            connection.execute(update(keyed_requests).values(begun_by="another"))
        return acquire(*arguments)

    monkeypatch.setattr(start_import, "_acquire", stopped_for_long)
    assert problem(sent(stage), 503)["type"] == "/problems/import-not-started"
    assert (starts(stage), kept(stage)) == (0, 1)


def test_a_key_is_forgotten_after_a_day(each_stage: NewStage) -> None:
    stage = each_stage()
    sent(stage)
    stage.clock.passes(store.KEPT.total_seconds() - 60)
    with stage.engine.begin() as connection:
        assert store.prune(connection, stage.clock(), limit=10) == 0
    stage.clock.passes(120)
    assert sent(stage, metadata={"new": True}).status_code == 201
    assert starts(stage) == 2
    with stage.engine.begin() as connection:
        assert store.prune(connection, stage.clock() + timedelta(days=2), limit=10) == 1
    assert kept(stage) == 0


@pytest.mark.parametrize("key", ["", " ", "a b", '"', '""', "é", "x" * 256, 'say "hi"'])
def test_a_key_that_is_none_is_refused(new_stage: NewStage, key: str) -> None:
    stage = new_stage()
    assert problem(sent(stage, key), 400)["type"] == "/problems/malformed-idempotency-key"
    assert starts(stage) == 0


def test_a_registration_takes_any_key_and_needs_none(new_stage: NewStage) -> None:
    """What makes two registrations the same is in their bodies."""
    stage = new_stage()
    body = {"task_id": "AAAAEZ6whGI", "callback_url": stage.callback_url("watches")}
    headers = {"Idempotency-Key": KEY}
    statuses = [
        stage.admin.send("POST", "/v1/watches", body | more, headers=headers).status_code
        for more in ({}, {}, {"task_id": "other"})
    ]
    assert (statuses, kept(stage)) == ([201, 200, 201], 0)
