"""Events for the operator: what becomes one, and what the webhook says."""

import json
from itertools import permutations

from bridge.core.operator_events import (
    OPPOSITES,
    OperatorEvent,
    OperatorEventType,
    merge_events,
    new_event,
    payload,
)
from tests.makers import NOW, later

GIVEN_UP = OperatorEventType.CALLBACK_GIVEN_UP


def test_events_of_one_type_and_subject_are_one_with_their_count_and_the_last_reason() -> None:
    events = [new_event(GIVEN_UP, "a.example.com", f"Reason {number}", later(number)) for number in range(3)]
    for order in permutations(events):
        assert merge_events(order) == [
            OperatorEvent(
                type=GIVEN_UP,
                subject="a.example.com",
                reason="Reason 2.",
                since=NOW,
                last_at=later(2),
                count=3,
            )
        ]


def test_events_come_in_one_order_whoever_keeps_them() -> None:
    events = [new_event(type_, subject, "It failed.", NOW) for type_ in OperatorEventType for subject in "ab"]
    assert merge_events(events) == merge_events(reversed(events))
    assert [(event.type, event.subject) for event in merge_events(events)] == sorted(
        (type_, subject) for type_ in OperatorEventType for subject in "ab"
    )


def test_of_two_events_at_one_instant_the_one_that_was_added_last_has_the_reason() -> None:
    [event] = merge_events(new_event(GIVEN_UP, "a", reason, NOW) for reason in ("First", "Second"))
    assert event.reason == "Second."


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
