"""The commands `clients add`, `list`, `rotate-secret`, `rotate-key` and `revoke`."""

import argparse
import sys
from typing import TypeVar

from bridge.commands.open_bridge import open_bridge, prepare_bridge
from bridge.commands.output import CommandError, OutputError, read_input, show_all, show_one
from bridge.steps import clients
from bridge.wiring import now

Value = TypeVar("Value")


def add(arguments: argparse.Namespace) -> None:
    """Add a client, and print its API key and signing secret."""
    bridge = prepare_bridge()
    new = clients.add(bridge.engine, bridge.cipher, arguments.name, admin=arguments.admin, now=now())
    if new is None:
        raise CommandError(
            f"The name {arguments.name} is taken, perhaps by a revoked client. Choose another name."
        )
    _show_secrets(
        arguments,
        {"name": new.name, "api_key": new.api_key, "signing_secret": new.signing_secret},
        again=("rotate-key", "rotate-secret"),
    )


def rotate_secret(arguments: argparse.Namespace) -> None:
    """Give a client a new signing secret, made by the bridge or read from standard input."""
    given = read_input().decode(errors="replace").strip() if arguments.from_stdin else None
    bridge = open_bridge()
    secret = clients.rotate_secret(
        bridge.engine,
        bridge.cipher,
        arguments.name,
        overlap_seconds=arguments.overlap,
        now=now(),
        secret=given,
    )
    granted = _value_or_error(secret)
    if arguments.from_stdin:
        show_one(arguments, {"name": arguments.name})
    else:
        fields = {"name": arguments.name, "signing_secret": granted}
        _show_secrets(arguments, fields, again=("rotate-secret",))


def rotate_key(arguments: argparse.Namespace) -> None:
    """Give a client a new API key."""
    key = _value_or_error(clients.rotate_key(open_bridge().engine, arguments.name))
    _show_secrets(arguments, {"name": arguments.name, "api_key": key}, again=("rotate-key",))


def revoke(arguments: argparse.Namespace) -> None:
    """Revoke a client's API key permanently."""
    revoked = _value_or_error(clients.revoke(open_bridge().engine, arguments.name, now=now()))
    show_one(arguments, clients.to_json(revoked))


def list_all(arguments: argparse.Namespace) -> None:
    """Show all clients."""
    every = [clients.to_json(client) for client in clients.list_all(open_bridge().engine)]
    show_all(arguments, every, empty="No clients yet. Make one: python -m bridge clients add NAME")


def _value_or_error(result: Value | clients.ClientUnchanged) -> Value:
    if isinstance(result, clients.ClientUnchanged):
        raise CommandError(result.reason)
    return result


def _show_secrets(
    arguments: argparse.Namespace, fields: dict[str, object], *, again: tuple[str, ...]
) -> None:
    """Print a client's secrets; if that fails, raise a CommandError that says which commands make new ones.

    `again` holds the names of these commands, such as `rotate-key`.
    """
    try:
        show_one(arguments, fields)
    except OutputError as error:
        commands = " and ".join(f"`python -m bridge clients {verb} {arguments.name}`" for verb in again)
        raise CommandError(
            f"{error} The secrets of {arguments.name} are lost: make new ones with {commands}."
        ) from None
    if not arguments.json:
        sys.stderr.write("Keep this safe: it is not shown again.\n")
