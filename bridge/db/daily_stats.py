"""How many requests to HubSpot were made for each account on a day (in UTC), and how many of them failed.

HubSpot limits a day's requests, and the share of them that fail.
"""

from collections.abc import Mapping
from datetime import date

from sqlalchemy import Connection, delete, select

from bridge.db import batches
from bridge.db.tables import account_days


def count(connection: Connection, day: date, made: Mapping[str, tuple[int, int]]) -> None:
    """Add `made`, the (requests, errors) of each account, to the numbers of `day`."""
    rows = [
        {"account": account, "day": day, "requests": requests, "errors": errors}
        for account, (requests, errors) in sorted(made.items())
    ]
    batches.run(connection, _ADD, rows)


def counts(connection: Connection, day: date) -> dict[str, tuple[int, int]]:
    """Return the (requests, errors) of the day, by account."""
    rows = connection.execute(select(account_days).where(account_days.c.day == day))
    return {row.account: (row.requests, row.errors) for row in rows}


_ADD = batches.inserting(
    account_days,
    ("account", "day", "requests", "errors"),
    lambda insert: insert.on_conflict_do_update(
        index_elements=list(account_days.primary_key),
        set_={name: account_days.c[name] + insert.excluded[name] for name in ("requests", "errors")},
    ),
)


def prune(connection: Connection, before: date) -> None:
    """Delete the request counts of all days before the day `before`."""
    connection.execute(delete(account_days).where(account_days.c.day < before))
