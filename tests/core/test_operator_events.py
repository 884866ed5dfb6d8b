"""Events for the operator: what becomes one, and what the webhook says."""

import json

from bridge.core.operator_events import (
    OPPOSITES,
    OperatorEvent,
    OperatorEventType,
    new_event,
    payload,
)
from tests.makers import NOW, later

GIVEN_UP = OperatorEventType.CALLBACK_GIVEN_UP


def test_a_reason_is_a_sentence() -> None:
    assert [new_event(GIVEN_UP, "a", reason, NOW).reason for reason in ("It failed", "It failed.", None)] == [
        "It failed.",
        "It failed.",
        "The reason is not known.",
    ]


def test_opposites_are_each_other_s() -> None:
    assert all(OPPOSITES[opposite] is type_ for type_, opposite in OPPOSITES.items())


def test_the_body_names_the_subject_the_reason_since_when_and_how_many() -> None:
    event = OperatorEvent(
        type=GIVEN_UP, subject="a.example.com", reason="It failed.", since=NOW, last_at=later(30), count=7
    )
    assert json.loads(payload(event)) == {
        "type": "callback.given_up",
        "timestamp": "2026-11-21T12:00:30.000000Z",
        "data": {
            "subject": "a.example.com",
            "reason": "It failed.",
            "since": "2026-11-21T12:00:00.000000Z",
            "count": 7,
        },
    }
