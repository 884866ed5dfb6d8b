"""What the families of commands have in common: verbs about something that has a name."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge.commands.output import show_fields, show_json, show_table


def add_verb(
    verbs: Any,
    name: str,
    run: Callable[[argparse.Namespace], None],
    text: str,
    *,
    named: Callable[[str], str] | None = str,
) -> argparse.ArgumentParser:
    """Add a verb that takes `--json` and, unless `named` is None, a NAME that `named` reads."""
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    if named:
        verb.add_argument("name", metavar="NAME", type=named)
    verb.add_argument("--json", action="store_true", help="print JSON, and nothing else")
    verb.set_defaults(run=run)
    return verb


def show_one(arguments: argparse.Namespace, fields: Mapping[str, object]) -> None:
    """Print one thing, as the caller wants it."""
    if arguments.json:
        show_json(fields)
    else:
        show_fields(fields)


def show_all(
    arguments: argparse.Namespace, every: Sequence[Mapping[str, object]], *, empty: str = ""
) -> None:
    """Print all things, as the caller wants them, or the sentence `empty` when there are none."""
    if arguments.json:
        show_json(every)
    else:
        show_table(every, empty=empty)
