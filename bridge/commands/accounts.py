"""HubSpot accounts: set, list, remove, check."""

import argparse
import sys
from dataclasses import asdict
from typing import Any

from bridge.commands.families import add_verb, show_all, show_one
from bridge.commands.output import Refusal
from bridge.commands.processes import prepared
from bridge.core.words import NAME, NAME_IN_WORDS
from bridge.steps import accounts, check_account
from bridge.web.api.accounts import AccountSettings
from bridge.web.problems import Problem
from bridge.web.requests import validated
from bridge.web.strict_json import NotJson, decoded
from bridge.wiring import now


def add_commands(commands: Any) -> None:
    """Add the commands of this family."""
    family = commands.add_parser("accounts", help="the HubSpot accounts whose tasks may be watched")
    verbs = family.add_subparsers(required=True, metavar="VERB")
    put = add_verb(verbs, "set", _set, "set an account from the JSON on standard input", named=_name)
    put.description = (
        'Reads {"access_token": …} or {"client_id": …, "client_secret": …, "refresh_token": …} from standard '
        "input, and optionally base_url, api_version, rate_limit, rate_share. Arguments could be seen by others."
    )
    add_verb(verbs, "list", _list, "show all accounts, without their secrets", named=None)
    add_verb(verbs, "remove", _remove, "forget a stored account", named=_name)
    add_verb(verbs, "check", _check, "make one harmless call, and say what HubSpot answered", named=_name)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"an account's name has {NAME_IN_WORDS}")
    return text


def _set(arguments: argparse.Namespace) -> None:
    settings = _settings(sys.stdin.buffer.read())
    bridge = prepared()
    standing, _ = accounts.put(bridge.engine, bridge.accounts, arguments.name, settings.change(), now=now())
    show_one(arguments, accounts.public(standing))


def _settings(text: bytes) -> AccountSettings:
    try:
        given = decoded(text)
    except NotJson as wrong:
        raise Refusal(f"Standard input cannot be read as JSON: {wrong}.") from None
    settings = validated(AccountSettings, given)
    if isinstance(settings, Problem):
        faults = (f"{fault.pointer or 'the object'}: {fault.detail}" for fault in settings.faults)
        raise Refusal("The account cannot be set so:\n" + "\n".join(faults))
    return settings


def _list(arguments: argparse.Namespace) -> None:
    bridge = prepared()
    standings = accounts.every(bridge.engine, bridge.accounts, now=now())
    every = [accounts.public(standing) for standing in standings]
    show_all(arguments, every)


def _remove(arguments: argparse.Namespace) -> None:
    bridge = prepared()
    removed = accounts.remove(bridge.engine, bridge.accounts, arguments.name, now=now())
    if isinstance(removed, accounts.Refused):
        raise Refusal(removed.reason)
    show_one(arguments, accounts.public(removed))


def _check(arguments: argparse.Namespace) -> None:
    found = check_account.check(prepared().hubspot_calls, arguments.name)
    if found is None:
        raise Refusal(f"There is no account {arguments.name}.")
    show_one(arguments, asdict(found))
    if not found.ok:
        raise Refusal("The account does not work.")
