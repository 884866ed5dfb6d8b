"""Signs messages by the Standard Webhooks specification 1.0 (https://www.standardwebhooks.com)."""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence

SECRET_PREFIX = "whsec_"  # noqa: S105 -- a prefix, no secret
SECRET_BYTES = range(24, 65)  # the specification's bounds


def sign(message_id: str, timestamp: int, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` of a message.

    `timestamp` is in Unix seconds. Each of `secrets` (`whsec_…`) adds a signature. Raises ValueError when
    there is no secret, or a secret is malformed.
    """
    if not secrets:
        raise ValueError("there is no secret to sign with")
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    return "v1," + b64encode(hmac.digest(signing_key(secret), signed, "sha256")).decode()


def signing_key(secret: str) -> bytes:
    """Return the bytes that a secret holds in base64, after the prefix `whsec_` or without a prefix.

    Raises ValueError unless the secret, without the prefix, is base64 of 24 to 64 bytes.
    """
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise ValueError("a signing secret is base64 after 'whsec_'") from None
    if len(key) not in SECRET_BYTES:
        raise ValueError("a signing secret holds 24 to 64 bytes")
    return key


def make_secret(random_bytes: bytes) -> str:
    """Return `random_bytes` (24 to 64) as a signing secret, `whsec_…`."""
    return SECRET_PREFIX + b64encode(random_bytes).decode()
