"""Makes a Watch from a row, and a row's values from a Watch or an Attempt."""

from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from bridge.core.delivery import Attempt
from bridge.core.watch import Watch
from bridge.db.tables import watches

NAMES = tuple(field.name for field in fields(Watch))
COLUMNS = tuple(watches.c[name] for name in NAMES)

# The columns that may change after registration.
CHANGING = NAMES[NAMES.index("state") :]
# The columns that a registration sets; the others begin with the table's defaults.
REGISTERED = (*NAMES[: NAMES.index("state")], "due_at", "age_zero_at")
ATTEMPT = tuple(field.name for field in fields(Attempt))

# In place of `dataclasses.asdict`, whose deep copies took 8 % of a busy worker's time.
_registered_of = attrgetter(*REGISTERED)
_changing_of = attrgetter(*CHANGING)
_attempt_of = attrgetter(*ATTEMPT)


def to_watch(row: Iterable[Any]) -> Watch:
    """Return the Watch of a row that was selected with COLUMNS."""
    return Watch(**dict(zip(NAMES, row, strict=True)))


def to_row(watch: Watch) -> dict[str, Any]:
    """Return a new watch's values for an INSERT, by column: only the columns in REGISTERED."""
    return dict(zip(REGISTERED, _registered_of(watch), strict=True))


def to_changes(watch: Watch) -> dict[str, Any]:
    """Return a watch's values for an UPDATE, by column: only the columns that may change after registration."""
    return dict(zip(CHANGING, _changing_of(watch), strict=True))


def to_attempt_row(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt's values by column, to be inserted."""
    return dict(zip(ATTEMPT, _attempt_of(attempt), strict=True))
