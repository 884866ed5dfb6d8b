"""Refusals that hit many tasks of an account: its trouble, or that of the way to HubSpot, and not each task's."""

import pytest

from bridge.core.account_limits import suspicion
from bridge.sandbox import Target
from bridge.steps.poll import time_out_overdue
from tests.acceptance.conftest import NewStage
from tests.acceptance.stage import Stage
from tests.makers import NOW
from tests.web.api import members

# Nobody may be believed to refuse tasks but HubSpot itself.
FRONTS = ("403-html", "403-empty", "400-html", "400-empty", "404-html", "404-empty")
NOT_FOUND = "HubSpot answered 404: The requested task was not found"
FILES = Target(endpoint="file-import")


def registered(stage: Stage, tasks: int) -> list[str]:
    """The watches of so many new tasks, which are good."""
    return [stage.register(task)["id"] for task in stage.hubspot.state.add_tasks(tasks=tasks)]


def ends(stage: Stage, watches: list[str]) -> set[tuple[str, str | None]]:
    seen = [stage.watch(watch) for watch in watches]
    return {(watch["state"], watch["outcome"]) for watch in seen}


def refuse(stage: Stage, fault: str = "404") -> None:
    """Answer as HubSpot does to a token of another portal: it knows none of the tasks."""
    stage.hubspot.state.set_fault(fault, FILES)


def asked(stage: Stage) -> int:
    return int(stage.hubspot.state.ledger()["endpoints"].get("file-import", 0))


@pytest.mark.parametrize("fault", ["404-html", "400", "403", "404"])
def test_a_wall_of_refusals_for_30_seconds_rejects_no_good_task(new_stage: NewStage, fault: str) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=0)
    watches = registered(stage, 30)
    refuse(stage, fault)
    stage.passes(30, steps=60)
    assert ends(stage, watches) == {("watching", None)}
    stage.hubspot.state.clear_faults()
    stage.passes(180, steps=30)
    assert ends(stage, watches) == {("delivered", "completed")}


@pytest.mark.parametrize("fault", FRONTS)
def test_what_a_front_answers_rejects_not_even_a_lone_task(new_stage: NewStage, fault: str) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=0)
    [watch] = registered(stage, 1)
    refuse(stage, fault)
    stage.passes(600, steps=40)
    assert ends(stage, [watch]) == {("watching", None)}
    assert stage.watch(watch)["last_error"].startswith(f"HubSpot answered {fault[:3]}")


def test_with_another_portal_s_token_the_account_pauses_and_says_what_to_look_at(
    each_stage: NewStage,
) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=0)
    watches = registered(stage, 8)
    refuse(stage)
    stage.passes(4, steps=4)
    assert 20 < stage.pause_of() <= 30
    why = suspicion(NOT_FOUND)
    assert stage.account()["paused_reason"] == why
    [paused] = members(stage.admin.get("/readyz"))["paused_accounts"]
    assert (paused["name"], paused["reason"]) == ("default", why)
    [line] = stage.lines("account_paused")
    assert (line["log_level"], line["reason"]) == ("warning", why)
    before = asked(stage)
    stage.passes(800, steps=100)
    # After 30, 60, 120, 240 and so on seconds one watch is polled, as the trial.
    assert 3 <= asked(stage) - before <= 5
    assert ends(stage, watches) == {("watching", None)}
    assert why in {stage.watch(watch)["last_error"] for watch in watches}


def test_with_the_right_token_all_go_on_at_once(each_stage: NewStage) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=0, tokens=("sandbox-token", "right"))
    stage.hubspot.state.set_fault("404", Target(token="sandbox-token"))
    watches = registered(stage, 8)
    stage.passes(800, steps=100)
    assert stage.pause_of() > 60
    body = {"access_token": "right", "base_url": stage.hubspot.url}
    assert stage.admin.put("/v1/accounts/default", body).status_code == 201
    stage.passes(2, steps=4)
    assert ends(stage, watches) == {("delivered", "completed")}
    assert stage.account()["paused_until"] is None


def test_tasks_that_stay_unknown_are_rejected_in_the_end(new_stage: NewStage) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=0)
    watches = registered(stage, 5)
    refuse(stage)
    stage.passes(6 * 3_600, steps=180)
    assert ends(stage, watches) == {("delivered", "rejected")}
    assert stage.watch(watches[0])["polls"] >= 3


def test_watches_of_a_suspected_account_end_at_their_deadline(new_stage: NewStage) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=0)
    tasks = stage.hubspot.state.add_tasks(tasks=6)
    watches = [stage.register(task, timeout_seconds=100)["id"] for task in tasks]
    refuse(stage)
    stage.passes(200, steps=40)
    assert time_out_overdue(stage.engine, stage.clock(), steady_since=NOW) > 0
    stage.passes(1, steps=2)
    assert ends(stage, watches) == {("delivered", "timed_out")}


@pytest.mark.parametrize("tasks", [1, 4])
def test_a_few_unknown_tasks_are_rejected_soon_and_suspect_nobody(new_stage: NewStage, tasks: int) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=0)
    watches = registered(stage, tasks)
    refuse(stage)
    stage.passes(30, steps=60)
    assert ends(stage, watches) == {("delivered", "rejected")}
    assert asked(stage) == 3 * tasks
    assert stage.lines("account_paused") == []


def test_many_unknown_tasks_among_good_ones_are_rejected_soon(each_stage: NewStage) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=100_000)
    good = []
    # One by one: if all were polled at about the same time, no task would succeed in the ten seconds after.
    for _ in range(12):
        good += registered(stage, 1)
        stage.passes(2.5)
    bad = []
    for task in stage.hubspot.state.add_tasks(tasks=8):
        stage.hubspot.state.set_fault("404", Target(task_id=task))
        bad.append(stage.register(task)["id"])
        stage.passes(5, steps=10)
    stage.passes(60, steps=60)
    assert ends(stage, bad) == {("delivered", "rejected")}
    assert ends(stage, good) == {("watching", None)}
    assert stage.lines("account_paused") == []


def test_a_task_that_was_not_refused_yet_finds_out_first_whether_the_account_is_well(
    each_stage: NewStage,
) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=0)
    unknown = stage.hubspot.state.add_tasks(tasks=7)
    for task in unknown:
        stage.hubspot.state.set_fault("404", Target(task_id=task))
        stage.register(task)
    stage.passes(4, steps=4)
    assert stage.pause_of() > 0
    [good] = registered(stage, 1)
    before = asked(stage)
    stage.passes(28, steps=28)
    assert ends(stage, [good]) == {("delivered", "completed")}
    assert asked(stage) > before + 1


def test_a_faulty_import_neither_takes_the_trial_of_a_watch_nor_prolongs_the_pause(
    each_stage: NewStage,
) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=0)
    for task in stage.hubspot.state.add_tasks(tasks=5):
        stage.hubspot.state.set_fault("404", Target(task_id=task))
        stage.register(task)
    stage.passes(4, steps=4)
    reason = stage.account()["paused_reason"]
    [good] = registered(stage, 1)
    stage.clock.passes(stage.pause_of())
    stage.hubspot.state.set_fault("400", Target(endpoint="start-import"))
    faulty = {"import": {}, "callback_url": stage.callback_url("faulty")}
    assert stage.admin.post("/v1/imports", faulty).status_code == 502
    assert stage.account()["paused_reason"] == reason
    stage.passes(1, steps=4)
    assert ends(stage, [good]) == {("delivered", "completed")}
