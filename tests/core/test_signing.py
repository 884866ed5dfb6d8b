"""Standard Webhooks signatures, judged by the standard's own package."""

import base64
from datetime import UTC, datetime

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from bridge.core.delivery import payload
from bridge.core.signing import make_secret, sign, signing_key
from tests.makers import an_ended_watch

OLD = make_secret(b"old" * 10)
NEW = make_secret(b"new" * 10)
OTHER = make_secret(b"odd" * 10)
BODY = b'{"type": "import.completed"}'


def verified(secret: str, headers: dict[str, str], body: bytes = BODY) -> bool:
    try:
        Webhook(secret).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def test_a_signature_is_valid_for_whoever_has_the_secret() -> None:
    headers = sign("wat_1", now(), BODY, [NEW])
    assert verified(NEW, headers)
    assert not verified(OTHER, headers)


def test_while_a_rotation_overlaps_both_secrets_verify() -> None:
    headers = sign("wat_1", now(), BODY, [NEW, OLD])
    assert [signature[:3] for signature in headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]
    assert verified(NEW, headers)
    assert verified(OLD, headers)
    assert not verified(OTHER, headers)


def test_nothing_is_ever_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="no secret to sign with"):
        sign("wat_1", now(), BODY, [])


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_no_header_can_be_changed(name: str) -> None:
    headers = sign("wat_1", now(), BODY, [NEW])
    changed = {"webhook-id": "wat_2", "webhook-timestamp": str(now() - 1), "webhook-signature": "v1,AAAA"}
    assert not verified(NEW, headers | {name: changed[name]})


def test_no_byte_of_the_body_can_be_changed() -> None:
    headers = sign("wat_1", now(), BODY, [NEW])
    assert not verified(NEW, headers, BODY.replace(b" ", b""))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_a_signature_does_not_depend_on_the_clock_s_zone(zone: str) -> None:
    at = datetime(2026, 11, 21, 12, tzinfo=UTC)
    with time_machine.travel(at, tick=False):
        assert verified(NEW, sign("wat_1", int(at.timestamp()), BODY, [NEW])), zone


@given(
    key=st.binary(min_size=24, max_size=64),
    text=st.text(max_size=200),
    message_id=st.from_regex(r"wat_[a-z0-9]{8,27}", fullmatch=True),
)
def test_any_body_under_any_key_verifies(key: bytes, text: str, message_id: str) -> None:
    watch = an_ended_watch(id=message_id, error=text)
    body = payload(watch, None)
    secret = make_secret(key)
    assert signing_key(secret) == key
    assert verified(secret, sign(message_id, now(), body, [secret]), body)


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        pytest.param("whsec_", "24 to 64 bytes", id="empty"),
        pytest.param("whsec_" + "A" * 28, "24 to 64 bytes", id="21 bytes"),
        pytest.param("whsec_" + base64.b64encode(b"x" * 65).decode(), "24 to 64 bytes", id="65 bytes"),
        pytest.param("whsec_" + "A" * 31 + "!", "is base64", id="a character that is not base64"),
        pytest.param("whsec_" + "A" * 33, "is base64", id="cut off"),
        pytest.param("whsec_ü", "base64", id="not ASCII"),
    ],
)
def test_a_secret_that_receivers_could_not_use_is_refused_in_words(secret: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        signing_key(secret)
