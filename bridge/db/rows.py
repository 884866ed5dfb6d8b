"""Makes a Watch from a row, and a row's values from a Watch or an Attempt."""

from collections.abc import Iterable
from dataclasses import fields
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


def to_watch(row: Iterable[Any]) -> Watch:
    """Return the Watch of a row that was selected with COLUMNS."""
    return Watch(**dict(zip(NAMES, row, strict=True)))


def values_of(record: Watch | Attempt, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of the fields `names`, keyed by field; each field is a column of the same name."""
    # In place of `dataclasses.asdict`, whose deep copies took 8 % of a busy worker's time.
    return {name: getattr(record, name) for name in names}
