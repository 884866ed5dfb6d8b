"""All secrets at rest, wherever they lie: to put them under a new key."""

from sqlalchemy import Column, Connection, bindparam, select, update

from bridge.db.encryption import Cipher
from bridge.db.tables import accounts, canaries, oauth_tokens, signing_secrets

ENCRYPTED: tuple[Column[str], ...] = (
    accounts.c.credentials,
    canaries.c.token,
    oauth_tokens.c.access_token,
    oauth_tokens.c.refresh_token,
    signing_secrets.c.secret,
)


def rotate(connection: Connection, cipher: Cipher) -> int:
    """Encrypt every secret with the newest key; return how many. Raises WrongSecretKey, and changes nothing.

    A secret that changes meanwhile keeps its newer value: whoever wrote it used the newest key.
    """
    return sum(_rotate(connection, column, cipher) for column in ENCRYPTED)


def _rotate(connection: Connection, column: Column[str], cipher: Cipher) -> int:
    tokens = connection.scalars(select(column).where(column.is_not(None))).all()
    replace = update(column.table).where(column == bindparam("old")).values({column.name: bindparam("new")})
    if tokens:
        connection.execute(replace, [{"old": token, "new": cipher.rotated(token)} for token in tokens])
    return len(tokens)
