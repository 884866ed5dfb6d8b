"""The commands `accounts set`, `list`, `remove` and `check`."""

import argparse
from dataclasses import asdict

from bridge.commands.open_bridge import open_bridge, prepare_bridge
from bridge.commands.output import CommandError, read_input, show_all, show_one
from bridge.steps import accounts, check_account
from bridge.web.api.accounts import AccountSettings
from bridge.web.problems import Problem
from bridge.web.request_models import validated
from bridge.web.strict_json import NotJson, loads
from bridge.wiring import now


def put(arguments: argparse.Namespace) -> None:
    """Add a HubSpot account, or replace all its settings, from the JSON on standard input."""
    settings = _settings(read_input())
    bridge = prepare_bridge()
    status, _ = accounts.put(bridge.engine, bridge.accounts, arguments.name, settings.change(), now=now())
    show_one(arguments, accounts.to_json(status))


def _settings(text: bytes) -> AccountSettings:
    try:
        given = loads(text)
    except NotJson as wrong:
        raise CommandError(f"Standard input cannot be read as JSON: {wrong}.") from None
    settings = validated(AccountSettings, given)
    if isinstance(settings, Problem):
        faults = (f"{fault.pointer or 'the object'}: {fault.detail}" for fault in settings.faults)
        raise CommandError("The account cannot be set so:\n" + "\n".join(faults))
    return settings


def list_all(arguments: argparse.Namespace) -> None:
    """Show all accounts."""
    bridge = open_bridge()
    every = accounts.list_all(bridge.engine, bridge.accounts, now=now())
    show_all(arguments, [accounts.to_json(each) for each in every])


def remove(arguments: argparse.Namespace) -> None:
    """Remove a stored account."""
    bridge = open_bridge()
    removed = accounts.remove(bridge.engine, bridge.accounts, arguments.name, outbox=bridge.outbox, now=now())
    if isinstance(removed, accounts.AccountNotRemoved):
        raise CommandError(removed.reason)
    show_one(arguments, accounts.to_json(removed))


def check(arguments: argparse.Namespace) -> None:
    """Ask HubSpot whether it accepts an account's credentials; raise CommandError unless it does."""
    bridge = open_bridge()
    found = check_account.check(bridge.hubspot_calls, arguments.name)
    bridge.counter_flusher.flush()
    if found is None:
        raise CommandError(f"There is no account {arguments.name}.")
    show_one(arguments, asdict(found))
    if not found.ok:
        raise CommandError("The account does not work.")
