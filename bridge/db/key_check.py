"""A known text, encrypted: tells at the start whether the keys fit, not at the first callback."""

from sqlalchemy import Connection, select

from bridge.db.encryption import Cipher
from bridge.db.engine import dialect_insert
from bridge.db.tables import canaries

SONG = "the keys fit"


def check_if_there(connection: Connection, cipher: Cipher) -> None:
    """As `check`, but nothing is written: a database without secrets goes with any key."""
    if token := connection.execute(select(canaries.c.token)).scalar():
        cipher.decrypt(token)


def check(connection: Connection, cipher: Cipher) -> None:
    """Raise WrongSecretKey when this database's secrets were encrypted with other keys."""
    new = dialect_insert(connection, canaries).values(id=1, token=cipher.encrypt(SONG))
    connection.execute(new.on_conflict_do_nothing())
    cipher.decrypt(connection.execute(select(canaries.c.token)).scalar_one())
