"""The first step of a watch: store it.

Equal registrations get the same watch, until it is withdrawn or deleted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any, TypeAlias

from sqlalchemy import Engine

from bridge.core.polling import first_poll_at
from bridge.core.watch import Watch
from bridge.db import watches as store
from bridge.db.ids import new_watch_id
from bridge.db.watches import StoredWatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """A client's valid request to watch a task; `metadata` is a JSON object as text."""

    client: str
    account: str
    kind: str
    task_id: str
    callback_url: str
    callback_host: str  # the host of `callback_url`: lower case, no port
    metadata: str
    timeout_seconds: float
    names_timeout: bool = True  # whether the client gave the time-out; if not, it is the operator's default
    traceparent: str | None = None  # for callbacks (W3C Trace Context); None without a valid one


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """The watch is stored; `new` is false when an earlier, equal registration had stored it.

    `hubspot_body` is HubSpot's last answer with a status of the task, as JSON text; None when there is none.
    """

    watch: Watch
    new: bool
    hubspot_body: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ConflictingRegistration:
    """The client has a `watch` of the same task and callback URL, with other values than the request's.

    `fields` names the values that differ: `metadata`, `timeout_seconds` or both.
    """

    watch: Watch
    fields: tuple[str, ...]


RegistrationResult: TypeAlias = Registered | ConflictingRegistration


def register(engine: Engine, wanted: Sequence[Registration], *, now: datetime) -> list[RegistrationResult]:
    """Register all of `wanted`, and return their results in the same order."""
    made = [_new_watch(registration, now) for registration in wanted]
    keys = [registration_key(registration) for registration in wanted]
    # Of equal registrations in one batch, the first makes the watch.
    existing: dict[str, StoredWatch] = {}
    new = dict(zip(reversed(keys), reversed(made), strict=True))
    # An existing watch may prevent an insert, and then be withdrawn before it is read. Then the insert is tried again:
    # each further pass takes another withdrawal between two statements.
    while missing := {key: new[key] for key in new.keys() - existing.keys()}:
        with engine.begin() as connection:
            existing |= store.add(connection, missing)
    return [
        _result(registration, watch, existing[key])
        for registration, watch, key in zip(wanted, made, keys, strict=True)
    ]


def registration_key(wanted: Registration) -> str:
    """Return a hash of a registration's client, kind, account, task id and callback URL.

    Registrations with the same hash ask for the same watch. The hash is stored in the column `registration_key`,
    which is unique. The column is null for a withdrawn watch.
    """
    parts = (wanted.client, wanted.kind, wanted.account, wanted.task_id, wanted.callback_url)
    # Lengths in front keep ("ab", "c") apart from ("a", "bc").
    return sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def _new_watch(wanted: Registration, now: datetime) -> Watch:
    deadline_at = now + timedelta(seconds=wanted.timeout_seconds)
    return Watch(
        id=new_watch_id(now),
        client=wanted.client,
        account=wanted.account,
        kind=wanted.kind,
        task_id=wanted.task_id,
        callback_url=wanted.callback_url,
        callback_host=wanted.callback_host,
        metadata=wanted.metadata,
        created_at=now,
        deadline_at=deadline_at,
        traceparent=wanted.traceparent,
        due_at=first_poll_at(now, deadline_at),
        age_zero_at=now,
    )


def _result(wanted: Registration, watch: Watch, stored: StoredWatch) -> RegistrationResult:
    existing = stored.watch
    if existing.id == watch.id:
        return Registered(watch=watch, new=True)
    differing = {
        "metadata": not _same_json(existing.metadata, watch.metadata),
        "timeout_seconds": wanted.names_timeout and _timeout(existing) != _timeout(watch),
    }
    if fields := tuple(name for name, differs in differing.items() if differs):
        return ConflictingRegistration(watch=existing, fields=fields)
    return Registered(watch=existing, new=False, hubspot_body=stored.hubspot_body)


def _timeout(watch: Watch) -> timedelta:
    return watch.deadline_at - watch.created_at


def _same_json(one: str, other: str) -> bool:
    """Return whether two JSON texts have the same value, whatever their white space and order of members.

    A number with neither a decimal point nor an exponent is an integer. Two integers are compared by value, and so are
    two numbers that are not integers: 1.0, 1.00 and 10e-1 are the same. But an integer always differs from a number
    with a decimal point or an exponent: 1 and 1.0 differ.
    """
    return one == other or _parse(one) == _parse(other)


def _parse(text: str) -> Any:
    # Each number becomes a pair: Python's 1, 1.0 and True are equal. A float would lose digits.
    return json.loads(text, parse_int=lambda number: (int, int(number)), parse_float=_fraction)


def _fraction(number: str) -> tuple[type, Decimal | str]:
    try:
        return float, Decimal(number)
    except InvalidOperation:  # the exponent has more than 18 digits
        return float, number
