"""The argument parser of `python -m bridge`. This module imports little, so that `--help` is fast."""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bridge import __version__
from bridge.core.instants import read_rfc3339
from bridge.core.kinds import KINDS
from bridge.core.parsing import (
    OVERLAP,
    parse_choices,
    parse_duration,
    parse_name,
    parse_printable,
)
from bridge.core.watch import Outcome, State
from bridge.http.addresses import filter_host

CALL = "python -m bridge"
MAX_LISTED = 100_000
# The sandbox's guide is read from its file, so that `--help` does not import the sandbox.
SANDBOX_GUIDE = Path(__file__).parents[1] / "sandbox" / "guide.txt"


def parser() -> argparse.ArgumentParser:
    """Return the parser.

    The parsed arguments also have `run`, the name of the command's function as `module.function`, and `usage_error`, a
    function. A command calls `usage_error(message)` for a mistake that the parser cannot find: this prints the usage
    and the message, and raises SystemExit with status 2.
    """
    root = argparse.ArgumentParser(
        prog=CALL,
        description="The HubSpot import bridge. A relative SQLite path in DATABASE_URL begins where it is called.",
        epilog=f"example: {CALL} clients add cms; `{CALL} COMMAND --help` has one for each command",
    )
    root.add_argument("--version", action="version", version=f"hubspot-import-bridge {__version__}")
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    _add_processes(commands)
    _add_status(commands)
    _add_watches(
        _family(commands, "watches", "the tasks that are followed", "watches list --state undelivered")
    )
    _add_clients(_family(commands, "clients", "the applications that may call the API", "clients add cms"))
    _add_accounts(
        _family(
            commands, "accounts", "the HubSpot accounts whose tasks may be watched", "accounts check default"
        )
    )
    return root


def _add_processes(commands: Any) -> None:
    _add(commands, "migrate", "processes.migrate", "bring the database to the newest revision", "migrate")
    _add(
        commands,
        "rotate-encryption",
        "processes.rotate_encryption",
        "encrypt all stored secrets with the first key of BRIDGE_SECRET_KEY",
        "rotate-encryption",
    )
    _add(commands, "worker", "processes.worker", "poll and deliver until SIGTERM", "worker")
    about = "migrate, then serve the API on PORT under gunicorn"
    serve = _add(commands, "serve", "processes.serve", about, "serve --host 127.0.0.1")
    serve.add_argument("--host", default="0.0.0.0", help="the address to listen on (default: all)")  # noqa: S104 -- a server's default
    about = "a simulated HubSpot, to try things out"
    simulated = _add(commands, "sandbox", "sandbox.serve", about, "sandbox --port 8001")
    simulated.description = SANDBOX_GUIDE.read_text(encoding="utf-8")
    simulated.formatter_class = argparse.RawDescriptionHelpFormatter
    simulated.add_argument(
        "--port", type=_port, default=8001, help="0 to 65535; 0 takes a free one (default: 8001)"
    )


def _add_status(commands: Any) -> None:
    about = (
        "what needs a person: paused accounts, hosts in trouble, callbacks given up, what is overdue, workers"
    )
    status = _with_json(_add(commands, "status", "status.show", about, "status --watch"))
    status.add_argument("--watch", action="store_true", help="show it again every 2 s, until Ctrl-C")
    about = "check settings, database, keys, HubSpot, clock, callbacks and workers; status 1 when something is wrong"
    _with_json(_add(commands, "doctor", "doctor.diagnose", about, "doctor"))


def _add_watches(verbs: Any) -> None:
    about = "show the newest watches"
    listed = _with_json(
        _add(verbs, "list", "watches.list_some", about, "watches list --state undelivered,delivering")
    )
    listed.add_argument(
        "--limit", type=_limit, default=50, help=f"at most so many, up to {MAX_LISTED} (default: 50)"
    )
    listed.add_argument(
        "--order",
        choices=["created_at", "ended_at"],
        default="created_at",
        help="by what the newest come first (default: created_at)",
    )
    _with_filters(listed)
    about = "show a watch and its attempts"
    _with_id(_with_json(_add(verbs, "show", "watches.show", about, f"watches show {EXAMPLE_ID}")))
    about = "send a callback again, or with --all those of many watches"
    example = "watches redeliver --all --state undelivered --callback-host app.example.com"
    redeliver = _with_json(_add(verbs, "redeliver", "watches.redeliver", about, example))
    redeliver.add_argument("id", metavar="ID", nargs="?", help="the watch")
    redeliver.add_argument(
        "--all",
        action="store_true",
        help="all delivered and undelivered ones that the filters mean; asks first",
    )
    redeliver.add_argument("--yes", action="store_true", help="do not ask")
    _with_filters(redeliver)
    about = "ask HubSpot about a task now"
    _with_id(_with_json(_add(verbs, "recheck", "watches.recheck", about, f"watches recheck {EXAMPLE_ID}")))
    about = "stop following a task, and send no callback"
    _with_id(_with_json(_add(verbs, "withdraw", "watches.withdraw", about, f"watches withdraw {EXAMPLE_ID}")))


