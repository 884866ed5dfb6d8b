"""The OAuth tokens of accounts, which all processes share, and the lease of the process that refreshes them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, select, update

from bridge.core.oauth import TokenPair
from bridge.db.dialect_sql import dialect_insert
from bridge.db.encryption import Cipher
from bridge.db.tables import oauth_tokens

_NOTHING = {"hold_until": None, "failure": None, "at_fault": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTokens:
    """An account's row.

    `origin` is a hash of the API's address and the account's OAuth credentials, except the client secret. `issued` is
    None until a refresh has succeeded. No process starts a refresh before `hold_until`; None means that a refresh may
    start now. `failure` says why the newest refresh failed; None when no failure is known. `at_fault` is true when
    the credentials caused the failure.
    """

    origin: str
    issued: TokenPair | None
    hold_until: datetime | None
    failure: str | None
    at_fault: bool


def read(connection: Connection, cipher: Cipher, account: str, origin: str) -> StoredTokens | None:
    """Return the account's row for the credentials with the hash `origin`; None when there is none.

    A row for other credentials, such as the account's earlier ones, is not returned. Raises WrongSecretKey when the
    stored tokens cannot be decrypted.
    """
    row = connection.execute(_select(account, origin)).first()
    return _stored(cipher, row) if row else None


def _select(account: str, origin: str) -> Select[Any]:
    return select(oauth_tokens).where(oauth_tokens.c.account == account, oauth_tokens.c.origin == origin)


def _stored(cipher: Cipher, row: Row[Any]) -> StoredTokens:
    return StoredTokens(
        origin=row.origin,
        issued=_issued(cipher, row),
        hold_until=row.hold_until,
        failure=row.failure,
        at_fault=row.at_fault,
    )


def _issued(cipher: Cipher, row: Row[Any]) -> TokenPair | None:
    if row.issued_at is None:
        return None
    return TokenPair(
        access_token=cipher.decrypt(row.access_token),
        refresh_token=cipher.decrypt(row.refresh_token),
        issued_at=row.issued_at,
        expires_at=row.expires_at,
    )


def add(connection: Connection, cipher: Cipher, account: str, origin: str) -> StoredTokens:
    """Make sure that the account has a row with this `origin`, and return the row.

    `origin` is the hash of the API's address and of the OAuth credentials, as in StoredTokens. A row with the same
    `origin` is kept, with its tokens. A row with another `origin` is replaced by a new one. A new row has no tokens.
    Raises WrongSecretKey when the tokens of the kept row cannot be decrypted.
    """
    empty = dict.fromkeys(("access_token", "refresh_token", "issued_at", "expires_at"))
    row = {"origin": origin, **empty, **_NOTHING}
    new = dialect_insert(connection, oauth_tokens).values(account=account, **row)
    other = oauth_tokens.c.origin != origin
    connection.execute(new.on_conflict_do_update(index_elements=["account"], set_=row, where=other))
    return _stored(cipher, connection.execute(_select(account, origin)).one())


def take_refresh_lease(connection: Connection, account: str, seen: StoredTokens, until: datetime) -> bool:
    """Take the lease for a refresh; return False when the row has changed since `seen` was read.

    `until` is the end of the lease. The caller has made sure that `seen.hold_until` is None or past.
    """
    return _change(
        connection, account, [*_same_tokens(seen), _same_hold(seen)], _NOTHING | {"hold_until": until}
    )


def save(connection: Connection, cipher: Cipher, account: str, seen: StoredTokens, new: TokenPair) -> bool:
    """Replace the stored tokens by `new`, and return True.

    If the stored tokens have changed since `seen` was read, saves nothing and returns False.
    """
    row = {
        "access_token": cipher.encrypt(new.access_token),
        "refresh_token": cipher.encrypt(new.refresh_token),
        "issued_at": new.issued_at,
        "expires_at": new.expires_at,
    }
    # Whoever holds the lease: a refresh that outlived its lease may have got the only valid refresh token.
    return _change(connection, account, _same_tokens(seen), _NOTHING | row)


def fail(
    connection: Connection, account: str, seen: StoredTokens, reason: str, *, at_fault: bool, until: datetime
) -> bool:
    """Save why a refresh failed, and that the next refresh may not start before `until`; return True.

    `at_fault` says whether the credentials are the cause. `seen` is the row as the caller read it, but with
    `hold_until` set to the end of the lease that the caller took for this refresh. If the row's tokens or its
    `hold_until` now differ from those of `seen`, the caller has lost the lease: saves nothing and returns False.
    """
    changes = {"hold_until": until, "failure": reason, "at_fault": at_fault}
    return _change(connection, account, [*_same_tokens(seen), _same_hold(seen)], changes)


def forget_failure(connection: Connection, account: str) -> None:
    """Forget the failure of an account's last refresh, so that the next refresh need not wait.

    Sets `hold_until` to None. Does nothing if the last refresh did not fail.
    """
    failed = oauth_tokens.c.account == account, oauth_tokens.c.failure.is_not(None)
    connection.execute(update(oauth_tokens).where(*failed).values(_NOTHING))


def remove(connection: Connection, account: str) -> None:
    """Delete an account's tokens."""
    connection.execute(delete(oauth_tokens).where(oauth_tokens.c.account == account))


def _same_tokens(seen: StoredTokens) -> list[ColumnElement[bool]]:
    issued_at = seen.issued and seen.issued.issued_at
    return [oauth_tokens.c.origin == seen.origin, oauth_tokens.c.issued_at.is_not_distinct_from(issued_at)]


def _same_hold(seen: StoredTokens) -> ColumnElement[bool]:
    return oauth_tokens.c.hold_until.is_not_distinct_from(seen.hold_until)


def _change(
    connection: Connection, account: str, unchanged: list[ColumnElement[bool]], changes: dict[str, Any]
) -> bool:
    current = update(oauth_tokens).where(oauth_tokens.c.account == account, *unchanged)
    return connection.execute(current.values(changes)).rowcount == 1
