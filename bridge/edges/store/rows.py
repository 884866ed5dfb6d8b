"""Rows of `watches` as values, and back."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

from bridge.core.watch import Watch
from bridge.edges.tables import watches

NAMES = tuple(field.name for field in fields(Watch))
COLUMNS = tuple(watches.c[name] for name in NAMES)

# What a step may change; the rest was settled at registration.
CHANGING = NAMES[NAMES.index("state") :]


def to_watch(row: Iterable[Any]) -> Watch:
    """Return the watch of a row of COLUMNS."""
    return Watch(**dict(zip(NAMES, row, strict=True)))


def to_row(watch: Watch) -> dict[str, Any]:
    """Return all columns of a watch."""
    return asdict(watch)


def to_changes(watch: Watch) -> dict[str, Any]:
    """Return the columns of a watch that a step may change."""
    return {name: getattr(watch, name) for name in CHANGING}
