"""`python -m bridge doctor`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, insert, update

from bridge.core.operator_events import OperatorEventType, new_event
from bridge.db import operator_events
from bridge.db.encryption import Cipher
from bridge.db.tables import accounts, signing_secrets
from bridge.sandbox import Sandbox
from tests.commands.conftest import Commands, add_watch
from tests.commands.test_status import beat
from tests.http.receiver import Receiver, Visit
from tests.makers import NOW, SECRET
from tests.ports import free_port

LOOPBACK = {"BRIDGE_CALLBACK_ALLOW": "127.0.0.0/8", "BRIDGE_CALLBACK_HTTPS_ONLY": "false"}


def answers(_: Receiver, visit: Visit) -> None:
    visit.read_request()
    visit.send(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")


def wrong(commands: Commands) -> dict[str, str]:
    """What is wrong, by the name of the check."""
    done = commands.run("doctor")
    assert done.returncode == 1
    assert done.stderr == "Something is wrong.\n"
    lines = (line.partition("  ") for line in done.stdout.splitlines())
    return dict(rest.strip().split(": ", 1) for word, _, rest in lines if word == "wrong")


def test_where_all_is_well_each_line_says_ok(commands: Commands, database: Engine, hubspot: Sandbox) -> None:
    commands.env |= {"HUBSPOT_BASE_URL": hubspot.url, "HUBSPOT_ACCESS_TOKEN": "sandbox-token", **LOOPBACK}
    beat(database, "worker-1")
    with Receiver(answers) as receiver:
        add_watch(database, "wat_00000001", callback_url=receiver.url(), callback_host="127.0.0.1")
        told = commands.said("doctor")
        checks = commands.json("doctor")
    assert all(line.startswith("ok  ") for line in told.splitlines())
    assert checks["ok"]
    assert [check["name"] for check in checks["checks"]] == [
        "settings",
        "database",
        "encryption key",
        "HubSpot account default",
        "clock",
        f"callbacks to 127.0.0.1:{receiver.port}",
        "workers",
    ]
    assert hubspot.state.ledger()["status_codes"] == {"200": 2}


def test_the_way_to_the_operator_is_tried_and_what_waits_is_told(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine
) -> None:
    def told(port: int) -> dict[str, Any]:
        url = f"http://127.0.0.1:{port}/hush"
        commands = on_sqlite(BRIDGE_OPERATOR_URL=url, BRIDGE_OPERATOR_SECRET=SECRET, **LOOPBACK)
        done = commands.run("doctor", "--json")
        assert "hush" not in done.stdout
        checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        found: dict[str, Any] = checks["operator webhooks"]
        return found

    with Receiver(answers) as receiver:
        assert told(receiver.port)["detail"] == "the receiver's server answers"
    with sqlite_database.begin() as connection:
        event = new_event(OperatorEventType.HOST_PAUSED, "app.example.com", None, NOW)
        operator_events.add(connection, [event])
    found = told(free_port())
    assert not found["ok"]
    assert "refused" in found["detail"]
    assert found["detail"].startswith("events that wait: 1, since 2026-11-21T12:00:00.000000Z; ")


def test_wrong_settings_are_told_and_end_it(on_sqlite: Callable[..., Commands]) -> None:
    found = wrong(on_sqlite(BRIDGE_CONCURRENCY="many", HUBSPOT_TIMEOUT="0"))
    assert "BRIDGE_CONCURRENCY" in found["settings"]
    assert "HUBSPOT_TIMEOUT" in found["settings"]


def test_a_database_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    found = wrong(Commands(DATABASE_URL=f"sqlite:///{tmp_path}/none.db"))
    assert "python -m bridge migrate" in found["database and encryption key"]
    assert not list(tmp_path.iterdir())


def test_a_key_that_does_not_fit_is_told(commands: Commands) -> None:
    commands.said("clients", "add", "cms")
    commands.env["BRIDGE_SECRET_KEY"] = Fernet.generate_key().decode()
    assert "BRIDGE_SECRET_KEY" in wrong(commands)["database and encryption key"]


def test_secrets_that_another_key_has_encrypted_are_told_by_their_owners(
    commands: Commands, database: Engine
) -> None:
    for client in ("cms", "shop"):
        commands.said("clients", "add", client)
    token = Cipher([Fernet.generate_key().decode()]).encrypt(SECRET)
    with database.begin() as connection:
        connection.execute(
            update(signing_secrets).where(signing_secrets.c.client == "shop").values(secret=token)
        )
        connection.execute(
            insert(accounts).values(name="eu", credentials=token, created_at=NOW, updated_at=NOW)
        )
    told = wrong(commands)["encryption key"]
    assert "not in BRIDGE_SECRET_KEY: account eu, client shop. Add that key" in told


def test_a_key_file_that_is_damaged_is_told(tmp_path: Path) -> None:
    commands = Commands(DATABASE_URL=f"sqlite:///{tmp_path}/bridge.db")
    commands.said("migrate")
    (tmp_path / "bridge.db.key").write_bytes(b"\xff")
    assert "holds no key that can be read" in wrong(commands)["database and encryption key"]


def test_without_credentials_and_workers_it_says_how_to_have_them(on_sqlite: Callable[..., Commands]) -> None:
    found = wrong(on_sqlite())
    assert "HUBSPOT_ACCESS_TOKEN" in found["HubSpot"]
    assert "python -m bridge worker" in found["workers"]


def test_without_watches_it_says_that_no_callback_could_be_tried(
    on_sqlite: Callable[..., Commands], hubspot: Sandbox, sqlite_database: Engine
) -> None:
    beat(sqlite_database, "worker-1")
    commands = on_sqlite(HUBSPOT_BASE_URL=hubspot.url, HUBSPOT_ACCESS_TOKEN="sandbox-token")
    [line] = [line for line in commands.said("doctor").splitlines() if "callbacks" in line]
    assert line.startswith("-      callbacks: nothing to try yet: ")
    told = commands.json("doctor")
    assert told["ok"]
    assert {check["name"]: check["ok"] for check in told["checks"]}["callbacks"] is None


def test_a_database_that_can_only_be_read_is_told_beside_all_other_checks(
    postgres_url: str, hubspot: Sandbox
) -> None:
    commands = Commands(DATABASE_URL=postgres_url, BRIDGE_SECRET_KEY=Fernet.generate_key().decode())
    commands.env |= {"HUBSPOT_BASE_URL": hubspot.url, "HUBSPOT_ACCESS_TOKEN": "sandbox-token"}
    commands.env["PGOPTIONS"] = "-c default_transaction_read_only=on"
    done = commands.run("doctor", "--json")
    assert (done.returncode, done.stderr) == (1, "Something is wrong.\n")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert not checks["HubSpot account default"]["ok"]
    assert "can only be read at the moment" in checks["HubSpot account default"]["detail"]
    assert list(checks)[-2:] == ["callbacks", "workers"]


def test_a_database_that_fails_one_check_is_told_in_its_place(postgres_url: str) -> None:
    commands = Commands(DATABASE_URL=postgres_url, BRIDGE_SECRET_KEY=Fernet.generate_key().decode())
    commands.env["PGOPTIONS"] = "-c lock_timeout=100ms"
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE watches, workers")
        done = commands.run("doctor", "--json")
    assert (done.returncode, done.stderr) == (1, "Something is wrong.\n")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    for name in ("callbacks", "workers"):
        assert checks[name]["detail"].startswith("The database is busy.")


def test_a_scope_that_is_missing_is_named(on_sqlite: Callable[..., Commands], hubspot: Sandbox) -> None:
    hubspot.state.set_fault("403-scopes")
    found = wrong(on_sqlite(HUBSPOT_BASE_URL=hubspot.url, HUBSPOT_ACCESS_TOKEN="sandbox-token"))
    assert "one of the scopes files" in found["HubSpot account default"]


@pytest.mark.parametrize(
    ("date", "words"),
    [
        ("Sat, 21 Nov 2020 12:00:00 GMT", "ahead of HubSpot's"),
        ("Sat, 21 Nov 2099 12:00:00 GMT", "behind HubSpot's"),
    ],
)
def test_a_clock_that_is_off_is_told(on_sqlite: Callable[..., Commands], date: str, words: str) -> None:
    def tells(_: Receiver, visit: Visit) -> None:
        visit.read_request()
        visit.send(f"HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\n\r\n{{}}".encode())

    with Receiver(tells) as receiver:
        env: dict[str, Any] = {"HUBSPOT_BASE_URL": receiver.url(path=""), "HUBSPOT_ACCESS_TOKEN": "x"}
        assert words in wrong(on_sqlite(**env))["clock"]


@pytest.mark.parametrize(
    ("url", "server", "words"),
    [
        (f"http://127.0.0.1:{(closed := free_port())}/hook", f"127.0.0.1:{closed}", "refused"),
        ("http://no-such-host.invalid/hook", "no-such-host.invalid:80", "DNS"),
    ],
    ids=["port", "name"],  # the port is another one in each process of the tests
)
def test_a_receiver_that_cannot_be_reached_is_told_with_why(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine, url: str, server: str, words: str
) -> None:
    add_watch(sqlite_database, "wat_00000001", callback_url=url)
    assert words in wrong(on_sqlite(**LOOPBACK))[f"callbacks to {server}"]


def test_each_server_is_named_once_with_its_port(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine
) -> None:
    ports = [free_port() for _ in range(2)]
    for number, port in enumerate((*ports, *ports)):
        url = f"http://127.0.0.1:{port}/hook/{number}"
        add_watch(sqlite_database, f"wat_{number:08}", callback_url=url, callback_host="127.0.0.1")
    for number, url in enumerate(("https://localhost/", "https://LOCALHOST:443/"), 4):
        add_watch(sqlite_database, f"wat_{number:08}", callback_url=url, callback_host="localhost")
    named = [name for name in wrong(on_sqlite(**LOOPBACK)) if name.startswith("callbacks to ")]
    here = [f"callbacks to 127.0.0.1:{port}" for port in ports]
    assert sorted(named) == sorted([*here, "callbacks to localhost:443"])
