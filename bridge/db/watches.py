"""Statements on single watches: registration, reads, withdrawal, and changes by hand."""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol

from sqlalchemy import Connection, TextClause, column, func, literal, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from bridge.core.delivery import Attempt
from bridge.core.watch import State, Watch
from bridge.db.claims import put
from bridge.db.dialect_sql import in_parameter
from bridge.db.rows import COLUMNS, REGISTERED, to_row, to_watch
from bridge.db.tables import answers, attempts, is_open, is_state, watches

# A schedule makes eleven; only redeliveries make more, and of these there is no end.
ATTEMPTS = 1000
WAITING_SAMPLE = 20


class Registering(Protocol):
    """The fields that make two registrations the same one."""

    @property
    def client(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def task_id(self) -> str: ...
    @property
    def callback_url(self) -> str: ...


def registration_key(watch: Registering) -> str:
    """Return a hash of the fields that make two registrations the same one."""
    parts = (watch.client, watch.kind, watch.account, watch.task_id, watch.callback_url)
    # Lengths in front keep ("ab", "c") apart from ("a", "bc").
    return sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def add(connection: Connection, new: Mapping[str, Watch]) -> dict[str, Watch]:
    """Register watches by their registration keys, in one statement; return the stored watch of each key.

    For a repeated registration that is the older watch, which has another id.
    """
    # Sorted, so that two batches that overlap never wait for each other in a circle.
    rows = [to_row(watch) | {"registration_key": key} for key, watch in sorted(new.items())]
    dialect = connection.dialect.name
    written = json.dumps(rows, default=lambda instant: _instant_text(instant, _INSTANT[dialect]))
    added = set(connection.scalars(_ADD[dialect], {"rows": written}))
    stored = {key: watch for key, watch in new.items() if key in added}
    if older := new.keys() - added:
        found = connection.execute(_EXISTING, {"keys": older})
        stored |= {key: to_watch(columns) for key, *columns in found}
    return stored


@lru_cache(maxsize=64)  # a batch has but a few
def _instant_text(instant: datetime, form: str) -> str:
    return instant.astimezone(UTC).strftime(form)


# The format in which SQLite stores instants; PostgreSQL gets the zone, since its own may differ.
_INSTANT = {"sqlite": "%Y-%m-%d %H:%M:%S.%f", "postgresql": "%Y-%m-%d %H:%M:%S.%f+00"}
_NEW = (*REGISTERED, "registration_key")
# All rows are one parameter, which the database takes apart: with one for each value, a thousand rows
# took half as long again.
_TABLE: dict[str, tuple[TextClause, list[Any]]] = {
    "sqlite": (text("json_each(:rows)"), [func.json_extract(column("value"), f"$.{name}") for name in _NEW]),
    "postgresql": (
        text("json_populate_recordset(NULL::watches, CAST(:rows AS json))"),
        [column(name) for name in _NEW],
    ),
}


def _add_statement(dialect: str, insert: Any) -> Any:
    rows, values = _TABLE[dialect]
    # Without a WHERE, SQLite would take ON CONFLICT for the condition of a join.
    found = select(*values).select_from(rows).where(text("true"))
    return (
        insert(watches)
        .from_select(_NEW, found)
        .on_conflict_do_nothing(index_elements=["registration_key"])
        .returning(watches.c.registration_key)
    )


_ADD = {
    "sqlite": _add_statement("sqlite", sqlite.insert),
    "postgresql": _add_statement("postgresql", postgresql.insert),
}


def registered(connection: Connection, keys: Collection[str]) -> set[str]:
    """Return those of the registration keys that a stored watch has."""
    return {row.registration_key for row in connection.execute(_REGISTERED, {"keys": keys})}


_REGISTERED = select(watches.c.registration_key).where(in_parameter(watches.c.registration_key, "keys"))
_EXISTING = _REGISTERED.add_columns(*COLUMNS)


def get(connection: Connection, watch_id: str) -> Watch | None:
    """Return one watch."""
    row = connection.execute(select(*COLUMNS).where(watches.c.id == watch_id)).first()
    return to_watch(row) if row else None


def lock(connection: Connection, ids: Collection[str]) -> list[Watch]:
    """Return watches, locked until the transaction ends."""
    return [to_watch(row) for row in connection.execute(_LOCKED, {"ids": ids})]


_LOCKED = select(*COLUMNS).where(in_parameter(watches.c.id, "ids")).order_by(watches.c.id).with_for_update()


def withdrawn(connection: Connection, watch: Watch) -> None:
    """Save a withdrawn watch and clear its registration key, so that the same task may be registered again."""
    put(connection, [watch])
    connection.execute(update(watches).where(watches.c.id == watch.id).values(registration_key=None))


def answers_of(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    """Return HubSpot's last answer of each watch that has one, as JSON text."""
    return {row.watch_id: row.body for row in connection.execute(_ANSWERS, {"ids": ids})}


_ANSWERS = select(answers).where(in_parameter(answers.c.watch_id, "ids"))


def attempts_of(connection: Connection, watch_id: str) -> list[Attempt]:
    """Return a watch's newest attempts, up to ATTEMPTS, oldest first."""
    newest = select(attempts).where(attempts.c.watch_id == watch_id).order_by(attempts.c.number.desc())
    rows = connection.execute(newest.limit(ATTEMPTS)).mappings().all()
    return [Attempt(**row) for row in reversed(rows)]


def retry(connection: Connection, account: str, now: datetime) -> None:
    """Make an account's watches that back off after failures due now."""
    waiting = is_state(State.WATCHING), watches.c.failures > 0, watches.c.claimed_by.is_(None)
    mine = watches.c.account == account, watches.c.due_at > now
    # In one order everywhere, so that nobody waits for each other in a circle.
    found = select(watches.c.id).where(*waiting, *mine).order_by(watches.c.id).with_for_update()
    connection.execute(update(watches).where(watches.c.id.in_(found)).values(due_at=now))


def bring_forward(connection: Connection, host: str, now: datetime) -> str | None:
    """Make the next callback to a host due now, and return its watch's id; None when none waits."""
    waiting = is_state(State.DELIVERING), watches.c.callback_host == host, watches.c.claimed_by.is_(None)
    found = select(watches.c.id).where(*waiting).order_by(watches.c.due_at).limit(1)
    watch_id: str | None = connection.scalar(found.with_for_update(skip_locked=True))
    late = watches.c.id == watch_id, watches.c.due_at > now
    connection.execute(update(watches).where(*late).values(due_at=now))
    return watch_id


def waiting_for_host(connection: Connection, host: str, *, most: int) -> tuple[int, datetime | None]:
    """Return how many callbacks wait for a host, `most` when there are more, and since when the first of them does.

    The callbacks that have waited longest have the latest `due_at`: only the last WAITING_SAMPLE are examined.
    """
    waiting = is_state(State.DELIVERING), watches.c.callback_host == host
    counted = select(literal(1)).where(*waiting).select_from(watches).limit(most).subquery()
    due_last = select(watches.c.ended_at).where(*waiting).order_by(watches.c.due_at.desc())
    longest = due_last.limit(WAITING_SAMPLE).subquery()
    count = select(func.count()).select_from(counted).scalar_subquery()
    since = select(func.min(longest.c.ended_at)).scalar_subquery()
    found, first = connection.execute(select(count, since)).one()
    return found, first


def is_watched(connection: Connection, account: str) -> bool:
    """Return whether an account has a watch in the state WATCHING, which needs the account's credentials."""
    # One probe of the index that begins with the account; another one would be read whole.
    found = select(func.max(watches.c.account)).where(is_state(State.WATCHING), watches.c.account <= account)
    return connection.execute(found).scalar() == account


def open_watches(connection: Connection, client: str) -> int:
    """Return how many watches of a client are still watching or delivering."""
    mine = select(func.count()).where(watches.c.client == client, is_open())
    count: int = connection.execute(mine).scalar_one()
    return count
