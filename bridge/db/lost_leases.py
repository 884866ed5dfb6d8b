"""How many results came too late to be saved: the fence at work, and slow workers behind it."""

from datetime import date

from sqlalchemy import Connection, delete, select

from bridge.db.dialect_sql import for_each_dialect
from bridge.db.tables import worker_days


def count(connection: Connection, day: date, lost: int) -> None:
    """Add to the day's losses."""
    if lost:
        connection.execute(_ADD[connection.dialect.name], {"day": day, "leases_lost": lost})


_ADD = for_each_dialect(
    lambda insert: (add := insert(worker_days)).on_conflict_do_update(
        index_elements=["day"],
        set_={"leases_lost": worker_days.c.leases_lost + add.excluded.leases_lost},
    )
)


def counted(connection: Connection, day: date) -> int:
    """Return the day's losses, of all workers together."""
    found = select(worker_days.c.leases_lost).where(worker_days.c.day == day)
    return connection.execute(found).scalar() or 0


def prune(connection: Connection, before: date) -> None:
    """Delete the days before this one."""
    connection.execute(delete(worker_days).where(worker_days.c.day < before))
