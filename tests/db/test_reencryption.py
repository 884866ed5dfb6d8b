"""Secrets are encrypted anew, in small transactions, while the bridge works."""

from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, event, insert, select, text, update

from bridge.db import encryption
from bridge.db.encryption import BATCH, Cipher, WrongSecretKey, reencrypt_secrets
from bridge.db.tables import accounts
from tests.makers import NOW

OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))


def add_accounts(engine: Engine, tokens: Sequence[str]) -> None:
    """Store an account with each of these encrypted credentials; the names are in the order of the tokens."""
    dated = {"created_at": NOW, "updated_at": NOW}
    rows = [{"name": f"account-{n:04}", "credentials": token} | dated for n, token in enumerate(tokens)]
    with engine.begin() as connection:
        encryption.check_keys(connection, Cipher([OLD]))
        connection.execute(insert(accounts), rows)


def secrets(engine: Engine, *keys: str) -> list[str]:
    """Return the accounts' decrypted credentials, in the order of their names."""
    cipher = Cipher(keys)
    with engine.begin() as connection:
        encryption.check_keys(connection, cipher)
        tokens = connection.scalars(select(accounts.c.credentials).order_by(accounts.c.name)).all()
    return [cipher.decrypt(token) for token in tokens]


def test_many_secrets_are_encrypted_anew_by_their_primary_keys_and_in_small_transactions(
    engine: Engine,
) -> None:
    expected = [str(number) for number in range(2 * BATCH + 1)]
    add_accounts(engine, [Cipher([OLD]).encrypt(secret) for secret in expected])
    updates: list[tuple[str, int]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("UPDATE"):
            updates.append((statement, len(parameters) if isinstance(parameters, list) else 1))

    committed: list[int] = []
    event.listen(engine, "before_cursor_execute", note)
    event.listen(engine, "commit", lambda _: committed.append(len(updates)))
    assert reencrypt_secrets(engine, Cipher([NEW, OLD])) == len(expected) + 1  # and the key check
    assert [number for _, number in updates] == [BATCH, BATCH, 1, 1]
    assert committed == [1, 2, 3, 4]
    assert all("accounts.name = " in statement for statement, _ in updates[:3])
    assert secrets(engine, NEW) == expected


def test_a_secret_that_is_replaced_meanwhile_keeps_its_newer_value(engine: Engine) -> None:
    add_accounts(engine, [Cipher([OLD]).encrypt(secret) for secret in ("first", "second")])
    newer = update(accounts).where(accounts.c.name == "account-0001")
    newer = newer.values(credentials=Cipher([NEW]).encrypt("newer"))

    def replace(*_: Any) -> None:
        with engine.begin() as connection:
            connection.execute(newer)

    # When the batch has been read, its connection returns to the pool.
    event.listen(engine, "checkin", replace, once=True)
    reencrypt_secrets(engine, Cipher([NEW, OLD]))
    assert secrets(engine, NEW) == ["first", "newer"]


def test_after_an_interruption_the_old_key_is_needed_until_another_run_has_ended(engine: Engine) -> None:
    readable = [Cipher([OLD]).encrypt("secret")] * BATCH
    add_accounts(engine, [*readable, Cipher([OTHER]).encrypt("secret")])
    both = Cipher([NEW, OLD])
    with pytest.raises(WrongSecretKey):
        reencrypt_secrets(engine, both)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM accounts WHERE name = (SELECT max(name) FROM accounts)"))
    with pytest.raises(WrongSecretKey):
        secrets(engine, NEW)
    assert secrets(engine, NEW, OLD) == ["secret"] * BATCH
    reencrypt_secrets(engine, both)
    assert secrets(engine, NEW) == ["secret"] * BATCH
