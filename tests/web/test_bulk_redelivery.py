"""`POST /v1/watches/redeliver`."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from bridge.core.watch import State
from bridge.db.tables import watches
from tests.makers import NOW
from tests.web.api import URL, Api, Caller, Serve, members, pointers, problem

PATH = "/v1/watches/redeliver"


def settled(api: Api, client: Caller, task_id: str, state: str = "undelivered", **others: Any) -> str:
    """A watch whose callback was tried, and its id."""
    watch_id: str = client.register(task_id, **others)["id"]
    api.change(watch_id, state=state, outcome="failed", due_at=None, settled_at=NOW, tries=3, attempts=3)
    return watch_id


def with_three_settled(serve: Serve) -> tuple[Api, Caller]:
    """A client that may have two watches open, and has three that are undelivered."""
    api = serve(open_watch_limit=2)
    client = api.client()
    for number in range(3):
        settled(api, client, f"task-{number}")
        api.clock.passes(2)
    return api, client


def states(api: Api) -> dict[str, str]:
    page = members(api.admin.get("/v1/watches", limit=250))["watches"]
    return {watch["task_id"]: watch["state"] for watch in page}


def test_what_the_filters_mean_is_delivered_again(api: Api) -> None:
    client = api.client()
    settled(api, client, "a")
    settled(api, client, "b", state="delivered")
    settled(api, client, "elsewhere", callback_url="https://other.example.com/")
    client.register("open")
    response = client.post(PATH, {"callback_host": "app.example.com"})
    assert (response.status_code, members(response)) == (202, {"count": 2})
    assert states(api) == {
        "a": "delivering",
        "b": "delivering",
        "elsewhere": "undelivered",
        "open": "watching",
    }


def test_each_watch_is_changed_as_if_it_were_redelivered_alone(api: Api) -> None:
    client = api.client()
    alone, one_of_many = settled(api, client, "alone"), settled(api, client, "one-of-many")
    client.post(f"/v1/watches/{alone}/redeliver")
    client.post(PATH, {"task_id": "one-of-many"})
    kept = [c for c in watches.c if c.name not in ("id", "task_id", "due_at", "registration_key")]
    with api.dependencies.engine.begin() as connection:
        rows = connection.execute(select(*kept).order_by(watches.c.id)).all()
        due = connection.execute(select(func.count()).where(watches.c.due_at > NOW)).scalar_one()
    assert due == 2
    different = ("created_at", "age_zero_at", "deadline_at")
    first, second = ({k: v for k, v in row._mapping.items() if k not in different} for row in rows)
    assert first == second
    assert first["manual"]
    assert {alone, one_of_many} == {watch["id"] for watch in members(client.get("/v1/watches"))["watches"]}


def test_a_dry_run_only_counts(api: Api) -> None:
    client = api.client()
    settled(api, client, "a")
    client.register("open")
    response = client.post(PATH, {"kind": "file-import", "dry_run": True})
    assert (response.status_code, members(response)) == (200, {"count": 1})
    assert states(api)["a"] == "undelivered"


def test_a_client_redelivers_its_own_watches_and_an_admin_anybodys(api: Api) -> None:
    client, other = api.client("a"), api.client("b")
    settled(api, client, "a")
    settled(api, other, "b")
    assert members(client.post(PATH, {"state": "undelivered", "dry_run": True})) == {"count": 1}
    assert members(api.admin.post(PATH, {"state": "undelivered", "dry_run": True})) == {"count": 2}
    assert members(api.admin.post(PATH, {"client": "b"})) == {"count": 1}
    assert states(api) == {"a": "undelivered", "b": "delivering"}


def test_only_an_admin_may_name_a_client(refused: Caller) -> None:
    problem(refused.post(PATH, {"client": "refused"}), 403)


@pytest.mark.parametrize("state", [State.WATCHING, State.DELIVERING, State.WITHDRAWN])
def test_a_filter_that_means_nothing_settled_redelivers_nothing(api: Api, state: State) -> None:
    client = api.client()
    client.register()
    assert members(client.post(PATH, {"state": state})) == {"count": 0}


def test_the_instants_are_filters_too(api: Api) -> None:
    client = api.client()
    settled(api, client, "before")
    api.clock.passes(60)
    between = api.clock()
    settled(api, client, "after")
    assert members(client.post(PATH, {"created_after": between.isoformat()})) == {"count": 1}
    assert states(api)["before"] == "undelivered"


@pytest.mark.parametrize("body", [{}, {"dry_run": True}, {"state": None}])
def test_without_any_filter_nothing_is_redelivered(refused: Caller, body: dict[str, Any]) -> None:
    assert pointers(refused.post(PATH, body)) == [""]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"state": "lost"}, "/state"),
        ({"state": ["delivered", "lost"]}, "/state"),
        ({"state": []}, "/state"),
        ({"outcome": 17}, "/outcome"),
        ({"created_after": 17}, "/created_after"),
        ({"created_after": "2026-11-21T12:00"}, "/created_after"),
        ({"account": "\x00"}, "/account"),
        ({"task_id": "\ud800"}, "/task_id"),
        ({"callback_host": "\ud800"}, "/callback_host"),
        ({"state": "delivered", "dry_run": "yes"}, "/dry_run"),
        ({"state": "delivered", "dry_run": 1}, "/dry_run"),
        ({"state": "delivered", "limit": 5}, "/limit"),
        ({"state": "delivered", "dry-run": True}, "/dry-run"),
    ],
)
def test_a_wrong_filter_is_named(refused: Caller, body: dict[str, Any], pointer: str) -> None:
    assert pointers(refused.post(PATH, body)) == [pointer]


def test_every_fault_of_a_redelivery_is_named(refused: Caller) -> None:
    assert pointers(refused.post(PATH, {"stat": "delivered", "dry_run": 1})) == ["/dry_run", "/stat", ""]


def test_more_than_a_transactions_worth_is_redelivered_whole(api: Api) -> None:
    client = api.client()
    items = [{"task_id": f"task-{number}", "callback_url": URL} for number in range(1_000)]
    client.post("/v1/watches/batch", {"watches": items})
    later = [{"task_id": f"task-{number}", "callback_url": URL} for number in range(1_000, 1_500)]
    client.post("/v1/watches/batch", {"watches": later})
    api.execute(watches.update().values(state="delivered", due_at=None, settled_at=NOW - timedelta(days=1)))
    assert members(client.post(PATH, {"state": "delivered"})) == {"count": 1_500}
    summary = members(client.get("/v1/summary"))["states"]
    assert (summary["delivering"], summary["delivered"]) == (1_500, 0)


def test_a_client_may_not_redeliver_more_than_it_may_have_open_and_an_admin_may(serve: Serve) -> None:
    api, client = with_three_settled(serve)
    wanted = {"state": "undelivered"}
    problem(client.post("/v1/watches/redeliver", wanted), 429)
    assert members(client.post("/v1/watches/redeliver", wanted | {"dry_run": True})) == {"count": 3}
    some = client.post("/v1/watches/redeliver", wanted | {"task_id": "task-0"})
    assert (some.status_code, members(some)) == (202, {"count": 1})
    problem(client.post("/v1/watches/redeliver", wanted), 429)
    assert members(api.admin.post("/v1/watches/redeliver", wanted)) == {"count": 2}


def test_more_than_may_ever_be_open_is_told_to_narrow_the_filters_and_not_to_wait(serve: Serve) -> None:
    _, client = with_three_settled(serve)
    response = client.post(PATH, {"state": "undelivered"})
    told = problem(response, 429)
    assert (told["type"], told["limit"]) == ("/problems/too-many-open-watches", 2)
    assert (
        told["detail"] == "The filters match 3 watches, and this client may have 2 open: narrow the filters."
    )
    assert "Retry-After" not in response.headers
    assert "retry_after_seconds" not in told
    assert client.post(PATH, {"task_id": "task-0"}).status_code == 202
    waiting = client.post(PATH, {"created_after": NOW.isoformat(), "state": "undelivered"})
    assert waiting.headers["Retry-After"] == "60"


@pytest.mark.parametrize("whose", [{}, {"client": "cms"}])
def test_what_an_admin_redelivers_counts_for_the_clients_whose_it_is(
    serve: Serve, whose: dict[str, str]
) -> None:
    api = serve(open_watch_limit=2)
    client = api.client()
    settled(api, client, "settled")
    api.clock.passes(60)  # until the open ones are counted anew
    client.register("open")
    assert members(api.admin.post(PATH, {"state": "undelivered"} | whose)) == {"count": 1}
    problem(client.post("/v1/watches", {"task_id": "one-more", "callback_url": URL}), 429)
