"""Prints commands' output (tables for people, JSON for programs), reads their input, defines their errors."""

import argparse
import codecs
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any

# The name of an error handler (PEP 293). JSON text that it has changed has the same value.
JSON_ESCAPES = "json_escapes"


class CommandError(Exception):
    """The command failed; the message, printed without a traceback, is for the user."""


class OutputError(Exception):
    """Standard output cannot be written to.

    `reader_has_gone` is true when standard output is a pipe whose reader has gone.
    """

    def __init__(self, error: OSError | None) -> None:
        self.reader_has_gone = isinstance(error, BrokenPipeError)
        why = error.strerror if error else "it is closed"
        super().__init__(f"Standard output cannot be written to: {why}. What the command changes is changed.")


class Colour(StrEnum):
    """A terminal's escape sequence for a colour (ECMA-48, 8.3.117)."""

    RED = "\x1b[31m"
    GREEN = "\x1b[32m"
    YELLOW = "\x1b[33m"


def escape_unencodable() -> None:
    """Make standard output write a JSON escape for each character that it cannot encode."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=JSON_ESCAPES)


def _escape(error: Any) -> tuple[str, int]:
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(JSON_ESCAPES, _escape)


def write(text: str) -> None:
    """Write to standard output, and flush it. Raises OutputError when that fails."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, AttributeError, ValueError) as error:
        # Standard output is replaced by /dev/null: else Python would flush again at exit, and print its own error.
        with suppress(OSError, AttributeError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(error if isinstance(error, OSError) else None) from None


def read_input() -> bytes:
    """Return all of standard input. Raises CommandError when it cannot be read."""
    try:
        return sys.stdin.buffer.read()
    except (OSError, AttributeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is closed"
        raise CommandError(f"Standard input cannot be read: {why}.") from None


def coloured(text: str, colour: Colour) -> str:
    """Return the text in a colour; unchanged when standard output is no terminal, or NO_COLOR is not empty."""
    return f"{colour}{text}\x1b[0m" if is_terminal() and not os.environ.get("NO_COLOR") else text


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return bool(sys.stdout) and sys.stdout.isatty()


def show_one(arguments: argparse.Namespace, fields: Mapping[str, object]) -> None:
    """Print an object: as JSON with `--json`, else with a line for each field."""
    write(json_text(fields) if arguments.json else fields_text(fields))


def show_all(
    arguments: argparse.Namespace, every: Sequence[Mapping[str, object]], *, empty: str = ""
) -> None:
    """Print objects: as JSON with `--json`, else as a table.

    If there are no objects, the text `empty` is printed in place of the table.
    """
    write(json_text(every) if arguments.json else table_text(every) or f"{empty}\n")


def json_text(value: Any) -> str:
    """Return a value as indented JSON."""
    return json.dumps(value, indent=2) + "\n"


def table_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows as a text table, with the first row's keys as the header; '' when there are no rows."""
    if not rows:
        return ""
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def fields_text(fields: Mapping[str, object]) -> str:
    """Return an object as text, with a line for each field."""
    width = max(map(len, fields))
    return "".join(f"{name.ljust(width)}  {_cell(value)}\n" for name, value in fields.items())


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {each}" for name, each in value.items())
    # Values from outside must not send control characters to a terminal.
    return "-" if value is None else "".join(c if c.isprintable() else "�" for c in str(value))