def _add_clients(verbs: Any) -> None:
    about = "make a client; its key and secret are shown once"
    add = _with_name(_add(verbs, "add", "clients.add", about, "clients add cms --json"), is_new=True)
    add.add_argument("--admin", action="store_true", help="may see and change everything")
    about = "give a client a new signing secret"
    rotate = _with_name(
        _add(verbs, "rotate-secret", "clients.rotate_secret", about, "clients rotate-secret cms --overlap 7d")
    )
    rotate.add_argument(
        "--overlap",
        type=_argument_type(parse_duration),
        default=OVERLAP,
        help="how long the old one signs too: 90s, 15m, 24h, 7d (default: 24h)",
    )
    rotate.add_argument(
        "--from-stdin", action="store_true", help="read it, as whsec_…, from standard input; else it is made"
    )
    about = "give a client a new API key; the old one stops at once"
    _with_name(_add(verbs, "rotate-key", "clients.rotate_key", about, "clients rotate-key cms"))
    about = "take a client's key away for good"
    _with_name(_add(verbs, "revoke", "clients.revoke", about, "clients revoke cms"))
    _with_json(_add(verbs, "list", "clients.list_all", "show all clients", "clients list"))


def _add_accounts(verbs: Any) -> None:
    about = "set an account from the JSON on standard input"
    put = _with_name(_add(verbs, "set", "accounts.put", about, "accounts set eu < eu.json"), is_new=True)
    put.description = (
        'Reads {"access_token": …} or {"client_id": …, "client_secret": …, "refresh_token": …} from standard '
        "input, and optionally base_url, api_version, rate_limit, rate_share. Arguments could be seen by others."
    )
    about = "show all accounts, without their secrets"
    _with_json(_add(verbs, "list", "accounts.list_all", about, "accounts list"))
    about = "forget a stored account"
    _with_name(_add(verbs, "remove", "accounts.remove", about, "accounts remove eu"))
    about = "make one harmless call, and say what HubSpot answered"
    _with_name(_add(verbs, "check", "accounts.check", about, "accounts check default"))


EXAMPLE_ID = "wat_01hf3k9c2e7v8x4m6q0r5t1w3y8"


def _family(commands: Any, name: str, about: str, example: str) -> Any:
    family = commands.add_parser(
        name, help=about, description=_sentence(about), epilog=f"example: {CALL} {example}"
    )
    return family.add_subparsers(required=True, metavar="VERB")


def _add(parent: Any, name: str, run: str, about: str, example: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = parent.add_parser(
        name, help=about, description=_sentence(about), epilog=f"example: {CALL} {example}"
    )
    added.set_defaults(run=run, usage_error=added.error)
    return added


def _sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}."


def _with_json(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    return command


def _with_name(command: argparse.ArgumentParser, *, is_new: bool = False) -> argparse.ArgumentParser:
    # An earlier release allowed other names for clients.
    command.add_argument("name", metavar="NAME", type=_argument_type(parse_name) if is_new else str)
    return _with_json(command)


def _with_id(command: argparse.ArgumentParser) -> None:
    command.add_argument("id", metavar="ID", help="the watch")


def _with_filters(command: argparse.ArgumentParser) -> None:
    given = command.add_argument_group("filters", "Each is optional; a watch must pass all that are given.")
    for name, (read, about) in FILTERS.items():
        given.add_argument(f"--{name.replace('_', '-')}", type=_argument_type(read), metavar="…", help=about)


def _argument_type(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return `read` as an argparse type: if `read` raises a ValueError, its message is shown to the user."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except ValueError as wrong:
            raise argparse.ArgumentTypeError(str(wrong)) from None

    return convert


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_LISTED):
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MAX_LISTED}")
    return int(text)


# The API's filters of watches, as options: the function that parses the text of each, and its help.
FILTERS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "state": (partial(parse_choices, State), f"any of {', '.join(State)}, separated by commas"),
    "outcome": (partial(parse_choices, Outcome), f"any of {', '.join(Outcome)}"),
    "kind": (partial(parse_choices, KINDS), f"any of {', '.join(KINDS)}"),
    "account": (parse_name, "the HubSpot account"),
    "client": (parse_name, "who registered it"),
    "task_id": (parse_printable, "HubSpot's id of the task"),
    "callback_host": (filter_host, "the callback URL's host, without the port"),
    **{
        f"{event}_{side}": (read_rfc3339, f"{what} {than} this instant, like 2026-11-05T13:00:00Z")
        for event, what in (
            ("created", "registered"),
            ("ended", "seen to end"),
            ("settled", "settled"),
            ("last_attempt", "the last attempt began"),
        )
        for side, than in (("after", "later than"), ("before", "earlier than"))
    },
}
