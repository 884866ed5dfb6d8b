"""What `/metrics` and the summary say after real work, and that the pages name what is exposed."""

import json
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

import bridge
from bridge.db import daily_stats
from bridge.sandbox import Outcome
from tests.acceptance.conftest import NewStage
from tests.acceptance.stage import Stage
from tests.docs.markdown import codes, page, rows, section
from tests.steps.peers import Reply
from tests.web.api import Caller, members

SECRETS = ("sandbox-token", "pat-", "whsec_", "hib_")


def exposed(stage: Stage) -> dict[str, Metric]:
    """The metrics by name, as Prometheus reads them."""
    answer = stage.admin.get("/metrics")
    assert (answer.status_code, answer.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {metric.name: metric for metric in text_string_to_metric_families(answer.text)}


def values(metric: Metric, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in metric.samples}


def summary(stage: Stage) -> dict[str, Any]:
    """What the summary says of the account `default`."""
    accounts: list[dict[str, Any]] = members(stage.admin.get("/v1/summary"))["accounts"]
    return next(account for account in accounts if account["name"] == "default")


def at_work(stage: Stage) -> None:
    """Tasks of all sorts, followed to their ends."""
    for outcome in (Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED, Outcome.CANCELED, Outcome.STUCK):
        [task_id] = stage.hubspot.state.add_tasks(outcome=outcome, pending_seconds=5, processing_seconds=10)
        stage.register(task_id)
    stage.passes(60, steps=60)


def test_the_delay_with_which_ends_are_noticed_is_told_everywhere(each_stage: NewStage) -> None:
    stage = each_stage()
    before = summary(stage)
    assert before["detection_delay_seconds"] == {"p50": None, "p95": None}
    at_work(stage)
    samples = exposed(stage)["bridge_detection_delay_seconds"].samples
    assert {sample.labels["account"] for sample in samples} == {"default"}
    [count] = [sample.value for sample in samples if sample.name.endswith("_count")]
    [total] = [sample.value for sample in samples if sample.name.endswith("_sum")]
    buckets = [sample.value for sample in samples if sample.name.endswith("_bucket")]
    # Four tasks have ended, each about fifteen seconds old, when the gap between polls is about four.
    assert (count, buckets[-1], buckets) == (4, 4, sorted(buckets))
    assert 0 < total < 4 * 6
    delay = summary(stage)["detection_delay_seconds"]
    assert 0 < delay["p50"] <= delay["p95"] <= 8


def test_the_figures_are_those_of_the_database(each_stage: NewStage) -> None:
    stage = each_stage()
    at_work(stage)
    metrics = exposed(stage)
    assert values(metrics["bridge_build_info"], "version") == {bridge.__version__: 1}
    states = members(stage.admin.get("/v1/summary"))["states"]
    assert values(metrics["bridge_watches"], "state") == states
    assert states == {"watching": 1, "delivering": 0, "delivered": 4, "undelivered": 0, "withdrawn": 0}
    settled = values(metrics["bridge_watches_settled"], "outcome")
    assert {name: count for name, count in settled.items() if count} == {
        "completed": 2,
        "failed": 1,
        "canceled": 1,
    }
    assert values(metrics["bridge_oldest_due_seconds"], "step").keys() == {"poll", "deliver"}
    assert [sample.value for sample in metrics["bridge_workers"].samples] == [1]
    assert [sample.value for sample in metrics["bridge_hosts_paused"].samples] == [0]
    requests = values(metrics["bridge_account_requests"], "account")
    assert requests == {"default": stage.asked("sandbox-token")}
    assert values(metrics["bridge_account_errors"], "account") == {"default": 0}
    assert values(metrics["bridge_account_paused"], "account") == {"default": 0}


def test_an_account_in_trouble_and_a_dead_host_are_told(new_stage: NewStage) -> None:
    stage = new_stage(pending_seconds=0, processing_seconds=0)
    stage.receiver.answer = lambda _: Reply(status_code=500)
    for task_id in stage.hubspot.state.add_tasks(tasks=6):
        stage.register(task_id)
    stage.passes(3)
    stage.hubspot.state.set_fault("401")
    [task_id] = stage.hubspot.state.add_tasks()
    stage.register(task_id)
    stage.passes(3)
    metrics = exposed(stage)
    assert values(metrics["bridge_account_paused"], "account") == {"default": 1}
    assert values(metrics["bridge_account_errors"], "account") == {"default": 1}
    share = values(metrics["bridge_account_error_ratio"], "account")["default"]
    assert share == pytest.approx(1 / stage.asked("sandbox-token"))
    assert summary(stage)["errors_share_today"] == pytest.approx(share, abs=0.0001)
    assert [sample.value for sample in metrics["bridge_hosts_paused"].samples] == [1]
    stage.clock.passes(120)
    assert [sample.value for sample in exposed(stage)["bridge_workers"].samples] == [0]


def test_counts_begin_again_at_midnight_and_say_so(new_stage: NewStage) -> None:
    stage = new_stage()
    yesterday = stage.clock().date()
    with stage.engine.begin() as connection:
        daily_stats.count(connection, yesterday, {"default": (100, 7)})
        daily_stats.note_delays(connection, yesterday, {"default": [1.0, 2.0]})
    before = exposed(stage)
    assert values(before["bridge_account_requests"], "account") == {"default": 100}
    stage.clock.passes(timedelta(hours=13).total_seconds())
    after = exposed(stage)
    assert values(after["bridge_account_requests"], "account") == {"default": 0}
    for name in ("bridge_account_requests", "bridge_account_errors", "bridge_detection_delay_seconds"):
        assert "midnight UTC" in after[name].documentation
        assert {sample.value for sample in after[name].samples} == {0}
        assert {sample.value for sample in before[name].samples} != {0}


def test_no_label_grows_with_the_work_but_that_of_accounts(new_stage: NewStage) -> None:
    stage = new_stage()
    empty = labels(stage)
    at_work(stage)
    assert labels(stage) == empty
    assert stage.admin.put("/v1/accounts/eu", {"access_token": "pat-eu"}).status_code == 201
    assert labels(stage) - empty == {("account", "eu")}


def labels(stage: Stage) -> set[tuple[str, str]]:
    return {
        pair
        for metric in exposed(stage).values()
        for sample in metric.samples
        for pair in sample.labels.items()
    }


def test_no_secret_is_exposed_and_only_an_admin_may_look(new_stage: NewStage) -> None:
    stage = new_stage()
    key = members(stage.admin.post("/v1/clients", {"name": "cms"}))["api_key"]
    at_work(stage)
    assert not any(secret in stage.admin.get("/metrics").text for secret in SECRETS)
    app = stage.admin.app
    assert Caller(app=app, key=None).get("/metrics").status_code == 401
    assert Caller(app=app, key=key).get("/metrics").status_code == 403


def test_the_page_for_operators_names_each_metric_with_its_label(new_stage: NewStage) -> None:
    table = rows(section(page("docs/operating.md"), "Metrics"))
    told = {codes(name)[0]: set(codes(label)) for name, label, _ in table}
    found = {
        f"{name}_total" if metric.type == "counter" else name: {
            label for sample in metric.samples for label in sample.labels
        }
        - {"le"}
        for name, metric in exposed(new_stage()).items()
    }
    assert told == found


def test_the_document_says_that_it_is_text(new_stage: NewStage) -> None:
    document = json.loads(new_stage().admin.get("/openapi.json").text)
    content = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["text/plain; version=0.0.4; charset=utf-8"]
