"""A database as release 1.0.0 left it, brought to the newest revision: nothing is lost, and work goes on."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from bridge.core.delivery import Attempt, Trigger
from bridge.core.watch import Outcome, State, Watch
from bridge.db import breakers, claims, clients, encryption, oauth_tokens, pagination, watches
from bridge.db.accounts import Accounts, Credentials
from bridge.db.engine import open_engine
from bridge.db.migrations import is_migrated, upgrade
from bridge.db.pagination import Order
from bridge.db.watch_filters import Filters
from tests.db.claiming import ONE, delivered, polled, saved, stored
from tests.db.first_release import (
    API_KEY,
    ATTEMPT,
    CIPHER,
    CLAIM_1_0_0,
    ENDED,
    IDS,
    KEEP_ANSWER_1_0_0,
    REGISTER_1_0_0,
    SAVE_1_0_0,
    WATCHES,
    a_row,
    insert,
    install_first_release,
    run,
)
from tests.hubspot_accounts import an_account
from tests.makers import NOW, SECRET, later
from tests.postgres import PostgresServer


@pytest.fixture(scope="module")
def old_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that each test gets a copy of."""
    path = tmp_path_factory.mktemp("first-release") / "bridge.db"
    install_first_release(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def old_postgres(postgres_server: PostgresServer) -> str:
    """The name of the database that each test gets a copy of."""
    install_first_release(postgres_server.create_database("bridge_first_release"))
    return "bridge_first_release"


@pytest.fixture(params=["sqlite", "postgresql"])
def upgraded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database of release 1.0.0 of each kind in turn, after the upgrade."""
    with ExitStack() as closing:
        if request.param == "sqlite":
            url = f"sqlite:///{shutil.copy(request.getfixturevalue('old_sqlite'), tmp_path)}"
        else:
            server, name = request.getfixturevalue("postgres_server"), f"upgrade_{uuid4().hex}"
            url = server.create_database(name, template=request.getfixturevalue("old_postgres"))
            closing.callback(server.drop_database, name)
        engine = open_engine(url)
        closing.callback(engine.dispose)
        upgrade(engine)
        yield engine


def by_state(engine: Engine, state: State) -> list[str]:
    with engine.begin() as connection:
        found = pagination.page(
            connection, Filters(state=[state]), order=Order.CREATED_AT, cursor=None, limit=250
        )
    return [watch.id for watch in found.watches]


def claimed(engine: Engine, state: State, lane: str, *, at: float = 0) -> list[Watch]:
    with engine.begin() as connection:
        return claims.claim(connection, state, {lane: 250}, ONE, later(at))


def test_the_database_is_migrated(upgraded: Engine) -> None:
    with upgraded.begin() as connection:
        assert is_migrated(connection)


def test_every_watch_is_read_as_it_was_written(upgraded: Engine) -> None:
    with upgraded.begin() as connection:
        for row in WATCHES:
            found = watches.get(connection, row["id"])
            assert found is not None
            expected = {name: value for name, value in row.items() if name != "registration_key"}
            assert {name: getattr(found, name) for name in expected} == expected
            assert isinstance(found.state, State)
            assert found.outcome is None or isinstance(found.outcome, Outcome)


def test_every_state_and_outcome_is_among_them() -> None:
    """What a later release adds, no database of release 1.0.0 can hold."""
    assert {row["state"] for row in WATCHES} == {
        "watching",
        "delivering",
        "delivered",
        "undelivered",
        "withdrawn",
    }
    assert len({row["outcome"] for row in WATCHES} - {None}) == 6


def test_each_state_is_listed(upgraded: Engine) -> None:
    listed = {state: by_state(upgraded, state) for state in State}
    assert listed[State.WATCHING] == IDS[2::-1]
    assert listed[State.DELIVERING] == IDS[4:2:-1]
    assert listed[State.DELIVERED] == [*IDS[:7:-1], IDS[5]]
    assert listed[State.UNDELIVERED] == [IDS[6]]
    assert listed[State.WITHDRAWN] == [IDS[7]]


def test_a_worker_goes_on_with_every_open_watch(upgraded: Engine) -> None:
    for state, lane, due in (
        (State.WATCHING, "default", IDS[:3]),
        (State.DELIVERING, "app.example.com", IDS[3:5]),
    ):
        found = claimed(upgraded, state, lane) + claimed(upgraded, state, lane, at=700)
        assert {watch.id for watch in found} == set(due)


def test_what_a_worker_claims_it_can_save(upgraded: Engine) -> None:
    [first, second] = claimed(upgraded, State.WATCHING, "default")
    assert len(saved(upgraded, polled(first), polled(second))) == 2
    assert stored(upgraded, first).polls == 4
    again, tried = sorted(claimed(upgraded, State.DELIVERING, "app.example.com"), key=lambda w: w.attempts)
    assert len(saved(upgraded, delivered(again), delivered(tried))) == 2
    assert stored(upgraded, tried).state is State.DELIVERED
    with upgraded.begin() as connection:
        assert [attempt.number for attempt in watches.attempts_of(connection, tried.id)] == [1, 2]


def test_attempts_and_answers_are_kept(upgraded: Engine) -> None:
    with upgraded.begin() as connection:
        assert watches.answers_of(connection, IDS) == {IDS[5]: '{"status": "COMPLETE"}'}
        assert watches.attempts_of(connection, IDS[6]) == [
            Attempt(watch_id=IDS[6], trigger=Trigger.MANUAL, status_code=410, **ATTEMPT)
        ]


def test_the_secrets_still_open(upgraded: Engine) -> None:
    with upgraded.begin() as connection:
        encryption.check_keys(connection, CIPHER)
        assert clients.by_keys(connection, [API_KEY])[API_KEY].name == "cms"
        secrets = clients.secrets_of(connection, ["cms"], NOW)
        assert [CIPHER.decrypt(token) for token in secrets["cms"]] == [SECRET]
        shop = Accounts(an_account("https://api.hubapi.com"), CIPHER).load(connection, ["shop"])["shop"]
        tokens = oauth_tokens.read(connection, CIPHER, "default", "an-origin")
    assert shop.credentials == Credentials(access_token="pat-of-release-1.0.0")
    assert (shop.api_version, shop.rate.requests, shop.rate.share) == ("2026-03", 190, 0.25)
    assert tokens is not None
    assert tokens.issued is not None
    assert (tokens.issued.access_token, tokens.issued.refresh_token) == ("an-access-token", "a-refresh-token")


def test_a_pause_goes_on(upgraded: Engine) -> None:
    with upgraded.begin() as connection:
        assert breakers.all_account_limits(connection)["shop"].breaker.paused_until == NOW + timedelta(
            seconds=30
        )


def test_the_release_before_goes_on_working_on_the_new_tables(upgraded: Engine) -> None:
    old = a_row(99, "watching", account="old", due_at=NOW)
    with upgraded.begin() as connection:
        assert run(connection, REGISTER_1_0_0, old).all() == [(old["registration_key"],)]
        assert run(connection, REGISTER_1_0_0, old).all() == []
        terms = {"now_at": NOW, "lease_ends_at": later(60)}
        assert run(connection, CLAIM_1_0_0, terms).all() == [(old["id"],)]
        ended = a_row(99, "delivering", account="old", due_at=later(5), **ENDED)
        assert run(connection, SAVE_1_0_0, ended).rowcount == 1
        for body in ("{}", '{"status": "COMPLETE"}'):
            run(connection, KEEP_ANSWER_1_0_0, {"watch_id": old["id"], "body": body})
        insert(
            connection, "attempts", {"watch_id": old["id"], "trigger": "manual", "status_code": 1, **ATTEMPT}
        )
        found = watches.get(connection, old["id"])
        assert found is not None
        assert (found.state, found.outcome, found.due_at) == ("delivering", "completed", later(5))
        assert len(watches.attempts_of(connection, old["id"])) == 1
