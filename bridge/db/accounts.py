"""HubSpot accounts: those in the table `accounts`, and `default`, which may come from the environment instead."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from bridge.core.quota import Rate
from bridge.db import oauth_tokens
from bridge.db.dialect_sql import dialect_insert, in_parameter
from bridge.db.encryption import Cipher, WrongSecretKey
from bridge.db.tables import accounts

DEFAULT = "default"

# Built once: the worker runs it in each iteration of its loop.
_NAMED = select(accounts).where(in_parameter(accounts.c.name, "names"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """A static access token, OAuth credentials to get access tokens with, or neither. `repr` hides them."""

    access_token: str | None = field(default=None, repr=False)
    client_id: str | None = field(default=None, repr=False)
    client_secret: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)

    @property
    def scheme(self) -> str:
        """How the account authenticates: `token`, `oauth` or `none`."""
        return "token" if self.access_token else "oauth" if self.refresh_token else "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A HubSpot account: its credentials, API address and version, and rate limit.

    `stored` is true when the account is in the table, not only in the environment. `unreadable` is true, and
    `credentials` is empty, when no key decrypts the stored credentials.
    """

    name: str
    credentials: Credentials
    base_url: str
    api_version: str
    rate: Rate
    stored: bool = False
    unreadable: bool = False

    @property
    def has_credentials(self) -> bool:
        """Whether this process has credentials of the account.

        When this is false for `default`, the environment of another process may still hold the credentials.
        """
        return self.credentials.scheme != "none"

    def url(self, path: str) -> str:
        """Return the full URL of a path of HubSpot's API; `path` begins with a slash."""
        return self.base_url.rstrip("/") + path


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountChange:
    """What an operator sets for an account; None stands for the environment's value.

    `rate_limit` is (requests, seconds), HubSpot's limit; `rate_share` (above 0, up to 1) is the share of it
    that the bridge may use.
    """

    credentials: Credentials
    base_url: str | None = None
    api_version: str | None = None
    rate_limit: tuple[int, float] | None = None
    rate_share: float | None = None


class Accounts:
    """Reads and writes accounts in the table; settings that a row leaves out come from the environment."""

    def __init__(self, environment: Account, cipher: Cipher) -> None:
        """`environment` is the account `default` as the environment sets it; a row of that name takes precedence."""
        # Its base URL, API version and rate apply where an account sets none.
        self.environment = environment
        self._cipher = cipher

    def load(self, connection: Connection, names: Collection[str]) -> dict[str, Account]:
        """Return a dict from each name in `names` to its account.

        A name that is not in the table gets an account without credentials, except `default`, which gets the
        environment's account.
        """
        found = self._to_accounts(connection.execute(_NAMED, {"names": names}))
        return {name: found.get(name) or self._unset(name) for name in names}

    def list_all(self, connection: Connection) -> dict[str, Account]:
        """Return the account `default` and all accounts in the table, by name."""
        found = self._to_accounts(connection.execute(select(accounts).order_by(accounts.c.name)))
        return {DEFAULT: self.environment} | found

    def stored(self, connection: Connection) -> set[str]:
        """Return the names of the accounts that are in the table."""
        return set(connection.scalars(select(accounts.c.name)))

    def _to_accounts(self, rows: Iterable[Row[Any]]) -> dict[str, Account]:
        return {row.name: self._to_account(row) for row in rows}

    def _unset(self, name: str) -> Account:
        if name == DEFAULT:
            return self.environment
        return replace(self.environment, name=name, credentials=Credentials())

    def _to_account(self, row: Row[Any]) -> Account:
        fallback = self.environment
        requests, seconds = json.loads(row.rate_limit or "null") or (
            fallback.rate.requests,
            fallback.rate.seconds,
        )
        share = fallback.rate.share if row.rate_share is None else row.rate_share
        credentials = self._credentials(row)
        return Account(
            name=row.name,
            credentials=credentials or Credentials(),
            stored=True,
            unreadable=credentials is None,
            base_url=row.base_url or fallback.base_url,
            api_version=row.api_version or fallback.api_version,
            rate=Rate(requests=requests, seconds=seconds, share=share),
        )

    def _credentials(self, row: Row[Any]) -> Credentials | None:
        """Return the credentials stored in `row`; None when no key decrypts them.

        The result is None instead of an error, so that other accounts still work.
        """
        try:
            return Credentials(**json.loads(self._cipher.decrypt(row.credentials)))
        except WrongSecretKey:
            return None

    def put(self, connection: Connection, name: str, change: AccountChange, now: datetime) -> bool:
        """Add or replace a stored account; return whether the account is new.

        After a failed OAuth refresh, an account's next refresh has to wait. `put` ends this wait.
        """
        new = name not in self.stored(connection)
        given = {key: getattr(change.credentials, key) for key in Credentials.__slots__}
        row = {
            "credentials": self._cipher.encrypt(
                json.dumps({k: v for k, v in given.items() if v is not None})
            ),
            "base_url": change.base_url,
            "api_version": change.api_version,
            "rate_limit": json.dumps(change.rate_limit) if change.rate_limit else None,
            "rate_share": change.rate_share,
            "updated_at": now,
        }
        add = dialect_insert(connection, accounts).values(name=name, created_at=now, **row)
        connection.execute(add.on_conflict_do_update(index_elements=["name"], set_=row))
        oauth_tokens.forget_failure(connection, name)
        return new

    def remove(self, connection: Connection, name: str) -> bool:
        """Delete an account's OAuth tokens and its row; return False when no account of this name is stored."""
        oauth_tokens.remove(connection, name)
        return connection.execute(delete(accounts).where(accounts.c.name == name)).rowcount == 1
