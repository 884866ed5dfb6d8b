"""What all commands have in common: help, version, broken input and output; and reading commands create no files."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine

import bridge
from tests.commands.conftest import ROOT, Commands, Ran, add_undelivered
from tests.docs import code

READS = [
    ("clients", "list"),
    ("accounts", "list"),
    ("accounts", "check", "default"),
    ("watches", "list"),
    ("watches", "show", "wat_00000001"),
    ("watches", "withdraw", "wat_00000001"),
    ("status",),
]


def shell(commands: Commands, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line in which `bridge` is the command."""
    return process(commands, "/bin/bash", "-c", f'bridge() {{ {sys.executable} -m bridge "$@"; }}; {line}')


def process(commands: Commands, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program with the commands' environment, in a process that is no fork of the tests."""
    return subprocess.run(
        arguments,
        cwd=ROOT,
        env=commands.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version_is_told() -> None:
    assert Commands().said("--version") == f"hubspot-import-bridge {bridge.__version__}\n"


def test_without_a_command_it_says_what_there_is() -> None:
    wrong = Commands().run()
    assert wrong.returncode == 2
    assert "usage: python -m bridge" in wrong.stderr


def test_an_argument_that_is_not_utf_8_is_a_usage_error(commands: Commands) -> None:
    wrong = commands.run("watches", "show", "wat_\udcff")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "not UTF-8" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("command", ["", "watches", "clients", "accounts", *sorted(code.commands())])
def test_the_help_of_each_command_has_an_example_of_it(command: str) -> None:
    told = " ".join(Commands().said(*command.split(), "--help").split())
    assert f"example: python -m bridge {command}" in told


HELP = """
import sys
from importlib import import_module
from bridge.cli import main
HEAVY = {"alembic", "apscheduler", "cryptography", "flask", "pydantic", "requests", "sqlalchemy"}
for command in ["", *sys.argv[1:]]:
    assert main([*command.split(), "--help"]) == 0, command
    assert HEAVY.isdisjoint(sys.modules), (command, HEAVY & sys.modules.keys())
from tests.forks import FAMILIES
for family in sorted({*FAMILIES} - {"sandbox"}):
    import_module(f"bridge.commands.{family}")
    assert "flask" not in sys.modules, family
"""


def test_no_help_imports_what_takes_long_and_only_the_sandbox_imports_flask() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP, *sorted(code.commands())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", READS, ids=" ".join)
@pytest.mark.parametrize("place", ["none.db", "folder/none.db"])
def test_what_only_reads_makes_neither_a_database_nor_a_key_file(
    command: tuple[str, ...], place: str, tmp_path: Path
) -> None:
    refused = Commands(DATABASE_URL=f"sqlite:///{tmp_path / place}").run(*command)
    assert (refused.returncode, refused.stdout) == (1, "")
    [told] = refused.stderr.splitlines()
    assert "DATABASE_URL" in told
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_not_migrated_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    file.touch()
    refused = Commands(
        DATABASE_URL=f"sqlite:///{file}", BRIDGE_SECRET_KEY=Fernet.generate_key().decode()
    ).run("clients", "list")
    assert refused.returncode == 1
    assert "python -m bridge migrate" in refused.stderr
    assert file.stat().st_size == 0


@pytest.mark.parametrize("command", ["migrate", "worker", "serve", "clients add ops", "accounts list"])
def test_a_key_file_that_is_lost_is_told_and_not_made_anew(command: str, tmp_path: Path) -> None:
    commands = Commands(DATABASE_URL=f"sqlite:///{tmp_path}/bridge.db")
    commands.said("clients", "add", "cms")
    key = tmp_path / "bridge.db.key"
    key.unlink()
    refused = commands.run(*command.split())
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines()[-1].startswith(f"The key file {key} is not there: put it back ")
    assert "Traceback" not in refused.stderr
    assert not key.exists()


@pytest.mark.parametrize("command", ["migrate", "worker", "serve", "clients add ops", "status"])
def test_a_key_file_that_is_damaged_is_told_by_every_command(command: str, tmp_path: Path) -> None:
    commands = Commands(DATABASE_URL=f"sqlite:///{tmp_path}/bridge.db")
    commands.said("clients", "add", "cms")
    key = tmp_path / "bridge.db.key"
    key.write_bytes(b"")
    refused = commands.run(*command.split())
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines()[-1].startswith(f"The key file {key} holds no key that can be read: ")
    assert "Traceback" not in refused.stderr


def test_the_wrong_key_is_told_by_what_only_reads(commands: Commands) -> None:
    commands.said("clients", "add", "cms")
    commands.env["BRIDGE_SECRET_KEY"] = Fernet.generate_key().decode()
    refused = commands.run("accounts", "list")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("BRIDGE_SECRET_KEY: ")


SHOWS = ["clients list", "accounts list", "accounts check default", "watches list", "status", "doctor"]
PRINTS = [
    *SHOWS,
    *(f"{command} --json" for command in SHOWS),
    "rotate-encryption",
    "--help",
    "--version",
    "clients list --help",
]


@pytest.mark.parametrize("command", PRINTS)
def test_output_that_cannot_be_written_is_one_sentence(
    on_sqlite: Callable[..., Commands], command: str
) -> None:
    assert_refused(on_sqlite().run(*command.split(), stdout=Path("/dev/full")), "No space left on device")


@pytest.mark.parametrize("command", ["clients list", "--help", "--version"])
def test_without_a_buffer_or_a_standard_output_it_is_the_same(
    on_sqlite: Callable[..., Commands], command: str
) -> None:
    unbuffered = on_sqlite(PYTHONUNBUFFERED="1")
    assert_refused(shell(unbuffered, f"bridge {command} >/dev/full"), "No space left on device")
    assert_refused(shell(on_sqlite(), f"bridge {command} >&-"), "it is closed")


@pytest.mark.parametrize(
    ("command", "where", "why"),
    [
        ("accounts set eu", "<&-", "it is closed"),
        ("clients rotate-secret cms --from-stdin", "0>/dev/null", "Bad file descriptor"),
    ],
)
def test_input_that_cannot_be_read_is_one_sentence(
    on_sqlite: Callable[..., Commands], command: str, where: str, why: str
) -> None:
    done = shell(on_sqlite(), f"bridge {command} {where}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Standard input cannot be read: {why}.\n"


def test_a_secret_that_is_not_text_is_refused_as_others_are(on_sqlite: Callable[..., Commands]) -> None:
    commands = on_sqlite(PYTHONIOENCODING="utf-8")
    commands.said("clients", "add", "cms")
    done = shell(commands, r"printf '\377' | bridge clients rotate-secret cms --from-stdin")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The secret cannot be used: ")


def assert_refused(done: subprocess.CompletedProcess[str] | Ran, why: str) -> None:
    assert (done.returncode, done.stderr) == (
        1,
        f"Standard output cannot be written to: {why}. What the command changes is changed.\n",
    )


IN_TURN = """
import sys
from bridge.cli import main
for command in sys.argv[1:]:
    assert main(command.split()) == 0, command
"""
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "latin-1"}, ASCII], ids=["latin-1", "ascii"])
def test_what_standard_output_cannot_encode_is_escaped_and_json_stays_json(
    on_sqlite: Callable[..., Commands], sqlite_database: Engine, encoding: dict[str, str]
) -> None:
    add_undelivered(
        sqlite_database, "wat_00000001", last_error="\u2026 \U0001f600", metadata='{"x": "\U0001f600"}'
    )
    commands = on_sqlite(**encoding)
    printing = ["watches list", "watches show wat_00000001", "watches redeliver wat_00000001"]
    in_turn = ["watches list --json", *printing, "watches list --help"]
    done = process(commands, sys.executable, "-c", IN_TURN, *in_turn)
    assert (done.returncode, done.stderr) == (0, "")
    [watch], end = json.JSONDecoder().raw_decode(done.stdout)
    assert (watch["metadata"], watch["last_error"]) == ({"x": "\U0001f600"}, "\u2026 \U0001f600")
    assert done.stdout[end:].count(r"\u2026 \ud83d\ude00") == len(printing)


@pytest.mark.parametrize(
    "line",
    [
        "bridge clients list | true",
        "bridge status --watch | head -1",
        "bridge --help | true",
    ],
)
def test_a_reader_that_has_seen_enough_ends_it_silently(
    on_sqlite: Callable[..., Commands], line: str
) -> None:
    done = shell(on_sqlite(), line)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("where", ["/dev/full", "&-"])
def test_a_secret_that_could_not_be_shown_is_not_lost_in_silence(
    on_sqlite: Callable[..., Commands], where: str
) -> None:
    commands = on_sqlite()
    done = shell(commands, f"bridge clients add cms --json >{where}")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    for again in re.findall(r"`python -m bridge ([^`]+)`", done.stderr):
        commands.said(*again.split())
    assert done.stderr.count("rotate-key cms") == done.stderr.count("rotate-secret cms") == 1
