"""The access tokens of OAuth accounts: one thread of one process at a time refreshes an account's token.

A lock for each account lets one thread of a process look at the account's row in `oauth_tokens`, while the process's
other threads wait. A lease on the row keeps other processes from refreshing the token. No transaction is open during a
request to HubSpot.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from math import inf
from typing import TypeAlias
from urllib.parse import urlencode

import structlog
from sqlalchemy import Engine

from bridge import USER_AGENT
from bridge.core.classification import NO_TOKEN_PAUSE_SECONDS
from bridge.core.http_results import NoToken, NoTokenYet
from bridge.core.oauth import TokenPair, read
from bridge.db import oauth_tokens as store
from bridge.db.accounts import Account
from bridge.db.encryption import Cipher, WrongSecretKey
from bridge.db.engine import UNAVAILABLE, reading
from bridge.db.oauth_tokens import StoredTokens
from bridge.http.transport import Transport

log = structlog.get_logger()

TokenResult: TypeAlias = str | NoToken
_Key: TypeAlias = tuple[str, str]  # an account's name, and the `_origin` of its tokens

TOKEN_PATH = "/oauth/2026-03/token"  # noqa: S105 -- a path; HubSpot's /oauth/v1 ends on 2027-02-16
HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/x-www-form-urlencoded",
    "User-Agent": USER_AGENT,
}

# After a refresh that failed because of the credentials, no refresh is tried for this time, unless the account is set or
# checked. When HubSpot refuses a token that was issued less than this time ago, the token is not refreshed. The time is
# shorter than an account's first pause (30 s), so that each trial request may try one refresh.
AT_FAULT_HOLD_SECONDS = 20.0

# How long a thread waits for another thread's refresh, which takes HubSpot some tenths of a second. Not longer, because
# the waiting thread is one of the worker's pool.
WAIT_SECONDS = 3.0
LOOK_EVERY_SECONDS = 0.1

STILL_REFRESHING = NoTokenYet(reason="The account's OAuth token is still being refreshed.")
DATABASE_UNAVAILABLE = NoTokenYet(reason="The OAuth token could not be read: the database does not answer.")
NO_TIME_TO_REFRESH = NoToken(
    reason="The OAuth token has ended or was refused, and there was no time to refresh it.", is_temporary=True
)
UNREADABLE = (
    "The OAuth tokens of the account {!r} are not encrypted with BRIDGE_SECRET_KEY. Add the key that they were "
    "stored with, or remove the account and set it again."
)


class OAuthTokens:
    """Supplies the access tokens of accounts with OAuth credentials, and refreshes them.

    Thread-safe. Processes that use the same database share the tokens. `refresh_seconds` is the time-out of a
    refresh. Before a refresh, a process takes a lease on the account's token. Until the lease ends, no other process
    refreshes that token. The lease ends after `lease_seconds` at the latest; `lease_seconds` must exceed
    `refresh_seconds`.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        cipher: Cipher,
        transport: Transport,
        clock: Callable[[], datetime],
        refresh_seconds: float,
        lease_seconds: float,
    ) -> None:
        self._engine = engine
        self._cipher = cipher
        self._transport = transport
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._lease = timedelta(seconds=lease_seconds)
        self._known: dict[_Key, TokenPair] = {}
        self._unsaved: set[_Key] = set()
        self._locks: dict[str, threading.Lock] = {}

    def current(
        self, account: Account, *, refused: str | None = None, within_seconds: float = inf
    ) -> TokenResult:
        """Return an access token, refreshed if needed, or a NoToken with the reason why there is none.

        The NoToken is a NoTokenYet in two cases: another thread or process is still refreshing the token, or the
        database does not answer. `refused` is the token that HubSpot has just refused, or None. If that token was
        issued less than AT_FAULT_HOLD_SECONDS ago, it may be returned again: HubSpot would probably refuse a new token
        as well. An older refused token is never returned. The call takes at most `within_seconds`, not counting waits
        for the database. At most WAIT_SECONDS of this time are spent waiting for a refresh by another thread or
        process.
        """
        if fresh := self._fresh(account, refused):
            return fresh
        old = self._remembered(account, refused)
        # After the wait, the thread may have to refresh: there must be time for both.
        wait_seconds = min(WAIT_SECONDS, within_seconds - self._refresh_seconds)
        give_up_at = time.monotonic() + wait_seconds
        lock = self._locks.setdefault(account.name, threading.Lock())
        if wait_seconds < 0:
            return old.access_token if old else NO_TIME_TO_REFRESH
        if not lock.acquire(timeout=0 if old else wait_seconds):
            return old.access_token if old else STILL_REFRESHING
        try:
            return self._wait_for_token(account, refused, give_up_at)
        except UNAVAILABLE:
            return old.access_token if old else DATABASE_UNAVAILABLE
        except WrongSecretKey:
            return NoToken(reason=UNREADABLE.format(account.name))
        finally:
            lock.release()

    def _fresh(self, account: Account, refused: str | None) -> str | None:
        """Return the access token in memory; None if there is none that can be used as it is.

        A token cannot be used if it is due for a refresh, is not yet saved in the database, or equals `refused`.
        `refused` is the access token that HubSpot has just refused; None if HubSpot has refused none.
        """
        issued = self._remembered(account, refused)
        if issued is None or issued.needs_refresh(self._clock()) or _key(account) in self._unsaved:
            return None
        return issued.access_token

    def _remembered(self, account: Account, refused: str | None) -> TokenPair | None:
        issued = self._known.get(_key(account))
        return issued if issued and issued.is_usable(refused, self._clock()) else None

    def _wait_for_token(self, account: Account, refused: str | None, give_up_at: float) -> TokenResult:
        while (token := self._look_up(account, refused)) is None:
            if time.monotonic() >= give_up_at:
                return STILL_REFRESHING
            time.sleep(LOOK_EVERY_SECONDS)
        return token

    def _look_up(self, account: Account, refused: str | None) -> TokenResult | None:
        """Return a token, refreshed if needed, or a NoToken; None if the caller must wait, and call again.

        While another process refreshes the token, the old token is returned if it can still be used, else None.
        `refused` is the access token that HubSpot has just refused, or None. A refused token is replaced by a new one.
        But if it is the newest token and was issued less than AT_FAULT_HOLD_SECONDS ago, it is returned again, because
        HubSpot would probably refuse a new token as well.
        """
        if fresh := self._fresh(account, refused):
            return fresh
        now = self._clock()
        row = self._row(account)
        in_row = _token_in_row(row, refused, now)
        if in_row or _is_held(row, now) or not self._take_lease(account, row, now):
            return in_row
        new = self._refresh(account, replace(row, hold_until=now + self._lease))
        if isinstance(new, str) or row.issued is None or not row.issued.is_usable(refused, now):
            return new
        return row.issued.access_token

    def _row(self, account: Account) -> StoredTokens:
        """Return the account's row in `oauth_tokens`; add the row if it is missing.

        If an earlier `_save` failed, `_row` tries again to save the tokens of that call. The returned row has those
        tokens in any case.
        """
        name, origin = key = _key(account)
        with reading(self._engine) as connection:
            row = store.read(connection, self._cipher, name, origin)
        if row is None:
            with self._engine.begin() as connection:
                row = store.add(connection, self._cipher, name, origin)
        if key in self._unsaved:
            self._save(key, row, self._known[key])
            return replace(row, issued=self._known[key])
        if row.issued:
            self._known[key] = row.issued
        return row

    def _take_lease(self, account: Account, row: StoredTokens, now: datetime) -> bool:
        with self._engine.begin() as connection:
            return store.take_refresh_lease(connection, account.name, row, now + self._lease)

    def _refresh(self, account: Account, row: StoredTokens) -> TokenResult:
        given = account.credentials.refresh_token or ""
        refresh_token = row.issued.refresh_token if row.issued else given
        asked_at, body = self._clock(), _form(account, refresh_token)
        url, seconds = account.url(TOKEN_PATH), self._refresh_seconds
        answer = self._transport.send("POST", url, HEADERS, body, repeatable=False, within_seconds=seconds)
        new = read(answer, refresh_token=refresh_token, asked_at=asked_at)
        if not isinstance(new, TokenPair):
            self._save_failure(account, row, new)
            return new
        log.info("oauth_refreshed", account=account.name, expires_at=new.expires_at)
        self._known[_key(account)] = new
        self._save(_key(account), row, new)
        return new.access_token

    def _save_failure(self, account: Account, row: StoredTokens, failure: NoToken) -> None:
        at_fault = not failure.is_temporary
        # One warning for each reason, not one after each pause.
        if row.failure == failure.reason:
            log.debug("oauth_refresh_failed", account=account.name, reason=failure.reason)
        else:
            log.warning("oauth_refresh_failed", account=account.name, reason=failure.reason)
        seconds = AT_FAULT_HOLD_SECONDS if at_fault else NO_TOKEN_PAUSE_SECONDS
        until = self._clock() + timedelta(seconds=seconds)
        with self._engine.begin() as connection:
            store.fail(connection, account.name, row, failure.reason, at_fault=at_fault, until=until)

    def _save(self, key: _Key, row: StoredTokens, new: TokenPair) -> None:
        """Save new tokens in the account's row.

        If the database is unavailable, `_save` raises no error. The next call of `_row` for the account in this
        process tries to save the tokens again.
        """
        # The new refresh token may be the only one that works: a short outage of the database must not lose it.
        self._unsaved.add(key)
        try:
            with self._engine.begin() as connection:
                store.save(connection, self._cipher, key[0], row, new)
        except UNAVAILABLE as error:
            log.warning("oauth_refresh_not_saved", account=key[0], error=type(error).__name__)
        else:
            self._unsaved.discard(key)


