"""How commands speak: tables for people, JSON for programs, one sentence for a refusal."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


class Refusal(Exception):
    """The command cannot do that: the message says why, and what to do."""


def show_json(value: Any) -> None:
    """Print a value as JSON, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def show_table(rows: Sequence[Mapping[str, object]], *, empty: str) -> None:
    """Print rows in columns, or the sentence `empty` when there are none."""
    if not rows:
        sys.stdout.write(f"{empty}\n")
        return
    lines = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def show_fields(fields: Mapping[str, object]) -> None:
    """Print one thing, a field a line."""
    width = max(map(len, fields))
    for name, value in fields.items():
        sys.stdout.write(f"{name.ljust(width)}  {_cell(value)}\n")


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
