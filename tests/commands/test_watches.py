"""`python -m bridge watches …`."""

import os
import pty
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from bridge.commands.arguments import FILTERS
from bridge.core.watch import State, Watch
from bridge.db import watches as store
from bridge.db.engine import reading
from bridge.db.tables import answers, attempts
from bridge.web.api.filters import FilterFields
from tests.commands.conftest import Commands, add_undelivered, add_watch
from tests.makers import NOW, later

FIRST, SECOND, THIRD = (f"wat_0000000{number}" for number in (1, 2, 3))


def watch_of(engine: Engine, watch_id: str) -> Watch:
    with reading(engine) as connection:
        watch = store.get(connection, watch_id)
    assert watch
    return watch


def test_the_options_are_the_filters_of_the_api() -> None:
    assert list(FILTERS) == list(FilterFields.model_fields)


def test_the_list_is_the_newest_first_and_in_json_it_is_as_in_the_api(
    commands: Commands, database: Engine
) -> None:
    add_watch(database, FIRST)
    add_undelivered(database, SECOND)
    newest, oldest = commands.json("watches", "list")
    assert (newest["id"], oldest["id"]) == (SECOND, FIRST)
    assert (oldest["state"], oldest["metadata"], oldest["hubspot"]) == ("watching", {"order": 17}, None)
    assert [watch["id"] for watch in commands.json("watches", "list", "--limit", "1")] == [SECOND]
    assert "task-of-wat_00000001" in commands.said("watches", "list")
    assert [watch["id"] for watch in commands.json("watches", "list", "--state", "watching,withdrawn")] == [
        FIRST
    ]
    assert commands.json("watches", "list", "--task-id", "nobody's") == []


@pytest.mark.parametrize(
    ("option", "given", "found"),
    [
        ("--state", "undelivered", [SECOND]),
        ("--outcome", "completed,failed", [SECOND]),
        ("--kind", "crm-import", [THIRD]),
        ("--account", "eu", [THIRD]),
        ("--client", "shop", [THIRD]),
        ("--task-id", f"task-of-{FIRST}", [FIRST]),
        ("--callback-host", "OTHER.example.com", [THIRD]),
        ("--created-after", NOW.isoformat(), []),
        ("--created-before", later(60).isoformat(), [THIRD, SECOND, FIRST]),
        ("--ended-after", NOW.isoformat(), [SECOND]),
        ("--settled-before", NOW.isoformat(), []),
        ("--last-attempt-after", NOW.isoformat(), [SECOND]),
    ],
)
def test_each_filter_means_what_it_means_in_the_api(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine, option: str, given: str, found: list[str]
) -> None:
    add_watch(sqlite_database, FIRST)
    ended = dict.fromkeys(("ended_at", "settled_at", "last_attempt_at"), later(60))
    add_undelivered(sqlite_database, SECOND, **ended)
    add_watch(
        sqlite_database,
        THIRD,
        kind="crm-import",
        account="eu",
        client="shop",
        callback_host="other.example.com",
    )
    listed = on_sqlite().json("watches", "list", option, given)
    assert [watch["id"] for watch in listed] == found


def test_the_list_goes_on_where_what_a_filter_means_is_rare(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine
) -> None:
    """A page examines 1,000 watches, and the only match is the oldest of more."""
    rare = add_watch(sqlite_database, "wat_00000000", callback_host="rare.example.com")
    newer = [f"wat_1{number:07}" for number in range(1100)]
    with sqlite_database.begin() as connection:
        store.add(
            connection, {name: replace(rare, id=name, callback_host="app.example.com") for name in newer}
        )
    listed = on_sqlite().json("watches", "list", "--callback-host", "rare.example.com")
    assert [watch["id"] for watch in listed] == [rare.id]


@pytest.mark.parametrize(
    ("option", "given", "words"),
    [
        ("--state", "lost", "must be one or more of watching, delivering"),
        ("--created-after", "yesterday", "must be an instant like 2026-11-05T13:00:00Z"),
        ("--callback-host", "https://app.example.com/", "must be a host alone"),
        ("--account", "the shop", "must be a name of"),
        ("--client", "", "must be a name of"),
        ("--task-id", "", "must have printable characters"),
        ("--limit", "0", "must be a number from 1 to 100000"),
    ],
)
def test_a_filter_that_cannot_be_read_is_told_in_the_api_s_words(
    on_sqlite: Callable[..., Commands], option: str, given: str, words: str
) -> None:
    wrong = on_sqlite().run("watches", "list", option, given)
    assert wrong.returncode == 2
    assert words in wrong.stderr


