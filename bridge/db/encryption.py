"""Secrets at rest: encrypted with Fernet keys that only the environment holds."""

from collections.abc import Sequence
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class WrongSecretKey(Exception):
    """The secrets in this database were encrypted with another BRIDGE_SECRET_KEY."""

    def __init__(self) -> None:
        super().__init__(str(self.__doc__))


class Cipher:
    """Encrypts with the newest key; decrypts with any of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take Fernet keys, newest first; ValueError when one is malformed."""
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        # Every callback needs its client's secret; Fernet tokens never change their meaning.
        self.decrypt = lru_cache(maxsize=1024)(self._decrypt)

    def encrypt(self, text: str) -> str:
        """Return a token that only these keys open."""
        return self._fernet.encrypt(text.encode()).decode()

    def _decrypt(self, token: str) -> str:
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise WrongSecretKey from None

    def rotated(self, token: str) -> str:
        """Return the same secret under the newest key."""
        try:
            return self._fernet.rotate(token.encode()).decode()
        except InvalidToken:
            raise WrongSecretKey from None
