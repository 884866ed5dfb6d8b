"""Adds, lists and revokes clients, and rotates their API keys and signing secrets."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import token_bytes, token_urlsafe

from sqlalchemy import Connection, Engine

from bridge.core.instants import rfc3339, rfc3339_or_none
from bridge.core.signing import SECRET_PREFIX, make_secret, signing_key
from bridge.db import clients as store
from bridge.db.encryption import Cipher
from bridge.db.engine import reading

ADMIN = "admin"  # the client that BRIDGE_ADMIN_KEY stands for
KEY_PREFIX = "hib_"  # lets people, and scanners for leaked secrets, recognize a key of the bridge

_SECRET_BYTES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class NewClient:
    """A new client with its API key and signing secret, neither of which can be shown again."""

    name: str
    admin: bool
    api_key: str = field(repr=False)
    signing_secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientUnchanged:
    """The client was not changed; `reason` is a sentence for the caller."""

    reason: str


def add(engine: Engine, cipher: Cipher, name: str, *, admin: bool, now: datetime) -> NewClient | None:
    """Add a client with a new API key and signing secret; return None when the name cannot be used.

    A name cannot be used when a client, active or revoked, has it already. The name `admin` can be used only for an
    admin (`admin=True`). The caller checks the form of the name with `parse_name`.
    """
    if name == ADMIN and not admin:
        return None
    new = NewClient(name=name, admin=admin, api_key=_new_key(), signing_secret=_new_secret())
    with engine.begin() as connection:
        added = _insert(connection, cipher, new.name, new.api_key, new.signing_secret, admin=admin, now=now)
    return new if added else None


def ensure_admin(engine: Engine, cipher: Cipher, *, now: datetime) -> None:
    """Add the client `admin`, unless a client of this name is already stored.

    The new client gets a random signing secret for its callbacks. No API key is stored with it: its API key is the
    setting BRIDGE_ADMIN_KEY.
    """
    with reading(engine) as connection:
        if store.get(connection, ADMIN):
            return
    with engine.begin() as connection:
        _insert(connection, cipher, ADMIN, None, _new_secret(), admin=True, now=now)


def rotate_secret(
    engine: Engine,
    cipher: Cipher,
    name: str,
    *,
    overlap_seconds: float,
    now: datetime,
    secret: str | None = None,
    sent_with: str | None = None,
) -> str | ClientUnchanged:
    """Give a client a new signing secret and return the new secret: `secret`, or a random one.

    For `overlap_seconds`, callbacks are signed with the old secret too. When a client rotates its own secret,
    `sent_with` is the API key of its request; otherwise `sent_with` is None. Returns ClientUnchanged for an unknown or
    revoked client, for a malformed `secret`, and when `sent_with` is no longer the client's key.
    """
    new = _new_secret() if secret is None else secret
    try:
        signing_key(new)
    except ValueError as problem:
        return ClientUnchanged(reason=f"The secret cannot be used: {problem}.")
    if not new.startswith(SECRET_PREFIX):
        return ClientUnchanged(reason=f"The secret cannot be used: it does not begin with {SECRET_PREFIX}.")
    with engine.begin() as connection:
        if isinstance(client := _lock_active(connection, name, sent_with), ClientUnchanged):
            return client
        old_until = now + timedelta(seconds=overlap_seconds)
        store.add_secret(connection, name, cipher.encrypt(new), now, old_until=old_until)
    return new


def rotate_key(engine: Engine, name: str, *, sent_with: str | None = None) -> str | ClientUnchanged:
    """Give a client a new API key and return the key; the old key is no longer accepted.

    When a client rotates its own key, `sent_with` is the API key of its request; otherwise `sent_with` is None. Returns
    ClientUnchanged for an unknown or revoked client, and when `sent_with` is no longer the client's key.
    BRIDGE_ADMIN_KEY, the second key of the client `admin`, is a setting and stays valid.
    """
    new = _new_key()
    with engine.begin() as connection:
        if isinstance(client := _lock_active(connection, name, sent_with), ClientUnchanged):
            return client
        store.set_key(connection, name, new)
    return new


def revoke(engine: Engine, name: str, *, now: datetime) -> store.Client | ClientUnchanged:
    """Revoke a client's API key for good, and return the client; the client's open watches go on.

    BRIDGE_ADMIN_KEY, the second key of the client `admin`, is a setting and stays valid. Returns ClientUnchanged for
    an unknown or revoked client.
    """
    with engine.begin() as connection:
        client = _lock_active(connection, name)
        if isinstance(client, ClientUnchanged):
            return client
        store.revoke(connection, name, now)
    return replace(client, revoked_at=now)


def get(engine: Engine, name: str) -> store.Client | None:
    """Return a client, revoked or not; None when there is no such client."""
    with reading(engine) as connection:
        return store.get(connection, name)


def list_all(engine: Engine) -> list[store.Client]:
    """Return all clients, revoked ones included, sorted by name."""
    with reading(engine) as connection:
        return store.list_all(connection)


# What `GET /v1/me` shows for the client of BRIDGE_ADMIN_KEY before `ensure_admin` has added its row.
ADMIN_BEFORE_FIRST_USE: dict[str, object] = {
    "name": ADMIN,
    "admin": True,
    "key_prefix": None,
    "created_at": None,
    "last_used_at": None,
    "revoked_at": None,
}


def to_json(client: store.Client) -> dict[str, object]:
    """Return a client's fields as a dict of JSON values, without secrets, for the API and the command line."""
    return {
        "name": client.name,
        "admin": client.admin,
        "key_prefix": client.key_prefix,
        "created_at": rfc3339(client.created_at),
        "last_used_at": rfc3339_or_none(client.last_used_at),
        "revoked_at": rfc3339_or_none(client.revoked_at),
    }


def _insert(
    connection: Connection,
    cipher: Cipher,
    name: str,
    api_key: str | None,
    secret: str,
    *,
    admin: bool,
    now: datetime,
) -> bool:
    client = store.Client(
        name=name,
        admin=admin,
        key_prefix=store.key_prefix(api_key) if api_key else None,
        created_at=now,
        last_used_at=None,
        revoked_at=None,
    )
    added = store.add(connection, client, api_key)
    if added:
        store.add_secret(connection, name, cipher.encrypt(secret), now, old_until=now)
    return added


def _lock_active(
    connection: Connection, name: str, sent_with: str | None = None
) -> store.Client | ClientUnchanged:
    """Lock a client's row and return the client.

    `sent_with` is the API key in the request of a client that rotates its own key or secret; None when no key is to
    be checked. Returns ClientUnchanged for an unknown or revoked client, and when `sent_with` is no longer the
    client's key.
    """
    client = store.get(connection, name, lock=True)
    if client is None:
        return ClientUnchanged(reason=f"There is no client {name}.")
    if client.revoked_at is not None:
        return ClientUnchanged(reason=f"The client {name} is revoked, for good.")
    # The request may have been authenticated just before another one replaced its key.
    if sent_with is not None and not store.by_keys(connection, [sent_with]):
        return ClientUnchanged(reason="The API key of this request has just been replaced.")
    return client


def _new_key() -> str:
    return KEY_PREFIX + token_urlsafe(_SECRET_BYTES)


def _new_secret() -> str:
    return make_secret(token_bytes(_SECRET_BYTES))
