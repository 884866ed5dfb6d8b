"""`python -m bridge status`."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import Engine, insert, make_url

from bridge import wiring
from bridge.core.counters import ATTEMPTS, DETECTION_DELAY, ENDED, REGISTRATIONS
from bridge.core.watch import Outcome, State
from bridge.db import heartbeats
from bridge.db.attention import MOST_NAMED
from bridge.db.counters import Counters
from bridge.db.tables import account_breakers, host_breakers
from tests.commands.conftest import ROOT, Commands, add_undelivered, add_watch
from tests.postgres import PostgresServer
from tests.reliability.processes import running
from tests.reliability.waiting import until

BREAKER: dict[str, Any] = {"failures": 5, "pause_seconds": 15.0, "reason": "The receiver answered 500."}


def beat(engine: Engine, worker: str, *, seconds_ago: float = 0) -> None:
    with engine.begin() as connection:
        heartbeats.record(connection, worker, wiring.now() - timedelta(seconds=seconds_ago))


def in_trouble(engine: Engine) -> None:
    """One of each sort of trouble; one worker is alive."""
    now = wiring.now()
    beat(engine, "worker-1", seconds_ago=600)
    beat(engine, "worker-2")
    add_undelivered(engine, "wat_00000001", callback_host="gone.example.com")
    add_undelivered(engine, "wat_00000002", callback_host="gone.example.com")
    long_ago = now - timedelta(days=2)
    add_undelivered(engine, "wat_00000003", callback_host="long.example.com", settled_at=long_ago)
    waiting: dict[str, Any] = {"state": State.DELIVERING, "outcome": Outcome.FAILED, "ended_at": now}
    add_watch(engine, "wat_00000004", callback_host="down.example.com", due_at=now, **waiting)
    overdue = now - timedelta(hours=1)
    add_watch(engine, "wat_00000005", callback_host="late.example.com", due_at=overdue, **waiting)
    add_watch(engine, "wat_00000006", account="late", due_at=overdue)
    pause: dict[str, Any] = {"paused_at": now, "paused_until": now + timedelta(minutes=15), **BREAKER}
    with engine.begin() as connection:
        connection.execute(insert(host_breakers).values(name="down.example.com", **pause))
        connection.execute(insert(account_breakers).values(name="shop", headroom=1.0, **pause))


def test_where_all_is_well_nobody_is_needed(commands: Commands, database: Engine) -> None:
    beat(database, "worker-1")
    told = commands.said("status")
    assert "Workers alive: 1." in told
    assert "Nothing needs a person." in told
    assert "\x1b" not in told
    assert not commands.json("status")["needs_a_person"]


def test_a_bridge_without_a_worker_needs_a_person(on_sqlite: Callable[..., Commands]) -> None:
    assert "No worker is alive" in on_sqlite().said("status")
    assert on_sqlite().json("status")["needs_a_person"]


def test_each_sort_of_trouble_is_told_with_why_and_what_to_do(commands: Commands, database: Engine) -> None:
    in_trouble(database)
    found = commands.json("status")
    assert found["needs_a_person"]
    assert [(account["name"], account["reason"]) for account in found["paused_accounts"]] == [
        ("shop", BREAKER["reason"])
    ]
    assert [(host["name"], host["waiting"]) for host in found["paused_hosts"]] == [("down.example.com", 1)]
    assert set(found["paused_hosts"][0]) == {"name", "since", "until", "reason", "waiting"}
    [given_up] = found["given_up_within_a_day"]
    assert set(given_up) == {"host", "callbacks", "last_at", "last_error"}
    assert (given_up["host"], given_up["callbacks"]) == ("gone.example.com", 2)
    assert list(found["overdue_accounts"]) == ["late"]
    assert list(found["overdue_hosts"]) == ["late.example.com"]
    assert [worker["id"] for worker in found["silent_workers"]] == ["worker-1"]
    assert set(found["silent_workers"][0]) == {"id", "ticked_at"}
    assert found["workers_alive"] == 1
    assert found["states"] == {"delivering": 2, "undelivered": 3, "watching": 1}
    told = commands.said("status")
    for words in (
        "accounts set",
        "accounts check",
        "down.example.com",
        "watches redeliver --all",
        "Overdue",
        "worker-1",
    ):
        assert words in told


def test_where_not_every_host_is_named_it_is_told(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine
) -> None:
    for number in range(MOST_NAMED + 1):
        add_undelivered(sqlite_database, f"wat_{number:08}", callback_host=f"gone-{number:02}.example.com")
    told = on_sqlite().said("status")
    assert f"gone-{MOST_NAMED:02}.example.com" in told
    assert "gone-00.example.com" not in told
    assert "Callbacks to other hosts were given up, too." in told


def test_where_not_all_that_is_overdue_is_named_it_is_told(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine
) -> None:
    overdue = wiring.now() - timedelta(hours=1)
    for number in range(MOST_NAMED + 1):
        add_watch(sqlite_database, f"wat_{number:08}", account=f"late-{number:02}", due_at=overdue)
    told = on_sqlite().said("status")
    assert told.count("late-") == MOST_NAMED
    assert "Other accounts are overdue, too." in told


def test_the_last_24_hours_are_summed_up(commands: Commands, database: Engine) -> None:
    beat(database, "worker-1")
    assert "The last 24 hours: 0 registered. Ended: none." in commands.said("status")
    counted = Counters()
    counted.inc(REGISTRATIONS, by=3)
    counted.inc(ENDED, Outcome.COMPLETED, by=2)
    counted.inc(ATTEMPTS, "2xx", "schedule", by=2)
    counted.inc(ATTEMPTS, "5xx", "schedule")
    for seconds in (2, 3):
        counted.observe(DETECTION_DELAY, seconds, "default")
    counted.flush(database, wiring.now())
    found = commands.json("status")["last_24_hours"]
    assert (found["registered"], found["ended"]) == (3, {"completed": 2})
    assert (found["attempts_accepted"], found["attempts_failed"]) == (2, 1)
    assert 1 <= found["detection_delay_seconds"]["p50"] <= found["detection_delay_seconds"]["p95"] <= 5
    assert found["delivery_delay_seconds"] is None
    told = commands.said("status")
    assert (
        "The last 24 hours: 3 registered. Ended: 2 completed.\nAttempts to deliver: 2 accepted, 1 failed."
        in told
    )
    assert "From HubSpot's end to ours: half within " in told
    assert "From end to delivery" not in told


def test_on_a_terminal_it_is_coloured_and_shown_again_until_the_person_has_seen_enough(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine
) -> None:
    beat(sqlite_database, "worker-1")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bridge", "status", "--watch"]
    process = subprocess.Popen(command, cwd=ROOT, env=on_sqlite().env, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    try:
        said, give_up_at = b"", time.monotonic() + 60
        while said.count(b"Nothing needs a person.") < 2 and time.monotonic() < give_up_at:
            if select.select([ours], [], [], 1)[0]:
                said += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
    assert said.count(b"\x1b[32mNothing needs a person.\x1b[0m") >= 2
    assert b"\x1b[H\x1b[2J" in said
    assert (process.returncode, complaint) == (130, b"")


def test_a_database_that_goes_away_is_told_and_asked_again(
    postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    env = Commands(DATABASE_URL=postgres_url, BRIDGE_SECRET_KEY=Fernet.generate_key().decode()).env
    database = str(make_url(postgres_url).database)
    with running(env, tmp_path / "log", "-m", "bridge", "status", "--watch") as status:
        until(lambda: "Watches: none yet." in status.log.read_text())
        postgres_server.close_database(database)
        until(lambda: "DATABASE_URL cannot be used" in status.log.read_text())
        postgres_server.open_database(database)

        def goes_on() -> bool:
            assert status.alive
            return "Watches: none yet." in status.log.read_text().rpartition("cannot be used")[2]

        until(goes_on)
        status.send(signal.SIGINT)
        assert status.wait() == 130


def test_status_reads_only_and_tells_what_is_missing(tmp_path: Any) -> None:
    refused = Commands(DATABASE_URL=f"sqlite:///{tmp_path}/none.db").run("status")
    assert refused.returncode == 1
    assert not list(tmp_path.iterdir())
