"""What `/metrics` and the summary say after real work, and that the pages name what is exposed."""

import json
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

import bridge
from bridge.db import counters, housekeeping
from bridge.sandbox import Outcome
from tests.acceptance.conftest import NewStage
from tests.acceptance.stage import Stage
from tests.docs.markdown import codes, page, rows, section
from tests.steps.peers import Reply
from tests.web.api import Caller, members

SECRETS = ("sandbox-token", "pat-", "whsec_", "hib_")


def exposed(stage: Stage) -> dict[str, Metric]:
    """The metrics by name, as Prometheus reads them."""
    stage.flush()
    answer = stage.admin.get("/metrics")
    assert (answer.status_code, answer.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {metric.name: metric for metric in text_string_to_metric_families(answer.text)}


def values(metric: Metric, label: str) -> dict[str, float]:
    return {sample.labels[label]: sample.value for sample in metric.samples}


def summary(stage: Stage) -> dict[str, Any]:
    """What the summary says of the account `default`."""
    stage.flush()
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
    assert nonzero(metrics["bridge_tasks_ended"]) == {("completed",): 2, ("failed",): 1, ("canceled",): 1}
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


def test_counts_go_on_at_midnight_and_the_summary_begins_a_new_day(new_stage: NewStage) -> None:
    stage = new_stage()
    at_work(stage)
    before, day = exposed(stage), summary(stage)
    stage.clock.passes(timedelta(hours=13).total_seconds())
    after, next_day = exposed(stage), summary(stage)
    for name in ("bridge_account_requests", "bridge_account_errors", "bridge_detection_delay_seconds"):
        assert after[name].samples == before[name].samples
    assert (day["requests_today"], next_day["requests_today"]) == (stage.asked("sandbox-token"), 0)
    assert next_day["detection_delay_seconds"] == {"p50": None, "p95": None} != day["detection_delay_seconds"]
    assert before["bridge_account_daily_requests_left"].samples
    assert not after["bridge_account_daily_requests_left"].samples


def test_what_is_deleted_stays_counted(each_stage: NewStage) -> None:
    stage = each_stage()
    at_work(stage)
    before = exposed(stage)["bridge_tasks_ended"].samples
    stage.clock.passes(timedelta(days=31).total_seconds())
    with stage.engine.begin() as connection:
        assert housekeeping.prune(connection, stage.clock(), retention=timedelta(days=30), limit=10) == 4
        counters.prune(connection, stage.clock())
    assert exposed(stage)["bridge_tasks_ended"].samples == before


def test_each_step_is_counted_once_with_its_result(each_stage: NewStage) -> None:
    stage = each_stage(pending_seconds=0, processing_seconds=0)
    answers = iter([Reply(status_code=200), Reply(status_code=500), Reply(status_code=410)])
    stage.receiver.answer = lambda _: next(answers)
    [task_id] = stage.hubspot.state.add_tasks()
    watch = stage.register(task_id)
    stage.passes(3)
    assert stage.admin.post(f"/v1/watches/{watch['id']}/redeliver").status_code == 202
    stage.passes(10, steps=2)
    metrics = exposed(stage)
    assert nonzero(metrics["bridge_registrations"]) == {(): 1}
    assert nonzero(metrics["bridge_polls"]) == {("ended",): 1}
    assert nonzero(metrics["bridge_tasks_ended"]) == {("completed",): 1}
    assert nonzero(metrics["bridge_callback_attempts"]) == {
        ("2xx", "schedule"): 1,
        ("5xx", "manual"): 1,
        ("4xx", "schedule"): 1,
    }
    assert nonzero(metrics["bridge_callbacks_given_up"]) == {(): 1}
    # A redelivery has no first attempt, and tells nothing of how long a delivery takes.
    for name in ("bridge_first_attempt_delay_seconds", "bridge_delivery_delay_seconds"):
        assert [s.value for s in metrics[name].samples if s.name.endswith("_count")] == [1]


def test_a_request_to_hubspot_that_is_no_poll_is_counted_too(new_stage: NewStage) -> None:
    stage = new_stage()
    assert stage.admin.post("/v1/accounts/default/check").status_code == 200
    stage.hubspot.state.set_fault("401")
    stage.admin.post("/v1/accounts/default/check")
    metrics = exposed(stage)
    assert nonzero(metrics["bridge_account_requests"]) == {("default",): 2}
    assert nonzero(metrics["bridge_account_errors"]) == {("default",): 1}


def nonzero(metric: Metric) -> dict[tuple[str, ...], float]:
    """A counter's values by those of its labels."""
    return {tuple(s.labels.values()): s.value for s in metric.samples if s.value}


def test_a_request_is_counted_by_its_route_and_not_by_what_clients_make_up(new_stage: NewStage) -> None:
    stage = new_stage()
    for path in ("/v1/watches/wat_00000001", "/v1/watches/wat_00000002", "/made/up", "/made/up/too"):
        stage.admin.get(path)
    stage.admin.send("BREW", "/v1/watches")
    requests = nonzero(exposed(stage)["bridge_api_requests"])
    assert requests[("GET", "/v1/watches/{watch_id}", "4xx")] == 2
    assert requests[("GET", "none", "4xx")] == 2
    assert requests[("other", "none", "4xx")] == 1


def test_a_route_has_a_count_of_each_class_of_status_from_its_first_request_on(new_stage: NewStage) -> None:
    stage = new_stage()
    stage.admin.get("/v1/watches/wat_00000001")
    samples = exposed(stage)["bridge_api_requests"].samples
    counts = {s.labels["status"]: s.value for s in samples if s.labels["route"] == "/v1/watches/{watch_id}"}
    assert counts == {"2xx": 0, "3xx": 0, "4xx": 1, "5xx": 0}


def test_no_label_grows_with_the_work_but_those_of_accounts_and_routes(new_stage: NewStage) -> None:
    stage = new_stage()
    labels(stage)
    empty = labels(stage)  # with the routes that a scrape itself takes
    at_work(stage)
    assert labels(stage) - empty == {("method", "POST"), ("route", "/v1/watches"), ("status", "2xx")} - empty
    assert stage.admin.put("/v1/accounts/eu", {"access_token": "pat-eu"}).status_code == 201
    assert {pair for pair in labels(stage) - empty if pair[0] == "account"} == {("account", "eu")}


def labels(stage: Stage) -> set[tuple[str, str]]:
    return {
        pair
        for name, metric in exposed(stage).items()
        if name.startswith("bridge_")
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
    stage = new_stage()
    at_work(stage)
    exposed(stage)  # a scrape is itself a request that is counted
    table = rows(section(page("docs/operating.md"), "Metrics"))
    told = {codes(name)[0]: set(codes(label)) for name, label, _ in table}
    found = {
        f"{name}_total" if metric.type == "counter" else name: {
            label for sample in metric.samples for label in sample.labels
        }
        - {"le"}
        for name, metric in exposed(stage).items()
        if name.startswith("bridge_")
    }
    assert told == found


def test_the_process_that_answers_tells_of_itself(new_stage: NewStage) -> None:
    metrics = exposed(new_stage())
    assert metrics["process_resident_memory_bytes"].samples[0].value > 0
    assert {
        "process_cpu_seconds",
        "process_open_fds",
        "python_info",
        "python_gc_collections",
    } <= metrics.keys()


def test_the_document_says_that_it_is_text(new_stage: NewStage) -> None:
    document = json.loads(new_stage().admin.get("/openapi.json").text)
    content = document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert list(content) == ["text/plain; version=0.0.4; charset=utf-8"]
