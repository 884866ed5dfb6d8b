"""The commands: `python -m bridge migrate | worker | serve | sandbox | clients … | accounts …`."""

import argparse
import sys
from collections.abc import Sequence

from bridge.commands import accounts, clients, processes
from bridge.commands.output import Refusal
from bridge.stderr import protect


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit status: 0 done, 1 refused, 2 wrongly called or set."""
    protect()
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except Refusal as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bridge",
        description="The HubSpot import bridge. A relative SQLite path in DATABASE_URL begins where it is called.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for family in (processes, clients, accounts):
        family.add_commands(commands)
    return parser
