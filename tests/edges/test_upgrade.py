"""A database as release 1.0.0 left it, brought to the newest revision: nothing is lost, and work goes on.

The rows are plain SQL, frozen as they were at revision 0001: they know nothing of today's tables.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from cryptography.fernet import Fernet
from sqlalchemy import Connection, CursorResult, Engine, bindparam, text
from sqlalchemy.types import Date, DateTime

from bridge.core.delivery import Attempt, Trigger
from bridge.core.watch import Outcome, State, Watch
from bridge.edges.accounts import Accounts, Credentials
from bridge.edges.database import open_engine
from bridge.edges.migrations import ROOT, is_migrated, upgrade
from bridge.edges.secrets import Cipher
from bridge.edges.store import canary, claims, clients, gates, listing, oauth_tokens, watches
from bridge.edges.store.listing import Filters
from tests.edges.claiming import ONE, delivered, polled, saved, standing
from tests.hubspot_accounts import an_account
from tests.makers import NOW, SECRET, later
from tests.postgres import PostgresServer

KEY = Fernet.generate_key().decode()
CIPHER = Cipher([KEY])
API_KEY = "hib_a-key-of-release-1.0.0"
CREDENTIALS = '{"access_token": "pat-of-release-1.0.0"}'
LONG_AGO = later(-90_000)

Rows = dict[str, list[dict[str, Any]]]


def a_row(number: int, state: str, **others: Any) -> dict[str, Any]:
    """A row of `watches` at revision 0001, with every column."""
    columns: dict[str, Any] = {
        "id": f"wat_{number:08}",
        "client": "cms",
        "account": "default",
        "kind": "file-import",
        "task_id": f"task-{number}",
        "callback_url": "https://app.example.com/hooks",
        "callback_host": "app.example.com",
        "metadata": '{"order":17}',
        "created_at": LONG_AGO,
        "deadline_at": later(86_400),
        "registration_key": f"{number:064}",
        "state": state,
        "outcome": None,
        "due_at": None,
        "claimed_by": None,
        "ended_at": None,
        "settled_at": None,
        "polls": 3,
        "last_polled_at": later(-60),
        "age_zero_at": LONG_AGO,
        "status": "PROCESSING",
        "refusals": 0,
        "failures": 0,
        "error": None,
        "last_error": None,
        "attempts": 0,
        "tries": 0,
        "manual": False,
        "last_attempt_at": None,
        "last_status_code": None,
    }
    assert others.keys() <= columns.keys()
    return columns | others


ENDED: dict[str, Any] = {"outcome": "completed", "status": "COMPLETE", "ended_at": later(-50)}
TRIED: dict[str, Any] = {"attempts": 1, "tries": 1, "last_attempt_at": later(-40)}
WATCHES = [
    a_row(1, "watching", due_at=later(-1)),
    a_row(2, "watching", due_at=later(600), refusals=2, last_error="HubSpot does not know the task."),
    # The worker of the old release died over these two.
    a_row(3, "watching", due_at=later(-5), claimed_by="old-worker"),
    a_row(4, "delivering", due_at=later(-5), claimed_by="old-worker", **ENDED),
    a_row(5, "delivering", due_at=later(-2), last_status_code=500, **ENDED, **TRIED),
    a_row(6, "delivered", settled_at=later(-40), last_status_code=204, **ENDED, **TRIED),
    a_row(7, "undelivered", settled_at=later(-40), last_status_code=410, **ENDED, **TRIED),
    a_row(8, "withdrawn", settled_at=later(-30), registration_key=None),
    *(
        a_row(
            number, "delivered", settled_at=later(-40), **ENDED | {"outcome": outcome, "error": "A reason."}
        )
        for number, outcome in enumerate(
            ("completed_with_errors", "failed", "canceled", "rejected", "timed_out"), 9
        )
    ),
]
IDS = [row["id"] for row in WATCHES]
ATTEMPT: dict[str, Any] = {
    "number": 1,
    "started_at": later(-40),
    "duration_ms": 12,
    "error": None,
    "response_excerpt": "no",
}


def the_rows() -> Rows:
    """What a bridge of release 1.0.0 had in its tables, in an order that foreign keys allow."""
    gate = {"failures": 3, "paused_at": NOW, "paused_until": later(30), "pause_seconds": 30.0}
    gate |= {"reason": "It answers 401.", "ramp": None}
    return {
        "clients": [
            {
                "name": "cms",
                "admin": False,
                "key_hash": sha256(API_KEY.encode()).hexdigest(),
                "key_prefix": "hib_a-ke",
                "created_at": LONG_AGO,
                "last_used_at": None,
                "revoked_at": None,
            }
        ],
        "signing_secrets": [
            {"client": "cms", "secret": CIPHER.encrypt(SECRET), "created_at": LONG_AGO, "expires_at": None}
        ],
        "canaries": [{"id": 1, "token": CIPHER.encrypt("the keys fit")}],
        "accounts": [
            {
                "name": "shop",
                "credentials": CIPHER.encrypt(CREDENTIALS),
                "base_url": None,
                "api_version": "2026-03",
                "rate_limit": "[190, 10.0]",
                "rate_share": 0.25,
                "created_at": LONG_AGO,
                "updated_at": LONG_AGO,
            }
        ],
        "oauth_tokens": [
            {
                "account": "default",
                "origin": "an-origin",
                "access_token": CIPHER.encrypt("an-access-token"),
                "refresh_token": CIPHER.encrypt("a-refresh-token"),
                "issued_at": NOW,
                "expires_at": later(1_800),
                "hold_until": None,
                "failure": None,
                "at_fault": False,
            }
        ],
        "account_gates": [
            {
                "name": "shop",
                **gate,
                "free_at": None,
                "headroom": 1.0,
                "daily_remaining": 5,
                "observed_at": NOW,
            }
        ],
        "host_gates": [{"name": "slow.example.com", **gate}],
        "account_days": [{"account": "shop", "day": date(2026, 11, 21), "requests": 7, "errors": 1}],
        "account_delays": [
            {
                "account": "shop",
                "day": date(2026, 11, 21),
                "bound_seconds": 2.0,
                "detections": 4,
                "delay_seconds": 5.5,
            }
        ],
        "workers": [{"id": "old-worker", "started_at": LONG_AGO, "ticked_at": later(-20)}],
        "watches": WATCHES,
        "answers": [{"watch_id": IDS[5], "body": '{"status": "COMPLETE"}'}],
        "attempts": [
            {"watch_id": IDS[4], "trigger": "schedule", "status_code": 500, **ATTEMPT},
            {"watch_id": IDS[6], "trigger": "manual", "status_code": 410, **ATTEMPT},
        ],
    }


# What release 1.0.0 says when it registers, claims and saves: while a new release is rolled out, it still does.
REGISTER_1_0_0 = """
    INSERT INTO watches (id, client, account, kind, task_id, callback_url, callback_host, metadata, created_at,
        deadline_at, registration_key, state, due_at, polls, age_zero_at, refusals, failures, attempts, tries,
        manual)
    VALUES (:id, :client, :account, :kind, :task_id, :callback_url, :callback_host, :metadata, :created_at,
        :deadline_at, :registration_key, :state, :due_at, :polls, :age_zero_at, :refusals, :failures, :attempts,
        :tries, :manual)
    ON CONFLICT (registration_key) DO NOTHING RETURNING registration_key
