"""Clients: add, list, rotate-secret, rotate-key, revoke."""

import argparse
import re
from typing import Any

from bridge import clients
from bridge.commands.output import Refusal, show_fields, show_json, show_table
from bridge.commands.processes import prepared
from bridge.core.instants import rfc3339
from bridge.edges.store.clients import Client
from bridge.wiring import now

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_commands(commands: Any) -> None:
    """Add the commands of this family."""
    family = commands.add_parser("clients", help="the applications that may call the API")
    verbs = family.add_subparsers(required=True, metavar="VERB")
    add = _verb(verbs, "add", _add, "make a client; its key and secret are shown once")
    add.add_argument("--admin", action="store_true", help="may see and change everything")
    rotate = _verb(verbs, "rotate-secret", _rotate_secret, "give a client a new signing secret")
    rotate.add_argument(
        "--overlap", type=_seconds, default="24h", help="how long the old one signs too: 90s, 15m, 24h, 7d"
    )
    _verb(verbs, "rotate-key", _rotate_key, "give a client a new API key; the old one stops at once")
    _verb(verbs, "revoke", _revoke, "take a client's key away for good", json=False)
    every = verbs.add_parser("list", help="show all clients")
    every.add_argument("--json", action="store_true")
    every.set_defaults(run=_list)


def _verb(verbs: Any, name: str, run: Any, text: str, *, json: bool = True) -> Any:
    verb = verbs.add_parser(name, help=text)
    verb.add_argument("name", metavar="NAME")
    if json:
        verb.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    verb.set_defaults(run=run)
    return verb


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError("write a number and a unit: 90s, 15m, 24h, 7d")
    return int(found[1]) * UNITS[found[2]]
