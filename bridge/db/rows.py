"""Conversions between rows and the values of the core."""

from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from bridge.core.delivery import Attempt
from bridge.core.watch import Watch
from bridge.db.tables import watches

NAMES = tuple(field.name for field in fields(Watch))
COLUMNS = tuple(watches.c[name] for name in NAMES)

# The columns that a step may change; the rest is fixed at registration.
CHANGING = NAMES[NAMES.index("state") :]
# The columns that a registration sets; the rest begins with the table's defaults.
REGISTERED = (*NAMES[: NAMES.index("state")], "due_at", "age_zero_at")
ATTEMPT = tuple(field.name for field in fields(Attempt))

# `dataclasses.asdict` copies each value deeply: it was 8 % of a busy worker's time.
_registered_of = attrgetter(*REGISTERED)
_changing_of = attrgetter(*CHANGING)
_attempt_of = attrgetter(*ATTEMPT)


def to_watch(row: Iterable[Any]) -> Watch:
    """Return the watch of a row of COLUMNS."""
    return Watch(**dict(zip(NAMES, row, strict=True)))


def to_row(watch: Watch) -> dict[str, Any]:
    """Return the columns of a new watch."""
    return dict(zip(REGISTERED, _registered_of(watch), strict=True))


def to_changes(watch: Watch) -> dict[str, Any]:
    """Return the columns of a watch that a step may change."""
    return dict(zip(CHANGING, _changing_of(watch), strict=True))


def to_attempt_row(attempt: Attempt) -> dict[str, Any]:
    """Return the columns of an attempt."""
    return dict(zip(ATTEMPT, _attempt_of(attempt), strict=True))
