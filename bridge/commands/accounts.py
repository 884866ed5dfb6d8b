"""HubSpot accounts: set, list, remove, check."""

import argparse
import sys
from dataclasses import asdict

from bridge.commands.opening import opened, prepared
from bridge.commands.output import Refusal, show_all, show_one
from bridge.steps import accounts, check_account
from bridge.web.api.accounts import AccountSettings
from bridge.web.problems import Problem
from bridge.web.requests import validated
from bridge.web.strict_json import NotJson, decoded
from bridge.wiring import now


def put(arguments: argparse.Namespace) -> None:
    """Set an account from standard input."""
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


def list_all(arguments: argparse.Namespace) -> None:
    """Show all accounts."""
    bridge = opened()
    standings = accounts.every(bridge.engine, bridge.accounts, now=now())
    show_all(arguments, [accounts.public(standing) for standing in standings])


def remove(arguments: argparse.Namespace) -> None:
    """Forget a stored account."""
    bridge = opened()
    removed = accounts.remove(bridge.engine, bridge.accounts, arguments.name, now=now())
    if isinstance(removed, accounts.AccountNotRemoved):
        raise Refusal(removed.reason)
    show_one(arguments, accounts.public(removed))


def check(arguments: argparse.Namespace) -> None:
    """Ask HubSpot whether it takes the credentials."""
    found = check_account.check(opened().hubspot_calls, arguments.name)
    if found is None:
        raise Refusal(f"There is no account {arguments.name}.")
    show_one(arguments, asdict(found))
    if not found.ok:
        raise Refusal("The account does not work.")
