"""The command line: `python -m bridge COMMAND`. What a command does is in the module of its family."""

import sys
from collections.abc import Sequence
from importlib import import_module

from bridge.commands.arguments import parser
from bridge.commands.output import NotWritten, Refusal, flush
from bridge.stderr import protect

INTERRUPTED = 130  # as a shell tells it: 128 and the number of SIGINT


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit status: 0 done, 1 refused or wrong, 2 wrongly called or set."""
    protect()
    try:
        status = _run(arguments)
        flush()
    except Refusal as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 1
    except NotWritten as lost:
        if not lost.reader_has_gone:
            sys.stderr.write(f"{lost}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _run(arguments: Sequence[str]) -> int:
    try:
        parsed = parser().parse_args(arguments)
    except SystemExit as ended:  # by argparse: the help, the version, or what is wrong
        return ended.code if isinstance(ended.code, int) else 2
    # Imported only when it is wanted: the help must come at once, and SQLAlchemy and Flask take a second.
    family, _, name = parsed.run.rpartition(".")
    getattr(import_module(f"bridge.commands.{family}"), name)(parsed)
    return 0
