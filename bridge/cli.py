"""The command line, `python -m bridge COMMAND`; the commands' functions are in `bridge.commands`."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO

from bridge.commands.arguments import parser
from bridge.commands.output import CommandError, OutputError, escape_unencodable, write
from bridge.stderr import protect

INTERRUPTED = 130  # 128 plus the number of SIGINT, as in shells


def main(arguments: Sequence[str]) -> int:
    """Run a command; return its exit status.

    - 0: the command succeeded.
    - 1: the command failed.
    - 2: the parser refused the arguments.
    - 130: a KeyboardInterrupt ended the command.

    Raises SystemExit with the status 2 when settings are wrong, when too few open files are allowed, and when the
    command refuses arguments that the parser has accepted. The command `serve` runs gunicorn; when gunicorn ends,
    `main` raises SystemExit with gunicorn's status.
    """
    protect()
    escape_unencodable()
    try:
        return _run(arguments)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OutputError as error:
        if not error.reader_has_gone:
            sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _parsed(arguments: Sequence[str]) -> Namespace:
    commands = parser()
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:  # no database takes such a text
        commands.error("an argument holds bytes that are not UTF-8")
    return commands.parse_args(arguments)


def _run(arguments: Sequence[str]) -> int:
    # argparse ignores an error of writing the help or the version.
    printed = StringIO()
    try:
        with redirect_stdout(printed):
            parsed = _parsed(arguments)
    except SystemExit as exit_:  # argparse has printed the help or the version, or printed an error
        if text := printed.getvalue():
            write(text)
        return exit_.code if isinstance(exit_.code, int) else 2
    # Imported here, because SQLAlchemy and others take most of a second to import: the help must be fast.
    family, _, name = parsed.run.rpartition(".")
    command = getattr(import_module(f"bridge.commands.{family}"), name)
    with import_module("bridge.commands.open_bridge").refuse_unavailable_database():
        command(parsed)
    return 0
