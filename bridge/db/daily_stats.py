"""What each account did in a day: requests, errors, and how late ends were noticed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, select

from bridge.core.detection_delay import bound_of
from bridge.db.dialect_sql import for_each_dialect
from bridge.db.tables import account_days, account_delays


def count(connection: Connection, day: date, made: Mapping[str, tuple[int, int]]) -> None:
    """Add (requests, errors) to each account's day."""
    if not made:
        return
    rows = [
        {"account": account, "day": day, "requests": requests, "errors": errors}
        for account, (requests, errors) in sorted(made.items())
    ]
    connection.execute(_ADD_COUNTS[connection.dialect.name], rows)


def counts(connection: Connection, day: date) -> dict[str, tuple[int, int]]:
    """Return each account's (requests, errors) of the day."""
    rows = connection.execute(select(account_days).where(account_days.c.day == day))
    return {row.account: (row.requests, row.errors) for row in rows}


def _adding(table: Table, *names: str) -> dict[str, Any]:
    """Return a statement that adds to what is there, for each dialect."""

    def build(insert: Any) -> Any:
        add = insert(table)
        sums = {name: table.c[name] + add.excluded[name] for name in names}
        return add.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums)

    return for_each_dialect(build)


_ADD_COUNTS = _adding(account_days, "requests", "errors")
_ADD_DELAYS = _adding(account_delays, "detections", "delay_seconds")


def note_delays(connection: Connection, day: date, noticed: Mapping[str, Sequence[float]]) -> None:
    """Add the delays, in seconds, with which each account's ends were noticed."""
    rows = [
        {
            "account": account,
            "day": day,
            "bound_seconds": bound,
            "detections": len(delays),
            "delay_seconds": sum(delays),
        }
        for account, all_delays in sorted(noticed.items())
        for bound, delays in sorted(_by_bound(all_delays).items())
    ]
    if rows:
        connection.execute(_ADD_DELAYS[connection.dialect.name], rows)


def _by_bound(delays: Sequence[float]) -> dict[float, list[float]]:
    found: dict[float, list[float]] = defaultdict(list)
    for delay in delays:
        found[bound_of(delay)].append(delay)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Delays:
    """An account's day as a histogram: detections by upper bound, and the sum of the delays."""

    detections: Mapping[float, int]
    delay_seconds: float


def delays(connection: Connection, day: date) -> dict[str, Delays]:
    """Return each account's histogram of the day."""
    rows = connection.execute(select(account_delays).where(account_delays.c.day == day)).all()
    by_account: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        by_account[row.account].append(row)
    return {
        account: Delays(
            detections={row.bound_seconds: row.detections for row in theirs},
            delay_seconds=sum(row.delay_seconds for row in theirs),
        )
        for account, theirs in by_account.items()
    }


def prune(connection: Connection, before: date) -> None:
    """Delete the days before this one."""
    for table in (account_days, account_delays):
        connection.execute(delete(table).where(table.c.day < before))
