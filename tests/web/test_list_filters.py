"""The query of `GET /v1/watches`: what filters choose, and what is said of wrong parameters."""

from datetime import timedelta

import pytest

from tests.makers import NOW
from tests.web.api import Api, Caller, members, pointers, problem, tasks


def test_several_values_of_a_filter_may_come_as_one_parameter_or_as_several(api: Api) -> None:
    """Clients that are generated from the document write either."""
    client = api.client()
    for state in ("watching", "delivered", "withdrawn"):
        api.change(client.register(state)["id"], state=state)
    both = members(client.get("/v1/watches?state=watching,delivered"))
    apart = members(client.get("/v1/watches?state=watching&state=delivered"))
    assert [watch["task_id"] for watch in apart["watches"]] == ["delivered", "watching"]
    assert apart == both
    assert pointers(client.get("/v1/watches?limit=1&limit=2")) == ["/limit"]


@pytest.fixture
def varied(api: Api) -> Caller:
    """An admin, and watches that differ from each other in one thing each."""
    api.add_account("portal-2")
    client, other = api.client("cms"), api.client("shop")
    client.register("plain")
    client.register("other-kind", kind="crm-export")
    client.register("other-account", account="portal-2")
    client.register("other-host", callback_url="https://OTHER.example.com:8443/hook")
    ended = {
        "state": "delivered",
        "outcome": "completed",
        "due_at": None,
        "ended_at": NOW,
        "settled_at": NOW,
        "last_attempt_at": NOW,
    }
    api.change(client.register("ended")["id"], **ended)
    other.register("others")
    return api.admin


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"state": "delivered"}, ["ended"]),
        ({"state": "delivered", "outcome": "failed"}, []),
        ({"state": "delivered,withdrawn"}, ["ended"]),
        ({"outcome": "failed,completed"}, ["ended"]),
        ({"kind": "crm-export,crm-export,crm-import"}, ["other-kind"]),
        ({"ended_after": "2026-11-21T11:59:59Z"}, ["ended"]),
        ({"ended_before": "2026-11-21T11:59:59Z"}, []),
        (
            {"settled_after": "2026-11-21T11:59:59.999Z", "settled_before": "2026-11-21T12:00:00.001Z"},
            ["ended"],
        ),
        ({"last_attempt_after": "2026-11-21T11:59:59.999Z"}, ["ended"]),
        ({"last_attempt_after": "2026-11-21T12:00:00Z"}, []),
        ({"last_attempt_before": "2026-11-21T12:00:00.001Z"}, ["ended"]),
        ({"order": "ended_at"}, ["ended"]),
        ({"outcome": "completed"}, ["ended"]),
        ({"kind": "crm-export"}, ["other-kind"]),
        ({"account": "portal-2"}, ["other-account"]),
        ({"client": "shop"}, ["others"]),
        ({"client": "nobody"}, []),
        ({"task_id": "plain"}, ["plain"]),
        ({"task_id": "PLAIN"}, []),
        ({"callback_host": "other.example.com"}, ["other-host"]),
        ({"callback_host": "Other.Example.Com"}, ["other-host"]),
        ({"callback_host": "other.example.com:443"}, ["other-host"]),
        ({"callback_host": "nobody..example"}, []),
        (
            {"state": "watching", "client": "cms", "kind": "file-import", "account": "default"},
            ["other-host", "plain"],
        ),
    ],
)
def test_filters_choose_what_has_all_of_them(varied: Caller, query: dict[str, str], found: list[str]) -> None:
    assert tasks(varied, **query) == found


@pytest.mark.parametrize(
    ("host", "spellings"),
    [("bücher.example", ["bücher.example", "xn--bcher-kva.example"]), ("[::1]", ["::1", "[::1]"])],
)
def test_a_host_is_found_however_it_is_spelled(sqlite_api: Api, host: str, spellings: list[str]) -> None:
    client = sqlite_api.client()
    client.register(callback_url=f"https://{host}/hooks")
    for spelling in spellings:
        assert tasks(client, callback_host=spelling) == ["AAAAEZ6whGI"]


def test_created_after_and_before_leave_their_instants_out(api: Api) -> None:
    client = api.client()
    instants = [client.register(f"task-{number}")["created_at"] for number in range(3)]
    assert tasks(client, created_after=instants[0]) == ["task-2", "task-1"]
    assert tasks(client, created_before=instants[2]) == ["task-1", "task-0"]
    assert tasks(client, created_after=instants[0], created_before=instants[2]) == ["task-1"]
    hour = timedelta(hours=1)
    assert tasks(client, created_after=(NOW - hour).isoformat().replace("+00:00", "-00:00"), limit=1)


