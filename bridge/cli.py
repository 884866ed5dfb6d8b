"""The command line: `python -m bridge COMMAND`. Each family of commands has a module in `bridge/commands/`."""

import sys
from collections.abc import Sequence
from importlib import import_module

from bridge.commands.arguments import parser
from bridge.commands.output import CommandError, OutputError, flush
from bridge.stderr import protect

INTERRUPTED = 130  # as shells report it: 128 and the number of SIGINT


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit status: 0 done, 1 failed, 2 wrong arguments or settings."""
    protect()
    try:
        status = _run(arguments)
        flush()
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OutputError as error:
        if not error.reader_has_gone:
            sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _run(arguments: Sequence[str]) -> int:
    try:
        parsed = parser().parse_args(arguments)
    except SystemExit as ended:  # by argparse, after the help, the version or an error
        return ended.code if isinstance(ended.code, int) else 2
    # Imported only when it is run: the help must appear at once, and SQLAlchemy and Flask take a second.
    family, _, name = parsed.run.rpartition(".")
    getattr(import_module(f"bridge.commands.{family}"), name)(parsed)
    return 0
