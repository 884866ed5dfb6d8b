"""Clients: who may call the API, and with which secrets their callbacks are signed."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from bridge.db.dialect_sql import dialect_insert, in_parameter
from bridge.db.tables import clients, signing_secrets


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """An application that registers watches and receives callbacks."""

    name: str
    admin: bool
    key_prefix: str | None  # the key's first ten characters; None if no key was ever stored
    created_at: datetime
    last_used_at: datetime | None  # when its key was last used, to the minute; None: never
    revoked_at: datetime | None  # None: not revoked


_NAMES = tuple(field.name for field in fields(Client))
_SELECT = select(*(clients.c[name] for name in _NAMES))
# Built once: every request to the API executes it.
_BY_HASHES = _SELECT.add_columns(clients.c.key_hash).where(in_parameter(clients.c.key_hash, "hashes"))


def key_hash(api_key: str) -> str:
    """Return the hash that is stored in place of an API key."""
    # Safe, because keys are 32 random bytes.
    return sha256(api_key.encode()).hexdigest()


def add(connection: Connection, client: Client, api_key: str | None) -> bool:
    """Add a client; return False when the name is taken.

    `api_key` is None only for the client of BRIDGE_ADMIN_KEY, whose key is not stored.
    """
    row = asdict(client) | {"key_hash": key_hash(api_key) if api_key else None}
    new = dialect_insert(connection, clients).values(row).on_conflict_do_nothing(index_elements=["name"])
    # Not every driver reports how many rows an INSERT made.
    return connection.execute(new.returning(clients.c.name)).first() is not None


def by_keys(connection: Connection, api_keys: Collection[str]) -> dict[str, Client]:
    """Return the clients that own these API keys, by key; unknown keys are left out."""
    # Hashes are compared, so the duration reveals nothing about the keys.
    keys = {key_hash(api_key): api_key for api_key in api_keys}
    rows = connection.execute(_BY_HASHES, {"hashes": list(keys)})
    return {keys[found]: Client(**dict(zip(_NAMES, columns, strict=True))) for *columns, found in rows}


def get(connection: Connection, name: str, *, lock: bool = False) -> Client | None:
    """Return a client, revoked or not; None when there is none.

    `lock` locks the client's row until the transaction ends.
    """
    found = _SELECT.where(clients.c.name == name)
    row = connection.execute(found.with_for_update() if lock else found).mappings().first()
    return Client(**row) if row else None


def list_all(connection: Connection) -> list[Client]:
    """Return all clients sorted by name, the revoked ones included."""
    return [Client(**row) for row in connection.execute(_SELECT.order_by(clients.c.name)).mappings()]


def set_key(connection: Connection, name: str, api_key: str) -> None:
    """Replace a client's API key; the old key is no longer accepted."""
    changes = {"key_hash": key_hash(api_key), "key_prefix": key_prefix(api_key)}
    connection.execute(update(clients).where(clients.c.name == name).values(changes))


def key_prefix(api_key: str) -> str:
    """Return the first ten characters of an API key, which are shown so that people can tell keys apart."""
    return api_key[:10]


def revoke(connection: Connection, name: str, now: datetime) -> None:
    """Mark a client as revoked, and delete its API key; callbacks of its open watches are still sent."""
    changes = {"key_hash": None, "revoked_at": now}
    connection.execute(update(clients).where(clients.c.name == name).values(changes))


def record_use(connection: Connection, name: str, now: datetime) -> None:
    """Set the instant at which a client's key was last used."""
    connection.execute(update(clients).where(clients.c.name == name).values(last_used_at=now))


def add_secret(connection: Connection, name: str, token: str, now: datetime, *, old_until: datetime) -> None:
    """Add a client's new signing secret; callbacks are signed with the old secret, too, until `old_until`.

    `token` is the new secret, encrypted.
    """
    current = signing_secrets.c.client == name, signing_secrets.c.expires_at.is_(None)
    connection.execute(update(signing_secrets).where(*current).values(expires_at=old_until))
    over = signing_secrets.c.client == name, signing_secrets.c.expires_at <= now
    connection.execute(delete(signing_secrets).where(*over))
    connection.execute(
        insert(signing_secrets).values(client=name, secret=token, created_at=now, expires_at=None)
    )


def secrets_of(connection: Connection, names: Collection[str], now: datetime) -> dict[str, list[str]]:
    """Return the clients' valid signing secrets, by client, still encrypted, newest first."""
    secrets: dict[str, list[str]] = {}
    for row in connection.execute(_VALID_SECRETS, {"names": list(names), "now": now}):
        secrets.setdefault(row.client, []).append(row.secret)
    return secrets


# Built once: every batch of callbacks executes it.
_VALID_SECRETS = (
    select(signing_secrets.c.client, signing_secrets.c.secret)
    .where(in_parameter(signing_secrets.c.client, "names"))
    .where(or_(signing_secrets.c.expires_at.is_(None), signing_secrets.c.expires_at > bindparam("now")))
    .order_by(signing_secrets.c.id.desc())
)
