"""How many watches a client may have open: the limit, and what every response says of it."""

from typing import Any

from sqlalchemy import event

from bridge.db.engine import reading
from bridge.db.watches import count_open_watches
from bridge.web.registrar import Registrar
from tests.makers import a_registration
from tests.web.api import URL, Api, Serve, members, problem

BODY = {"task_id": "AAAAEZ6whGI", "callback_url": URL, "metadata": {"order": 17}}


def test_a_client_has_a_limited_number_of_watches_open(serve: Serve) -> None:
    api = serve(open_watch_limit=3)
    client, other = api.client("a"), api.client("b")
    found = [client.register(f"task-{number}") for number in range(3)]
    response = client.post("/v1/watches", BODY)
    told = problem(response, 429)
    assert "3 watches open" in told["detail"]
    assert (told["type"], told["limit"]) == ("/problems/too-many-open-watches", 3)
    assert response.headers["RateLimit-Policy"] == '"open-watches";q=3'
    assert response.headers["RateLimit"] == '"open-watches";r=0'
    assert int(response.headers["Retry-After"]) > 0
    other.register()
    client.delete(f"/v1/watches/{found[0]['id']}")
    api.clock.passes(2)
    client.register("one-more")


def test_every_answer_to_what_opens_watches_says_how_many_more_may_be_open(serve: Serve) -> None:
    api = serve(open_watch_limit=5)
    client = api.client()
    batch = {"watches": [BODY | {"task_id": task_id} for task_id in ("second", "third")]}
    for path, body, status, left in (
        ("/v1/watches", BODY, 201, 4),
        ("/v1/watches", BODY, 200, 4),
        ("/v1/watches", BODY | {"metadata": {"differs": True}}, 409, 4),
        ("/v1/watches/batch", batch, 200, 2),
        ("/v1/watches/redeliver", {"state": "delivered"}, 202, 2),
    ):
        response = client.post(path, body)
        assert response.status_code == status
        assert response.headers["RateLimit-Policy"] == '"open-watches";q=5'
        assert response.headers["RateLimit"] == f'"open-watches";r={left}'
    assert "RateLimit" not in client.get("/v1/watches").headers
    assert "RateLimit" not in api.client("b").post("/v1/watches", {}).headers


def test_what_is_registered_while_the_open_ones_are_counted_is_not_overlooked(api: Api) -> None:
    engine = api.dependencies.engine
    registrar = Registrar(engine, 1, api.clock, api.dependencies.counters)
    api.client("cms")
    new = [a_registration()]

    @event.listens_for(engine, "after_cursor_execute")
    def register_meanwhile(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "count(" in statement:
            registrar.register_many([new.pop()])

    assert registrar.available("cms", 1, api.clock()) == 0


def test_the_limit_holds_for_all_processes_together(api: Api) -> None:
    api.client("cms")
    made = [Registrar(api.dependencies.engine, 10, api.clock, api.dependencies.counters) for _ in range(2)]
    for number in range(30):
        registrar = made[number % 2]
        if registrar.available("cms", 1, api.clock()):
            registrar.register_many([a_registration(task_id=f"task-{number}")])
        api.clock.passes(0.02)
    with reading(api.dependencies.engine) as connection:
        assert count_open_watches(connection, "cms") == 10


def test_far_from_the_limit_open_watches_are_counted_every_few_seconds(api: Api) -> None:
    engine, counts = api.dependencies.engine, []
    registrar = Registrar(engine, 100_000, api.clock, api.dependencies.counters)
    api.client("cms")

    @event.listens_for(engine, "after_cursor_execute")
    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        counts.extend(["one"] if "count(" in statement else [])

    for _ in range(59):
        registrar.available("cms", 1_000, api.clock())
        api.clock.passes(1)
    assert len(counts) == 12


def test_at_the_limit_what_is_registered_already_is_answered_as_ever(serve: Serve) -> None:
    client = serve(open_watch_limit=1).client()
    watch = members(client.post("/v1/watches", BODY))
    problem(client.post("/v1/watches", BODY | {"task_id": "one-more"}), 429)
    again = client.post("/v1/watches", BODY)
    assert (again.status_code, members(again)["id"]) == (200, watch["id"])
    problem(client.post("/v1/watches", BODY | {"metadata": {"other": 1}}), 409)


def test_what_is_settled_does_not_count_as_open(serve: Serve) -> None:
    api = serve(open_watch_limit=2)
    client = api.client()
    for number in range(5):
        watch = client.register(f"task-{number}")
        api.change(watch["id"], state="delivered", due_at=None, settled_at=api.clock())
        api.clock.passes(2)
