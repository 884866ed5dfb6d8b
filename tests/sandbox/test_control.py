"""The control routes: tasks, ledger, options, reset."""

import pytest

from bridge.sandbox import Kind, SandboxOptions, create_app
from tests.sandbox.caller import Caller, Clock


def test_a_task_of_any_kind_can_be_made(hubspot: Caller) -> None:
    for kind in Kind:
        answer = hubspot.control("tasks", {"kind": kind})
        assert answer.status_code == 201
        assert hubspot.status(answer.json()["id"], kind).status_code in (200, 202)


def test_a_task_has_the_outcome_and_durations_it_was_made_with(hubspot: Caller, clock: Clock) -> None:
    body = {"outcome": "canceled", "pending_seconds": 10, "processing_seconds": 20}
    task_id = hubspot.control("tasks", body).json()["id"]
    seen = []
    for seconds in (9.9, 0.1, 19.9, 0.1):
        clock.passes(seconds)
        seen.append(hubspot.status(task_id).json()["status"])
    assert seen == ["PENDING", "PROCESSING", "PROCESSING", "CANCELED"]


def test_a_duration_may_be_zero(hubspot: Caller) -> None:
    task_id = hubspot.control("tasks", {"pending_seconds": 0, "processing_seconds": 0}).json()["id"]
    assert hubspot.status(task_id).json()["status"] == "COMPLETE"


def test_many_tasks_can_be_made_at_once(hubspot: Caller) -> None:
    document = hubspot.control("tasks", {"count": 1000, "outcome": "stuck"}).json()
    assert len(set(document["ids"])) == 1000
    assert document["id"] == document["ids"][0]
    assert hubspot.status(document["ids"][-1]).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "source-code-extract", "outcome": "failed"},
        {"kind": "crm-import", "outcome": "completed_with_errors"},
        {"outcome": "reverted"},
        {"outcome": "nonsense"},
        {"kind": "nonsense"},
        {"pending_seconds": -1},
        {"pending_seconds": 1e10},
        {"processing_seconds": 1e308},
        {"count": 0},
        {"count": 10**400},
        {"cuont": 1},
        [],
        None,
    ],
)
def test_a_task_that_makes_no_sense_is_refused(hubspot: Caller, body: object) -> None:
    answer = hubspot.control("tasks", body)
    assert (answer.status_code, bool(answer.json()["errors"])) == (400, True)


def test_the_ledger_counts_endpoints_status_codes_and_tasks(hubspot: Caller, clock: Clock) -> None:
    task_id = hubspot.started()
    hubspot.status(task_id)
    clock.passes(3)
    hubspot.status(task_id)
    hubspot.status("malformed")
    hubspot.status(task_id, token="wrong")
    hubspot.get("/nowhere")
    ledger = hubspot.control("ledger", method="GET").json()
    assert ledger["endpoints"] == {"start-import": 1, "file-import": 4, "no-route": 1}
    assert ledger["status_codes"] == {"202": 2, "200": 1, "400": 1, "401": 1, "404": 1}
    assert ledger["tasks"][task_id] == [clock.now - 3, clock.now, clock.now]


def test_the_ledger_knows_the_most_requests_in_any_rolling_window(hubspot: Caller, clock: Clock) -> None:
    for seconds in (0, 6, 3, 0.9, 0.1, 9):
        clock.passes(seconds)
        hubspot.status("AAAAEZ6whGI")
    accounts = hubspot.state.ledger()["accounts"]
    assert accounts == {"sandbox-token": {"requests": 6, "peak_requests": 4}}


def test_requests_over_the_limit_count_in_the_peak(hubspot: Caller) -> None:
    hubspot.state.change_options({"burst_requests": 2})
    for _ in range(5):
        hubspot.status("AAAAEZ6whGI")
    assert hubspot.state.ledger()["accounts"]["sandbox-token"]["peak_requests"] == 5


def test_what_another_app_takes_is_not_in_the_ledger(hubspot: Caller) -> None:
    hubspot.control("quota/take", {"token": "sandbox-token", "requests": 50})
    assert hubspot.state.ledger()["accounts"] == {}


def test_control_is_not_in_the_ledger(hubspot: Caller) -> None:
    for path in ("ledger", "nowhere"):
        hubspot.control(path, method="GET")
    assert hubspot.state.ledger()["endpoints"] == {}


def test_the_ledger_can_be_cleared_alone(hubspot: Caller) -> None:
    task_id = hubspot.started()
    assert hubspot.control("ledger", method="DELETE").status_code == 204
    assert hubspot.state.ledger()["endpoints"] == {}
    assert hubspot.status(task_id).status_code == 202


def test_options_can_be_read_and_changed(hubspot: Caller) -> None:
    shown = hubspot.control("options", {"pending_seconds": 0, "pending_body": "null"}, method="PATCH").json()
    assert (shown["pending_seconds"], shown["pending_body"], shown["processing_seconds"]) == (0, "null", 2)
    assert hubspot.control("options", method="GET").json() == shown
    assert hubspot.status(hubspot.started()).json()["status"] == "PROCESSING"


@pytest.mark.parametrize(
    "changes",
    [
        {"pending_secnods": 0},
        {"pending_seconds": 1e10},
        {"processing_seconds": 1e308},
        {"access_token_seconds": 10**400},
        {"burst_requests": 0},
        {"burst_requests": 10**400},
        {"burst_seconds": 0},
        {"burst_seconds": 1e-9},
        {"burst_seconds": 1e308},
        {"daily_requests": 10**400},
        {"clock": "noon"},
        [],
    ],
)
def test_a_wrong_option_is_refused_and_changes_nothing(hubspot: Caller, changes: object) -> None:
    before = hubspot.control("options", method="GET").json()
    assert hubspot.control("options", changes, method="PATCH").status_code == 400
    assert hubspot.control("options", method="GET").json() == before


@pytest.mark.parametrize("seconds", [0.001, 366 * 86_400])
def test_the_least_and_the_most_seconds_are_served(hubspot: Caller, seconds: float) -> None:
    options = {"access_token_seconds": max(1, int(seconds)), "burst_seconds": seconds}
    options |= {"pending_seconds": seconds, "processing_seconds": seconds}
    assert hubspot.control("options", options, method="PATCH").status_code == 200
    token = hubspot.refresh().json()["access_token"]
    assert hubspot.status(hubspot.started("slow.csv"), token=token).status_code == 202


def test_a_reset_forgets_everything(hubspot: Caller) -> None:
    task_id = hubspot.started()
    token = hubspot.refresh().json()["access_token"]
    hubspot.state.set_fault("500")
    hubspot.state.take_quota("sandbox-token", 100)
    hubspot.state.change_options({"burst_requests": 100, "pending_seconds": 0})
    assert hubspot.control("reset").status_code == 204
    assert hubspot.state.ledger()["endpoints"] == {}
    assert hubspot.status(task_id).status_code == 404
    assert hubspot.status(task_id, token=token).status_code == 401
    assert hubspot.status(hubspot.started()).json()["status"] == "PENDING"


def test_an_id_is_never_given_twice_even_after_a_reset(hubspot: Caller) -> None:
    before = {hubspot.started() for _ in range(5)}
    hubspot.control("reset")
    assert before.isdisjoint({hubspot.started() for _ in range(5)})


def test_only_loopback_may_control() -> None:
    client = create_app(SandboxOptions()).test_client()
    assert client.get("/sandbox/ledger", environ_base={"REMOTE_ADDR": "127.0.0.1"}).status_code == 200
    assert client.get("/sandbox/ledger", environ_base={"REMOTE_ADDR": "192.0.2.7"}).status_code == 403