"""
CLAIM_1_0_0 = """
    UPDATE watches SET due_at = :lease_ends_at, claimed_by = 'old-worker'
    WHERE id IN (SELECT id FROM watches WHERE state = 'watching' AND account = 'old' AND due_at <= :now_at
        ORDER BY due_at LIMIT 9)
    RETURNING id
"""
SAVE_1_0_0 = """
    UPDATE watches SET state = :state, outcome = :outcome, due_at = :due_at, claimed_by = :claimed_by,
        ended_at = :ended_at, settled_at = :settled_at, polls = :polls, last_polled_at = :last_polled_at,
        age_zero_at = :age_zero_at, status = :status, refusals = :refusals, failures = :failures,
        error = :error, last_error = :last_error, attempts = :attempts, tries = :tries, manual = :manual,
        last_attempt_at = :last_attempt_at, last_status_code = :last_status_code
    WHERE id = :id
"""
KEEP_ANSWER_1_0_0 = """
    INSERT INTO answers (watch_id, body) VALUES (:watch_id, :body)
    ON CONFLICT (watch_id) DO UPDATE SET body = excluded.body
"""


def insert(connection: Connection, table: str, row: Mapping[str, Any]) -> None:
    names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
    run(connection, f"INSERT INTO {table} ({names}) VALUES ({places})", row)  # noqa: S608 -- the test's own names


def run(connection: Connection, statement: str, values: Mapping[str, Any]) -> CursorResult[Any]:
    # SQLite keeps instants as text without a zone: the plain types write what 1.0.0 wrote.
    kinds = {"_at": DateTime, "_until": DateTime, "day": Date}
    typed = [
        bindparam(name, type_=kind())
        for name in values
        for end, kind in kinds.items()
        if name.endswith(end) and f":{name}" in statement
    ]
    return connection.execute(text(statement).bindparams(*typed), values)


def install_first_release(url: str) -> None:
    """Leave the database as release 1.0.0 had it."""
    engine = open_engine(url)
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, rows in the_rows().items():
            for row in rows:
                insert(connection, table, row)
    engine.dispose()


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
        return [w.id for w in listing.page(connection, Filters(state=state), before=None, limit=250)]


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
    assert standing(upgraded, first).polls == 4
    again, tried = sorted(claimed(upgraded, State.DELIVERING, "app.example.com"), key=lambda w: w.attempts)
    assert len(saved(upgraded, delivered(again), delivered(tried))) == 2
    assert standing(upgraded, tried).state is State.DELIVERED
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
        canary.check(connection, CIPHER)
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
        assert gates.every_account(connection)["shop"].gate.paused_until == NOW + timedelta(seconds=30)


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
