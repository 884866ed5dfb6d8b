"""Encrypts the secrets in the database with Fernet keys, which are not stored there."""

import hmac
from collections.abc import Sequence
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Column, Connection, Engine, bindparam, inspect, select, update

from bridge.db.dialect_sql import dialect_insert
from bridge.db.engine import reading
from bridge.db.tables import accounts, canaries, oauth_tokens, signing_secrets

# Every column that holds encrypted text; its table has a primary key of one column.
ENCRYPTED: tuple[Column[str], ...] = (
    accounts.c.credentials,
    oauth_tokens.c.access_token,
    oauth_tokens.c.refresh_token,
    signing_secrets.c.secret,
    # Last: as long as not all others are encrypted anew, a process with the newest key alone must not start.
    canaries.c.token,
)
# Whose secrets ENCRYPTED holds, the key check aside: for each column, what its owner is, and the column with the
# owner's name.
_OWNERS = {
    accounts.c.credentials: ("account", accounts.c.name),
    oauth_tokens.c.access_token: ("account", oauth_tokens.c.account),
    oauth_tokens.c.refresh_token: ("account", oauth_tokens.c.account),
    signing_secrets.c.secret: ("client", signing_secrets.c.client),
}
# `unreadable_owners` tries this many secrets of a column: they take about 0.1 s.
MOST_TRIED = 1_000
# How many texts one transaction encrypts anew: it takes some tens of milliseconds, for which others wait on SQLite.
BATCH = 500
# Stored encrypted, in `canaries`: a process whose keys do not decrypt it must not start.
KNOWN_TEXT = "the keys fit"


class WrongSecretKey(Exception):
    """The secrets in this database were encrypted with another BRIDGE_SECRET_KEY."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


class Cipher:
    """Encrypts with the newest of several Fernet keys, and decrypts with any of them.

    `decrypt` takes a Fernet token and returns the plaintext. It raises WrongSecretKey when none of the keys decrypts
    the token.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys` are Fernet keys, newest first. Raises ValueError when one is malformed."""
        self._keys = tuple(keys)
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        # Cached, because every callback needs its client's secret; a token always decrypts to the same text.
        self.decrypt = lru_cache(maxsize=1024)(self._decrypt)

    def encrypt(self, text: str) -> str:
        """Return the text encrypted with the newest key, as a Fernet token."""
        return self._fernet.encrypt(text.encode()).decode()

    def _decrypt(self, token: str) -> str:
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise WrongSecretKey from None

    def signing_keys(self, purpose: str) -> list[str]:
        """Return signing keys for this purpose alone: one derived from each Fernet key, newest first."""
        return [hmac.digest(key.encode(), purpose.encode(), "sha256").hex() for key in self._keys]


def is_used(connection: Connection) -> bool:
    """Return whether an encryption key has been used with the database, so that its processes need this key.

    This is so once `check_keys` has stored the encrypted KNOWN_TEXT.
    """
    return inspect(connection).has_table(canaries.name) and bool(connection.scalar(select(canaries.c.id)))


def check_keys(connection: Connection, cipher: Cipher) -> None:
    """Raise WrongSecretKey when none of the keys decrypts the KNOWN_TEXT that this database holds.

    The first call for a database stores the text, encrypted with the newest key.
    """
    new = dialect_insert(connection, canaries).values(id=1, token=cipher.encrypt(KNOWN_TEXT))
    connection.execute(new.on_conflict_do_nothing())
    cipher.decrypt(connection.execute(select(canaries.c.token)).scalar_one())


def check_keys_if_used(connection: Connection, cipher: Cipher) -> None:
    """Raise WrongSecretKey when none of the keys decrypts the text that `check_keys` has stored in this database.

    Stores nothing. A new database holds no such text yet, so any keys pass.
    """
    if token := connection.execute(select(canaries.c.token)).scalar():
        cipher.decrypt(token)


def unreadable_owners(connection: Connection, cipher: Cipher) -> list[str]:
    """Return who has a secret that none of the keys decrypts, such as `account eu` and `client cms`, sorted.

    Tries at most MOST_TRIED secrets of each column. Secrets may be unreadable although the keys pass
    `check_keys_if_used`: a process with another key may have stored them.
    """
    return sorted(
        {
            f"{kind} {name}"
            for column, (kind, owner) in _OWNERS.items()
            for name, token in connection.execute(
                select(owner, column).where(column.is_not(None)).order_by(owner).limit(MOST_TRIED)
            )
            if not _is_readable(token, cipher)
        }
    )


def _is_readable(token: str, cipher: Cipher) -> bool:
    try:
        cipher.decrypt(token)
    except WrongSecretKey:
        return False
    return True


def reencrypt_secrets(engine: Engine, cipher: Cipher) -> int:
    """Encrypt anew, with the newest key, every text in the columns that ENCRYPTED lists; return how many.

    Each transaction encrypts up to BATCH texts, so the bridge may work meanwhile. After an error, another call begins
    from the start. Raises WrongSecretKey when there is a text that none of the keys decrypts.
    """
    return sum(_rotate(engine, column, cipher) for column in ENCRYPTED)


def _rotate(engine: Engine, column: Column[str], cipher: Cipher) -> int:
    [key] = column.table.primary_key
    # A text that another process has changed meanwhile keeps its newer value.
    same = key == bindparam("row"), column == bindparam("old")
    replace = update(column.table).where(*same).values({column.name: bindparam("new")})
    rows = select(key.label("row"), column.label("old")).where(column.is_not(None)).order_by(key).limit(BATCH)
    count, batch = 0, rows
    while True:
        with reading(engine) as connection:
            found = connection.execute(batch).all()
        if not found:
            return count
        # Not in the transaction, which on SQLite makes others wait.
        new = [{"row": row, "old": old, "new": cipher.encrypt(cipher.decrypt(old))} for row, old in found]
        with engine.begin() as connection:
            connection.execute(replace, new)
        count, batch = count + len(found), rows.where(key > found[-1].row)