def _key(account: Account) -> _Key:
    return account.name, _origin(account)


def _origin(account: Account) -> str:
    """Return a hash of the API's address and the account's OAuth credentials, except the client secret."""
    given = account.credentials
    named = (account.base_url, given.client_id, given.refresh_token)
    return sha256(json.dumps(named).encode()).hexdigest()


def _form(account: Account, refresh_token: str) -> bytes:
    fields = {
        "grant_type": "refresh_token",
        "client_id": account.credentials.client_id or "",
        "client_secret": account.credentials.client_secret or "",
        "refresh_token": refresh_token,
    }
    return urlencode(fields).encode()


def _token_in_row(row: StoredTokens, refused: str | None, now: datetime) -> TokenResult | None:
    issued, is_held = row.issued, _is_held(row, now)
    if issued and issued.is_usable(refused, now) and (is_held or not issued.needs_refresh(now)):
        return issued.access_token
    # A refresh would not help.
    if issued and issued.access_token == refused and _is_just_issued(issued, now):
        return refused
    if is_held and row.failure:
        return NoToken(reason=row.failure, is_temporary=not row.at_fault)
    return None


def _is_held(row: StoredTokens, now: datetime) -> bool:
    return row.hold_until is not None and now < row.hold_until


def _is_just_issued(issued: TokenPair, now: datetime) -> bool:
    return now - issued.issued_at < timedelta(seconds=AT_FAULT_HOLD_SECONDS)
