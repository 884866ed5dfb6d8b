"""Registers watches, reads them by id or registration key, saves changed ones, and makes watches due earlier."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, literal, or_, select, update

from bridge.core.delivery import Attempt
from bridge.core.watch import State, Watch
from bridge.db import batches
from bridge.db.claims import save_watches
from bridge.db.dialect_sql import in_parameter
from bridge.db.rows import COLUMNS, REGISTERED, to_watch, values_of
from bridge.db.tables import IS_OPEN, answers, attempts, is_state, watches

# At most this many attempts of a watch are read: the default schedule makes eleven, but each redelivery adds more.
ATTEMPTS = 1000
WAITING_SAMPLE = 20
NEWEST_SCANNED = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredWatch:
    """A watch, and HubSpot's stored answer as JSON text; `hubspot_body` is None when there is none."""

    watch: Watch
    hubspot_body: str | None


def add(connection: Connection, new: Mapping[str, Watch]) -> dict[str, StoredWatch]:
    """Insert each watch of `new` whose registration key is free; return the stored watches by key.

    `new` maps registration keys to watches. For a key that is not free, the result has the older watch. Another
    transaction may withdraw the older watch during this call. The result may then lack the key.
    """
    # Sorted, so that two batches that overlap cannot deadlock.
    rows = [values_of(watch, REGISTERED) | {"registration_key": key} for key, watch in sorted(new.items())]
    added = {row.registration_key for row in batches.run(connection, _ADD, rows)}
    stored = {key: StoredWatch(watch=watch, hubspot_body=None) for key, watch in new.items() if key in added}
    if older := new.keys() - added:
        for key, body, *columns in connection.execute(_EXISTING, {"keys": older}):
            stored[key] = StoredWatch(watch=to_watch(columns), hubspot_body=body)
    return stored


_ADD = batches.inserting(
    watches,
    (*REGISTERED, "registration_key"),
    lambda insert: insert.on_conflict_do_nothing(index_elements=["registration_key"]).returning(
        watches.c.registration_key
    ),
)


def existing_keys(connection: Connection, keys: Collection[str]) -> set[str]:
    """Return which of these registration keys belong to stored watches."""
    return {row.registration_key for row in connection.execute(_REGISTERED, {"keys": keys})}


_REGISTERED = select(watches.c.registration_key).where(in_parameter(watches.c.registration_key, "keys"))
# One statement for the watches and the answers: each statement of a writing transaction may see a later state.
_EXISTING = _REGISTERED.add_columns(answers.c.body, *COLUMNS).outerjoin(
    answers, answers.c.watch_id == watches.c.id
)


def get(connection: Connection, watch_id: str) -> Watch | None:
    """Return the watch with this id; None when there is none."""
    row = connection.execute(select(*COLUMNS).where(watches.c.id == watch_id)).first()
    return to_watch(row) if row else None


def lock(connection: Connection, ids: Collection[str]) -> list[Watch]:
    """Return the stored watches with these ids, and lock their rows until the transaction ends."""
    return [to_watch(row) for row in connection.execute(_LOCKED, {"ids": ids})]


_LOCKED = select(*COLUMNS).where(in_parameter(watches.c.id, "ids")).order_by(watches.c.id).with_for_update()


def save(connection: Connection, changed: Watch) -> None:
    """Save a changed watch, whose row the caller has locked.

    Also clears the registration key of a withdrawn watch, so that the same task can be registered anew.
    """
    save_watches(connection, [changed])
    if changed.state is State.WITHDRAWN:
        connection.execute(update(watches).where(watches.c.id == changed.id).values(registration_key=None))


