"""HubSpot accounts for tests, and a clock that passes only when told to."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.fernet import Fernet

from bridge.core.quota import Rate
from bridge.edges.accounts import Account, Credentials
from bridge.edges.secrets import Cipher
from bridge.edges.transport import Transport

# What a sandbox without options takes.
STATIC = Credentials(access_token="sandbox-token")
OAUTH = Credentials(
    client_id="sandbox-client", client_secret="sandbox-secret", refresh_token="sandbox-refresh"
)
NONE = Credentials()

KEY = Fernet.generate_key().decode()


class Clock:
    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def an_account(base_url: str, credentials: Credentials = STATIC, **others: Any) -> Account:
    fields: dict[str, Any] = {
        "name": "default",
        "api_version": "v3",
        "rate": Rate(requests=100, seconds=10.0, share=0.5),
    }
    return Account(base_url=base_url, credentials=credentials, **fields | others)


def a_cipher() -> Cipher:
    return Cipher([KEY])


def a_transport(timeout_seconds: float = 10) -> Transport:
    """The deadline only keeps a broken test from hanging, unless a test wants it short."""
    return Transport(timeout_seconds=timeout_seconds, body_limit=1024 * 1024)
