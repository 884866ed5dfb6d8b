"""The circuit breakers of accounts and hosts, and the accounts' quotas; all processes share them."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, delete, exists, func, select, update

from bridge.core.account_limits import AccountLimits
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.quota import Usage
from bridge.core.watch import State
from bridge.db import batches
from bridge.db.dialect_sql import dialect_insert, in_parameter
from bridge.db.tables import account_breakers, host_breakers, is_state, watches

# The tables of breakers, by a watch's state: polls need the breaker of their account, callbacks that of their host.
BREAKERS = {State.WATCHING: account_breakers, State.DELIVERING: host_breakers}
# The condition that callbacks to a breaker's host are still to be delivered.
HOST_HAS_CALLBACKS = exists().where(
    is_state(State.DELIVERING), watches.c.callback_host == host_breakers.c.name
)
# The conditions that a host is paused and has callbacks to deliver.
_PAUSED = host_breakers.c.paused_until.is_not(None), HOST_HAS_CALLBACKS
_BREAKER = tuple(f.name for f in fields(CircuitBreaker))
_USAGE = tuple(f.name for f in fields(Usage))


def lock_account_limits(connection: Connection, names: Collection[str]) -> dict[str, AccountLimits]:
    """Return the accounts' limits, by name. Adds missing rows, and locks the rows until the transaction ends."""
    new = asdict(CircuitBreaker()) | asdict(Usage()) | {"refused_watches": ""}
    return {row.name: _to_limits(row) for row in _locked(connection, account_breakers, names, new)}


def _locked(
    connection: Connection, table: Table, names: Collection[str], new: dict[str, Any]
) -> list[Row[Any]]:
    if not names:
        return []
    wanted = {"names": list(names)}
    rows = list(connection.execute(_LOCKED[table], wanted))
    if missing := set(names) - {row.name for row in rows}:
        add = dialect_insert(connection, table)
        # Locks a row that another transaction has added meanwhile, which a third one could delete otherwise.
        add = add.on_conflict_do_update(index_elements=["name"], set_={"name": add.excluded.name})
        connection.execute(add, [{"name": name, **new} for name in sorted(missing)])
        rows = list(connection.execute(_LOCKED[table], wanted))
    return rows


# Rows are locked in the same order everywhere, so that two transactions cannot deadlock.
_LOCKED = {
    table: select(table).where(in_parameter(table.c.name, "names")).order_by(table.c.name).with_for_update()
    for table in BREAKERS.values()
}


def all_account_limits(connection: Connection) -> dict[str, AccountLimits]:
    """Return the saved limits, by account name; an account without saved limits is left out."""
    return {row.name: _to_limits(row) for row in connection.execute(select(account_breakers))}


def read_account_limits(connection: Connection, names: Collection[str]) -> dict[str, AccountLimits]:
    """Return the limits of the named accounts, by name, without a lock; accounts without a row are left out."""
    rows = connection.execute(_ACCOUNTS, {"names": list(names)})
    return {row.name: _to_limits(row) for row in rows}


_ACCOUNTS = select(account_breakers).where(in_parameter(account_breakers.c.name, "names"))


def save_account_limits(connection: Connection, limits: Mapping[str, AccountLimits]) -> None:
    """Save accounts' limits. The caller has locked their rows."""
    rows = [{"name": name, **_to_account_row(each)} for name, each in limits.items()]
    batches.run(connection, _SAVE_ACCOUNTS, rows)


_SAVE_ACCOUNTS = batches.updating(account_breakers, "name", (*_BREAKER, *_USAGE, "refused_watches"))


def forget_account(connection: Connection, name: str) -> None:
    """Delete the limits of an account that was removed."""
    connection.execute(delete(account_breakers).where(account_breakers.c.name == name))


def read_hosts(connection: Connection, names: Collection[str]) -> dict[str, CircuitBreaker]:
    """Return the breakers of the named hosts, by name; a host without a row is left out: its breaker is closed."""
    rows = connection.execute(_HOSTS, {"names": list(names)})
    return {row.name: to_breaker(row) for row in rows}


_HOSTS = select(host_breakers).where(in_parameter(host_breakers.c.name, "names"))


def count_paused_hosts(connection: Connection) -> int:
    """Return how many hosts with callbacks to deliver have an open or half-open breaker."""
    return connection.execute(select(func.count()).select_from(host_breakers).where(*_PAUSED)).scalar_one()


