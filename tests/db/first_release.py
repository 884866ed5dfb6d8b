"""A database as release 1.0.0 left it, and the SQL of that release.

The rows are plain SQL, frozen as they were at revision 0001: they know nothing of today's tables.
"""

from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from typing import Any

from alembic import command
from alembic.config import Config
from cryptography.fernet import Fernet
from sqlalchemy import Connection, CursorResult, bindparam, text
from sqlalchemy.types import Date, DateTime

from bridge.db.encryption import Cipher
from bridge.db.engine import open_engine
from bridge.db.migrations import ROOT
from tests.makers import NOW, SECRET, later

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
    breaker = {"failures": 3, "paused_at": NOW, "paused_until": later(30), "pause_seconds": 30.0}
    breaker |= {"reason": "It answers 401.", "ramp": None}
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
                **breaker,
                "free_at": None,
                "headroom": 1.0,
                "daily_remaining": 5,
                "observed_at": NOW,
            }
        ],
        "host_gates": [{"name": "slow.example.com", **breaker}],
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
