"""Runs what the pages show: the demo, the README's session, both receivers, the examples."""

import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from bridge.core.signing import make_secret, sign
from bridge.settings import Settings
from tests.docs.markdown import ROOT, blocks, page, section
from tests.docs.reader import (
    TIMEOUT_SECONDS,
    Reader,
    Terminal,
    environment,
    printed,
    values,
)

README = page("README.md")
OPERATING = page("docs/operating.md")
RECEIVING = page("docs/receiving.md")
STEPS = [block.text for block in blocks(section(README, "Try it"), "sh")]

BODY = b'{"type": "bridge.test", "data": {}}'
STRANGERS = make_secret(b"s" * 32)
# Nothing answers at these proxies, and DYNO is Heroku's: the demo minds none of them.
FOR_OTHERS = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9", "DYNO": "run.1"}


@pytest.fixture(scope="module", autouse=True)
def demo() -> Iterator[subprocess.Popen[str]]:
    """The demo, in an environment made for others; started first because it takes half a minute."""
    command = [sys.executable, "-m", "demo"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment() | FOR_OTHERS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        yield process
        if process.poll() is None:
            process.terminate()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader of the page with the simulated HubSpot and the bridge running, and a client."""
    sandbox, serve, add = STEPS[:3]
    reader = Reader(tmp_path_factory.mktemp("reader"))
    with reader.installation(sandbox, serve, add):
        yield reader


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("python", id="python"),
        pytest.param(
            "js",
            id="node",
            marks=pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
        ),
    ],
)
def receiver(request: pytest.FixtureRequest, reader: Reader) -> Iterator[Terminal]:
    """A receiver of the README, started as the README says."""
    [block] = blocks(section(README, "Receive the callback"), request.param)
    name, program = {"python": ("receiver.py", ".venv/bin/python"), "js": ("receiver.mjs", "node")}[
        request.param
    ]
    file = reader.folder / name
    file.write_text(reader.filled(block.text), encoding="utf-8")
    command = STEPS[3].replace(".venv/bin/python receiver.py &", f"{program} {file}")
    with reader.terminal(command, reader.url("9000")) as terminal:
        terminal.await_ready()
        yield terminal


def test_the_readme_is_true_from_the_import_to_the_second_delivery(
    reader: Reader, receiver: Terminal
) -> None:
    start, register, look, again = STEPS[4:]
    assert reader.run(start) == ""
    [watch], [same] = (values(reader.run(register)) for _ in range(2))
    assert same["id"] == watch["id"]
    receiver.until(lambda: values(reader.run(look))[0]["state"] == "delivered")
    assert "import.completed" in receiver.printed
    listing, redeliver, attempts = again.splitlines()
    assert values(reader.run(listing))[0]["watches"][0]["id"] == watch["id"]
    assert values(reader.run(redeliver))[0]["state"] == "delivering"
    receiver.until(lambda: len(values(reader.run(attempts))[0]["attempts"]) == 2)
    assert [a["trigger"] for a in values(reader.run(attempts))[0]["attempts"]] == ["schedule", "manual"]
    receiver.until(lambda: receiver.printed.count("import.completed") == 2)


def test_every_command_to_try_it_out_can_be_pasted_as_it_is() -> None:
    assert [step for step in STEPS if "…" in step or "AAAAEZ6whGI" in step] == []


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_receiver_in_node_says_that_its_secret_is_missing(tmp_path: Path) -> None:
    [block] = blocks(section(README, "Receive the callback"), "js")
    (tmp_path / "receiver.mjs").write_text(block.text, encoding="utf-8")
    done = subprocess.run(
        [shutil.which("node") or "", tmp_path / "receiver.mjs"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Set SIGNING_SECRET")


def test_the_watch_that_integrators_are_shown_has_the_fields_of_a_real_one(reader: Reader) -> None:
    [shown] = values(blocks(section(RECEIVING, "The watch"), "json")[0].text)
    url = f"{reader.url('8000')}/v1/watches"
    task = {"task_id": "AAAAEZ6whGI", "callback_url": f"{reader.url('9000')}/hooks/hubspot"}
    real = requests.post(url, json=task, headers=key_of(reader), timeout=30)
    assert list(real.json()) == list(shown)


def key_of(reader: Reader) -> dict[str, str]:
    return {"Authorization": f"Bearer {reader.environment['KEY']}"}


def test_a_receiver_takes_a_real_callback(reader: Reader, receiver: Terminal) -> None:
    body = {"callback_url": f"{reader.url('9000')}/hooks/hubspot"}
    url = f"{reader.url('8000')}/v1/test-callback"
    attempt = requests.post(url, json=body, headers=key_of(reader), timeout=30).json()
    assert (attempt["status_code"], attempt["error"]) == (204, None)
    receiver.until(lambda: "bridge.test" in receiver.printed)


def posted(reader: Reader, headers: Mapping[str, str | None], body: bytes = BODY) -> int:
    url = f"{reader.url('9000')}/hooks/hubspot"
    return requests.post(url, body, headers=headers, timeout=30).status_code


def signed(*secrets: str, age_seconds: int = 0) -> dict[str, str]:
    return sign("wat_12345678", int(time.time()) - age_seconds, BODY, secrets)


@pytest.mark.usefixtures("receiver")
def test_a_receiver_takes_a_callback_with_two_signatures_while_a_secret_is_rotated(reader: Reader) -> None:
    assert posted(reader, signed(STRANGERS, reader.environment["SECRET"])) == 204
    assert posted(reader, signed(reader.environment["SECRET"], STRANGERS)) == 204


@pytest.mark.usefixtures("receiver")
@pytest.mark.parametrize("age_seconds", [600, -600], ids=["old", "from the future"])
def test_a_receiver_refuses_a_genuine_callback_of_another_time(reader: Reader, age_seconds: int) -> None:
    assert posted(reader, signed(reader.environment["SECRET"], age_seconds=age_seconds)) == 400


@pytest.mark.usefixtures("receiver")
def test_a_receiver_refuses_a_body_that_was_changed_on_the_way(reader: Reader) -> None:
    assert posted(reader, signed(reader.environment["SECRET"]), BODY.replace(b"}", b" }")) == 400


@pytest.mark.usefixtures("receiver")
def test_a_receiver_refuses_what_a_stranger_signed(reader: Reader) -> None:
    assert posted(reader, signed(STRANGERS)) == 400


@pytest.mark.usefixtures("receiver")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(dict.fromkeys(signed(STRANGERS)), id="unsigned"),
        pytest.param({"webhook-signature": None}, id="an id and a time alone"),
        pytest.param({"webhook-signature": ""}, id="an empty signature"),
        pytest.param({"webhook-signature": "v1,"}, id="a signature of nothing"),
        pytest.param({"webhook-signature": "garbage"}, id="no signature"),
        pytest.param({"webhook-signature": "v1,*"}, id="no base64"),
        pytest.param({"webhook-timestamp": "soon"}, id="no time"),
    ],
)
def test_a_receiver_refuses_headers_that_lack_something(
    reader: Reader, changes: dict[str, str | None]
) -> None:
    assert posted(reader, {**signed(reader.environment["SECRET"]), **changes}) == 400


def test_the_example_for_integrators_own_tests_passes(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = blocks(section(RECEIVING, "In your own tests"), "python")
    monkeypatch.setenv("SANDBOX", reader.url("8001"))
    monkeypatch.setenv("BRIDGE", reader.url("8000"))
    monkeypatch.setenv("API_KEY", reader.environment["KEY"])
    monkeypatch.setenv("SIGNING_SECRET", reader.environment["SECRET"])
    namespace = run_code(block.text)
    namespace["test_we_hear_of_an_import_that_failed"]()


def test_the_example_that_asks_what_has_ended_finds_it(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = blocks(section(RECEIVING, "Ask, if you cannot be called"), "python")
    monkeypatch.setenv("BRIDGE", reader.url("8000"))
    monkeypatch.setenv("API_KEY", reader.environment["KEY"])
    wanted = {"outcome": "canceled", "pending_seconds": 0, "processing_seconds": 0}
    task = requests.post(f"{reader.url('8001')}/sandbox/tasks", json=wanted, timeout=30).json()["id"]
    watch = {"task_id": task, "callback_url": f"{reader.url('9000')}/nobody"}
    url = f"{reader.url('8000')}/v1/watches"
    made = requests.post(url, json=watch, headers=key_of(reader), timeout=30).json()
    ended_since = run_code(block.text)["ended_since"]
    give_up_at = time.monotonic() + TIMEOUT_SECONDS
    while task not in [ended["task_id"] for ended in ended_since(made["created_at"])]:
        assert time.monotonic() < give_up_at
        time.sleep(0.2)


def run_code(text: str, **known: Any) -> dict[str, Any]:
    exec(compile(text, "example", "exec"), known)  # noqa: S102 -- the page's own example is what is tested
    return known


def test_the_example_that_notes_events_takes_each_once() -> None:
    [block] = blocks(section(RECEIVING, "Answer fast, and expect it twice"), "python")
    note = run_code(block.text, sqlite3=sqlite3)["note"]
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE events (webhook_id TEXT PRIMARY KEY, body BLOB)")
    assert [note(database, watch_id, b"{}") for watch_id in ("wat_1", "wat_1", "wat_2")] == [
        True,
        False,
        True,
    ]
    database.close()


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="sqlite3 is not installed")
def test_a_backup_is_restored_over_a_database_that_lost_its_process(tmp_path: Path) -> None:
    back_up, restore = (block.text for block in blocks(section(OPERATING, "Backup and restore"), "sh"))
    in_use = sqlite3.connect(tmp_path / "bridge.db", isolation_level=None)
    in_use.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES ('backed up')")
    printed(f"cd {tmp_path}\n{back_up}", environment())
    # What a process that was killed leaves behind: many pages that are in the WAL alone.
    in_use.executemany("INSERT INTO t VALUES (?)", [("later" * 100,)] * 1000)
    assert (tmp_path / "bridge.db-wal").stat().st_size
    stand_in = "systemctl() { :; }\nchown() { :; }\n"
    printed(stand_in + restore.replace("/var/lib/bridge", str(tmp_path)), environment())
    with closing(sqlite3.connect(tmp_path / "bridge.db")) as restored:
        assert restored.execute("SELECT x FROM t").fetchall() == [("backed up",)]
    assert (tmp_path / "bridge-backup.db").exists()
    in_use.close()


def test_the_commands_for_heroku_make_settings_that_the_bridge_takes() -> None:
    # In place of the real one: it prints what is set, and leaves the rest.
    stand_in = 'heroku() { [ "$1" != config:set ] || printf "%s\\n" "${@:2}"; }\ngit() { :; }\n'
    script = "\n".join([stand_in, *(block.text for block in blocks(section(README, "Deploy"), "sh"))])
    made = printed(script.replace("…", "x"), environment())
    environ = dict(line.split("=", 1) for line in made.splitlines())
    settings = Settings.load(environ | {"DATABASE_URL": "postgres://host/name", "DYNO": "web.1"})
    assert {
        "BRIDGE_SECRET_KEY",
        "BRIDGE_ADMIN_KEY",
        "HUBSPOT_ACCESS_TOKEN",
        "BRIDGE_PUBLIC_URL",
    } <= environ.keys()
    assert settings.embedded_worker is False


def test_the_make_targets_of_the_readme_are_there() -> None:
    [block] = blocks(section(README, "Two commands"), "sh")
    for line in block.text.splitlines():
        command = line.partition("#")[0].replace("make", "make --dry-run")
        # A folder of that name would do nothing, and succeed.
        assert ".venv/bin/python" in printed(command, environment())


def test_every_command_of_the_readme_is_in_a_part_that_is_tested() -> None:
    parts = [
        block
        for name in ("Two commands", "Try it", "Deploy")
        for block in blocks(section(README, name), "sh")
    ]
    assert parts == blocks(README, "sh")


def test_the_demo_prints_what_the_readme_shows_whatever_the_environment_has_for_others(
    demo: subprocess.Popen[str],
) -> None:
    output, _ = demo.communicate(timeout=TIMEOUT_SECONDS)
    assert demo.returncode == 0, output
    [excerpt] = blocks(section(README, "Two commands"), "text")
    assert set(map(timeless, excerpt.text.splitlines())) <= set(map(timeless, output.splitlines()))


def timeless(line: str) -> str:
    """Return the text without what differs from run to run."""
    return re.sub(r"^ *[\d.]+ s|(?<=task )\S+|wat_\S+", "", line)
