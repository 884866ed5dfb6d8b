"""Clients: add, list, rotate-secret, rotate-key, revoke."""

import argparse
import sys
from typing import Any, TypeVar

from bridge.commands.families import add_verb, show_all, show_one
from bridge.commands.output import Refusal
from bridge.commands.processes import prepared
from bridge.core import words
from bridge.steps import clients
from bridge.wiring import now

Granted = TypeVar("Granted")


def add_commands(commands: Any) -> None:
    """Add the commands of this family."""
    family = commands.add_parser("clients", help="the applications that may call the API")
    verbs = family.add_subparsers(required=True, metavar="VERB")
    add = add_verb(verbs, "add", _add, "make a client; its key and secret are shown once")
    add.add_argument("--admin", action="store_true", help="may see and change everything")
    rotate = add_verb(verbs, "rotate-secret", _rotate_secret, "give a client a new signing secret")
    rotate.add_argument(
        "--overlap",
        type=_overlap,
        default=words.OVERLAP,
        help="how long the old one signs too: 90s, 15m, 24h, 7d",
    )
    rotate.add_argument(
        "--from-stdin", action="store_true", help="read it, as whsec_…, from standard input; else it is made"
    )
    add_verb(verbs, "rotate-key", _rotate_key, "give a client a new API key; the old one stops at once")
    add_verb(verbs, "revoke", _revoke, "take a client's key away for good")
    add_verb(verbs, "list", _list, "show all clients", named=None)


def _overlap(text: str) -> int:
    try:
        return words.overlap_seconds(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _add(arguments: argparse.Namespace) -> None:
    bridge = prepared()
    try:
        new = clients.add(bridge.engine, bridge.cipher, arguments.name, admin=arguments.admin, now=now())
    except ValueError as problem:
        raise Refusal(f"NAME: {problem}.") from None
    if isinstance(new, clients.NameTaken):
        raise Refusal(f"The name {new.name} is taken, perhaps by a revoked client. Choose another name.")
    _show_secrets(arguments, {"name": new.name, "api_key": new.api_key, "signing_secret": new.signing_secret})


def _rotate_secret(arguments: argparse.Namespace) -> None:
    given = sys.stdin.read().strip() if arguments.from_stdin else None
    bridge = prepared()
    secret = clients.rotate_secret(
        bridge.engine,
        bridge.cipher,
        arguments.name,
        overlap_seconds=arguments.overlap,
        now=now(),
        secret=given,
    )
    granted = _granted(secret)
    if arguments.from_stdin:
        show_one(arguments, {"name": arguments.name})
    else:
        _show_secrets(arguments, {"name": arguments.name, "signing_secret": granted})


def _rotate_key(arguments: argparse.Namespace) -> None:
    key = clients.rotate_key(prepared().engine, arguments.name)
    _show_secrets(arguments, {"name": arguments.name, "api_key": _granted(key)})


def _revoke(arguments: argparse.Namespace) -> None:
    revoked = _granted(clients.revoke(prepared().engine, arguments.name, now=now()))
    show_one(arguments, clients.public(revoked))


def _list(arguments: argparse.Namespace) -> None:
    every = [clients.public(client) for client in clients.every(prepared().engine)]
    show_all(arguments, every, empty="No clients yet. Make one: python -m bridge clients add NAME")


def _granted(result: Granted | clients.Refused) -> Granted:
    if isinstance(result, clients.Refused):
        raise Refusal(result.reason)
    return result


def _show_secrets(arguments: argparse.Namespace, fields: dict[str, object]) -> None:
    show_one(arguments, fields)
    if not arguments.json:
        sys.stderr.write("Keep this safe: it is not shown again.\n")