def paused_hosts(connection: Connection, *, most: int) -> dict[str, CircuitBreaker]:
    """Return the breakers of up to `most` paused hosts with callbacks to deliver, keyed by name.

    Hosts with the largest `pause_seconds` come first.
    """
    longest_first = host_breakers.c.pause_seconds.desc(), host_breakers.c.name
    rows = connection.execute(select(host_breakers).where(*_PAUSED).order_by(*longest_first).limit(most))
    return {row.name: to_breaker(row) for row in rows}


def troubled_hosts(connection: Connection, *, most: int) -> dict[str, CircuitBreaker]:
    """Return the breakers of up to `most` failing or recovering hosts, keyed by name; paused hosts come first."""
    paused_first = (
        host_breakers.c.paused_until.is_(None),
        host_breakers.c.failures.desc(),
        host_breakers.c.name,
    )
    rows = connection.execute(select(host_breakers).order_by(*paused_first).limit(most))
    return {row.name: to_breaker(row) for row in rows}


def make_trial_due(connection: Connection, host: str, now: datetime) -> None:
    """Make the trial request of a paused host due now; other callbacks wait until a trial succeeds."""
    paused = host_breakers.c.name == host, host_breakers.c.paused_until > now
    connection.execute(update(host_breakers).where(*paused).values(paused_until=now))


def lock_hosts(connection: Connection, names: Collection[str]) -> dict[str, CircuitBreaker]:
    """Return the hosts' breakers, by name. Adds missing rows, and locks the rows until the transaction ends."""
    return {
        row.name: to_breaker(row)
        for row in _locked(connection, host_breakers, names, asdict(CircuitBreaker()))
    }


def save_hosts(connection: Connection, hosts: Mapping[str, CircuitBreaker]) -> None:
    """Save hosts' breakers, whose rows the caller has locked.

    Deletes the row of a breaker that equals a new `CircuitBreaker()`.
    """
    if well := [name for name, breaker in hosts.items() if breaker == CircuitBreaker()]:
        connection.execute(_FORGET_HOSTS, {"names": well})
    rows = [
        {"name": name, **asdict(breaker)} for name, breaker in hosts.items() if breaker != CircuitBreaker()
    ]
    batches.run(connection, _SAVE_HOSTS, rows)


_FORGET_HOSTS = delete(host_breakers).where(in_parameter(host_breakers.c.name, "names"))
_SAVE_HOSTS = batches.updating(host_breakers, "name", _BREAKER)


def take_trial(connection: Connection, name: str, *, seen: datetime, until: datetime) -> bool:
    """Claim the trial request of the host `name`, whose pause is over; return whether it was claimed.

    `until` is the end of the lease: if the trial's result is not saved by then, another trial is due. `seen` is the
    `paused_until` that the caller has read; it must not be in the future. Returns False, and claims nothing, when the
    stored `paused_until` has changed since.
    """
    unchanged = host_breakers.c.name == name, host_breakers.c.paused_until == seen
    return (
        connection.execute(update(host_breakers).where(*unchanged).values(paused_until=until)).rowcount == 1
    )


def release_trials(
    connection: Connection, state: State, leases: Collection[tuple[str, datetime]], now: datetime
) -> None:
    """Let each trial whose claim will bring no result be claimed again from `now` on.

    `state` is `watching` for trials of accounts, `delivering` for trials of hosts. `leases` holds the (account or
    host, end of the lease) of each claim that will bring no result. Claims that were not for a trial are ignored.
    """
    if trials := [{"lane": name, "until": until, "now": now} for name, until in sorted(leases)]:
        connection.execute(_RELEASE[state], trials)


_RELEASE = {
    state: update(table)
    .where(table.c.name == bindparam("lane"), table.c.paused_until == bindparam("until"))
    .values(paused_until=bindparam("now"))
    for state, table in BREAKERS.items()
}


def to_breaker(row: Row[Any]) -> CircuitBreaker:
    """Return the breaker in a row of `account_breakers` or `host_breakers`."""
    return CircuitBreaker(**{name: getattr(row, name) for name in _BREAKER})


def _to_limits(row: Row[Any]) -> AccountLimits:
    return AccountLimits(
        breaker=to_breaker(row),
        usage=Usage(**{name: getattr(row, name) for name in _USAGE}),
        refused_watches=tuple(row.refused_watches.split()),
    )


def _to_account_row(limits: AccountLimits) -> dict[str, Any]:
    return (
        asdict(limits.breaker) | asdict(limits.usage) | {"refused_watches": " ".join(limits.refused_watches)}
    )