@pytest.mark.parametrize("never", ["3112-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
def test_an_instant_that_never_comes_bounds_nothing(api: Api, never: str) -> None:
    client = api.client()
    client.register("task-0")
    assert tasks(client, created_before=never) == ["task-0"]
    assert tasks(client, created_after=never) == []
    assert tasks(client, order="ended_at", created_before=never, ended_before=never) == []
    assert tasks(client, created_after="0001-01-01T00:00:00Z") == ["task-0"]
    assert tasks(client, created_before="0001-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "instant",
    [
        "2026-11-21T12:00:00Z",
        "2026-11-21t12:00:00z",
        "2026-11-21t12:00:00.000000000z",
        "2026-11-21t14:00:00+02:00",
        "2026-11-21T12:00:00-00:00",
        "2026-11-21T11:59:60Z",
    ],
)
def test_an_instant_may_be_written_in_any_way_of_rfc_3339(sqlite_api: Api, instant: str) -> None:
    client = sqlite_api.client()
    watch = client.register()
    sqlite_api.change(watch["id"], created_at=NOW, state="delivered", due_at=None, settled_at=NOW)
    later = NOW + timedelta(milliseconds=1)
    assert tasks(client, created_after=instant) == []
    sqlite_api.change(watch["id"], created_at=later)
    assert tasks(client, created_after=instant) == [watch["task_id"]]
    redelivery = client.post("/v1/watches/redeliver", {"created_after": instant, "dry_run": True})
    assert members(redelivery) == {"count": 1}


def test_only_an_admin_may_filter_by_client(sqlite_api: Api) -> None:
    problem(sqlite_api.client("cms").get("/v1/watches", client="cms"), 403)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=251", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=1.0", "/limit"),
        ("limit=%2B1", "/limit"),
        ("limit=1_0", "/limit"),
        ("limit=%D9%A1", "/limit"),
        ("limit=99999999999999999999", "/limit"),
        ("limit=", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("state=asleep", "/state"),
        ("state=", "/state"),
        ("outcome=COMPLETED", "/outcome"),
        ("state=watching,", "/state"),
        ("state=watching, delivered", "/state"),
        ("outcome=completed;failed", "/outcome"),
        ("kind=file-import,folder", "/kind"),
        ("order=settled_at", "/order"),
        ("order=settled_at&cursor=MS53YXRfMDEyMzQ1Njc4OQ", "/order"),
        ("order=", "/order"),
        ("ended_after=today", "/ended_after"),
        ("settled_before=1", "/settled_before"),
        ("order=ended_at&cursor=d2F0XzAxMjM0NTY3ODk", "/cursor"),
        ("cursor=MS53YXRfMDEyMzQ1Njc4OQ", "/cursor"),
        ("kind=folder", "/kind"),
        ("account=a%20b", "/account"),
        ("client=%00", "/client"),
        ("task_id=a%20b", "/task_id"),
        ("task_id=%00", "/task_id"),
        ("callback_host=%00", "/callback_host"),
        ("callback_host=a.example/hooks", "/callback_host"),
        ("callback_host=user@a.example", "/callback_host"),
        ("created_after=yesterday", "/created_after"),
        ("created_after=2026-11-21", "/created_after"),
        ("created_after=2026-11-21T12:00:00", "/created_after"),
        ("created_after=2026-11-21T12:00:00+02:00", "/created_after"),
        ("created_after=2026-13-21T12:00:00Z", "/created_after"),
        ("created_before=0001-01-01T00:00:00%2B14:00", "/created_before"),
        ("created_before=9999-12-31T23:59:59-14:00", "/created_before"),
        ("cursor=", "/cursor"),
        ("cursor=garbage", "/cursor"),
        ("cursor=d2F0", "/cursor"),
        ("cursor=%00", "/cursor"),
        ("cursor=%F0%9F%92%A9", "/cursor"),
        ("cursor=" + "d2F0XzEx" * 20, "/cursor"),
        ("status=watching", "/status"),
        ("state=watching&State=watching", "/State"),
    ],
)
def test_a_wrong_parameter_is_named(refused: Caller, query: str, pointer: str) -> None:
    response = refused.get(f"/v1/watches?{query}")
    assert pointers(response) == [pointer]


def test_every_wrong_parameter_is_named(refused: Caller) -> None:
    query = "limit=1&limit=0&state=lost&created_after=yesterday&colour=red"
    told = pointers(refused.get(f"/v1/watches?{query}"))
    assert told == ["/limit", "/state", "/created_after", "/colour"]