def test_a_watch_is_shown_with_its_attempts_and_hubspot_s_answer(
    commands: Commands, database: Engine
) -> None:
    add_undelivered(database, FIRST)
    attempt = {
        "watch_id": FIRST,
        "number": 1,
        "trigger": "schedule",
        "started_at": NOW,
        "duration_ms": 12,
        "status_code": 500,
        "error": "The receiver answered 500.",
        "response_excerpt": "\x1b[2Joops",
    }
    with database.begin() as connection:
        connection.execute(insert(answers).values(watch_id=FIRST, body='{"status": "COMPLETE", "n": 1.10}'))
        connection.execute(insert(attempts).values(attempt))
    told = commands.said("watches", "show", FIRST)
    assert "COMPLETE" in told
    assert "oops" in told
    assert "\x1b" not in told
    raw = commands.said("watches", "show", FIRST, "--json")
    assert '"n": 1.10' in raw
    shown = commands.json("watches", "show", FIRST)
    assert (shown["watch"]["id"], shown["attempts"][0]["status_code"]) == (FIRST, 500)


def test_hubspot_s_answer_is_shown_on_one_line_whatever_numbers_are_in_it(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine
) -> None:
    add_undelivered(sqlite_database, FIRST)
    digits = "9" * 5_000
    with sqlite_database.begin() as connection:
        body = f'{{"status": "COMPLETE",\n\t"n": {digits}}}'
        connection.execute(insert(answers).values(watch_id=FIRST, body=body))
    commands = on_sqlite()
    assert FIRST in commands.said("watches", "list")
    for verb in ("show", "redeliver"):
        assert f'{{"status": "COMPLETE", "n": {digits}}}\n' in commands.said("watches", verb, FIRST)


@pytest.mark.parametrize(
    ("verb", "before", "after"),
    [
        ("redeliver", "undelivered", "delivering"),
        ("recheck", "watching", "watching"),
        ("withdraw", "watching", "withdrawn"),
    ],
)
def test_a_watch_is_changed_as_over_rest(
    commands: Commands, database: Engine, verb: str, before: str, after: str
) -> None:
    (add_undelivered if before == "undelivered" else add_watch)(database, FIRST)
    assert commands.json("watches", verb, FIRST)["state"] == after
    assert watch_of(database, FIRST).state == after


@pytest.mark.parametrize(
    ("verb", "why"),
    [
        ("redeliver", f"{FIRST} stays as it is: a watch that is withdrawn cannot be redelivered."),
        ("recheck", f"{FIRST} stays as it is: a watch that is withdrawn cannot be rechecked."),
        ("withdraw", f"{FIRST} stays as it is: a watch that is withdrawn cannot be withdrawn."),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine, verb: str, why: str
) -> None:
    add_watch(sqlite_database, FIRST, state=State.WITHDRAWN, due_at=None, settled_at=NOW)
    refused = on_sqlite().run("watches", verb, FIRST)
    assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", f"{why}\n")
    missing = on_sqlite().run("watches", verb, "wat_nobodys")
    assert (missing.returncode, missing.stderr) == (1, "There is no watch wat_nobodys.\n")


ALL = ("watches", "redeliver", "--all", "--callback-host", "app.example.com")


def test_redelivering_many_wants_a_yes_with_the_count(commands: Commands, database: Engine) -> None:
    add_undelivered(database, FIRST)
    add_undelivered(database, SECOND)
    add_undelivered(database, THIRD, callback_host="other.example.com")
    asked = commands.run(*ALL)
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr == "Send the callbacks of 2 watches again? Nobody is there to say so: add --yes.\n"
    assert watch_of(database, FIRST).state is State.UNDELIVERED
    assert commands.json(*ALL, "--yes") == {"count": 2}
    states = [watch_of(database, watch_id).state for watch_id in (FIRST, SECOND, THIRD)]
    assert states == [State.DELIVERING, State.DELIVERING, State.UNDELIVERED]
    assert commands.said(*ALL) == "0 are being delivered again.\n"


@pytest.mark.parametrize(("said", "state"), [("y", "delivering"), ("n", "undelivered"), ("", "undelivered")])
def test_a_person_at_a_terminal_is_asked(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine, said: str, state: str
) -> None:
    add_undelivered(sqlite_database, FIRST)
    ours, theirs = pty.openpty()
    os.write(ours, f"{said}\n".encode())
    done = on_sqlite().run(*ALL, stdin=Path(os.ttyname(theirs)))
    os.close(ours)
    os.close(theirs)
    assert "Send the callbacks of 1 watches again? [y/N]" in done.stderr
    assert watch_of(sqlite_database, FIRST).state == state
    assert done.returncode == (0 if said else 1) or said == "n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all",),
        (FIRST, "--all", "--state", "undelivered"),
        (FIRST, "--state", "undelivered"),
        ("--state", "undelivered"),
    ],
)
def test_nobody_redelivers_by_a_slip(on_sqlite: Callable[..., Commands], arguments: tuple[str, ...]) -> None:
    refused = on_sqlite().run("watches", "redeliver", *arguments, "--yes")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("usage: python -m bridge watches redeliver")
    assert refused.stderr.endswith("error: give either an ID, or --all and at least one filter\n")