def answers_of(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    """Return HubSpot's stored answers, as JSON text, by watch id; watches without one are left out."""
    return {row.watch_id: row.body for row in connection.execute(_ANSWERS, {"ids": ids})}


_ANSWERS = select(answers).where(in_parameter(answers.c.watch_id, "ids"))


def attempts_of(connection: Connection, watch_id: str) -> list[Attempt]:
    """Return a watch's newest attempts, up to ATTEMPTS, oldest first."""
    newest = select(attempts).where(attempts.c.watch_id == watch_id).order_by(attempts.c.number.desc())
    rows = connection.execute(newest.limit(ATTEMPTS)).mappings().all()
    return [Attempt(**row) for row in reversed(rows)]


def make_failed_polls_due(connection: Connection, account: str, now: datetime) -> None:
    """Make the next poll due now for each of an account's watches whose last poll failed.

    Watches that a worker has claimed stay as they are.
    """
    failed = or_(watches.c.failures > 0, watches.c.account_errors > 0)
    waiting = is_state(State.WATCHING), failed, watches.c.claimed_by.is_(None)
    mine = watches.c.account == account, watches.c.due_at > now
    # Rows are locked in the same order everywhere, so that two transactions cannot deadlock.
    found = select(watches.c.id).where(*waiting, *mine).order_by(watches.c.id).with_for_update()
    connection.execute(update(watches).where(watches.c.id.in_(found)).values(due_at=now))


def bring_forward(connection: Connection, host: str, now: datetime) -> str | None:
    """Make a host's next unclaimed callback due now, unless due already; return the id of its watch.

    The next callback is the one with the earliest `due_at`. Returns None when the host has no unclaimed callback.
    Watches that another transaction has locked are skipped.
    """
    waiting = is_state(State.DELIVERING), watches.c.callback_host == host, watches.c.claimed_by.is_(None)
    found = select(watches.c.id).where(*waiting).order_by(watches.c.due_at).limit(1)
    watch_id: str | None = connection.scalar(found.with_for_update(skip_locked=True))
    late = watches.c.id == watch_id, watches.c.due_at > now
    connection.execute(update(watches).where(*late).values(due_at=now))
    return watch_id


def waiting_for_host(connection: Connection, host: str, *, most: int) -> tuple[int, datetime | None]:
    """Return how many watches of a host are `delivering`, and when the first of them got its outcome.

    The count stops at `most`. The instant is approximate; None when there are no such watches.
    """
    waiting = is_state(State.DELIVERING), watches.c.callback_host == host
    counted = select(literal(1)).where(*waiting).select_from(watches).limit(most).subquery()
    # Waits grow with each attempt, so callbacks that have waited longest are mostly due last.
    due_last = select(watches.c.ended_at).where(*waiting).order_by(watches.c.due_at.desc())
    longest = due_last.limit(WAITING_SAMPLE).subquery()
    count = select(func.count()).select_from(counted).scalar_subquery()
    since = select(func.min(longest.c.ended_at)).scalar_subquery()
    found, first = connection.execute(select(count, since)).one()
    return found, first


def is_watched(connection: Connection, account: str) -> bool:
    """Return whether the account has watches in the state WATCHING.

    The polls of such watches need the account's credentials.
    """
    # max() is one look-up in the index that begins with the account; EXISTS might read another index whole.
    found = select(func.max(watches.c.account)).where(is_state(State.WATCHING), watches.c.account <= account)
    return connection.execute(found).scalar() == account


def count_open_watches(connection: Connection, client: str) -> int:
    """Return how many watches of a client are `watching` or `delivering`."""
    mine = select(func.count()).where(watches.c.client == client, IS_OPEN)
    count: int = connection.execute(mine).scalar_one()
    return count


def newest_callback_urls(connection: Connection) -> Sequence[str]:
    """Return the callback URLs of the newest watches, at most NEWEST_SCANNED, newest first."""
    newest = select(watches.c.callback_url).order_by(watches.c.id.desc()).limit(NEWEST_SCANNED)
    return connection.scalars(newest).all()


def kinds_of_account(connection: Connection, account: str) -> frozenset[str]:
    """Return the kinds of an account's watches; some may be missing, because the search is bounded.

    Two groups are read: up to NEWEST_SCANNED of the account's `watching` watches, whichever the database finds first,
    and the NEWEST_SCANNED newest watches of all accounts, of which only the account's own count.
    """
    to_poll = select(watches.c.kind).where(watches.c.account == account, is_state(State.WATCHING))
    newest = select(watches.c.account, watches.c.kind).order_by(watches.c.id.desc()).limit(NEWEST_SCANNED)
    found = [row.kind for row in connection.execute(newest) if row.account == account]
    return frozenset((*found, *connection.scalars(to_poll.limit(NEWEST_SCANNED))))
