"""How operator webhooks are sent: retries, the end of an event, and what the sender refuses, on real sockets."""

import pytest

from bridge.core.operator_events import OperatorEventType, new_event
from tests.senders import a_sender
from tests.steps.operators import HOST, Operator, kept
from tests.steps.peers import Reply, reply
from tests.steps.rig import Rig


def test_trouble_with_the_operator_s_url_makes_no_event_and_is_logged(rig: Rig, operator: Operator) -> None:
    operator.keep(OperatorEventType.HOST_PAUSED)
    operator.replies.set("/ops", *[reply(500)] * 7)
    for _ in range(7):
        operator.send_due()
        rig.clock.passes(40)
    assert kept(rig) == 1
    lines = rig.events("operator_webhook_failed")
    assert [line["next_attempt_at"] is None for line in lines] == [False, False, True]
    assert {(line["type"], line["subject"], line["error"], line["log_level"]) for line in lines} == {
        ("host.paused", HOST, "The receiver answered 500", "warning")
    }
    assert len({request.headers["webhook-id"] for request in operator.peer.requests}) == 1


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        pytest.param(reply(500), 5, id="500"),
        pytest.param(reply(302, location="/elsewhere"), 5, id="redirect"),
        pytest.param(reply(429, retry_after="120"), 120, id="429 that asks for time"),
    ],
)
def test_an_attempt_that_fails_is_made_again_by_the_schedule_of_callbacks(
    rig: Rig, operator: Operator, answer: Reply, seconds: float
) -> None:
    operator.keep(OperatorEventType.HOST_PAUSED)
    operator.replies.set("/ops", answer, Reply(status_code=204))
    assert len(operator.send_due()) == 1
    rig.clock.passes(seconds - 1)
    assert len(operator.send_due()) == 1
    rig.clock.passes(2)
    first, second = operator.send_due()
    assert first == second
    [one, other] = operator.peer.requests
    assert one.headers["webhook-id"] == other.headers["webhook-id"]
    assert one.headers["webhook-timestamp"] != other.headers["webhook-timestamp"]


def test_a_410_ends_the_event(rig: Rig, operator: Operator) -> None:
    operator.keep(OperatorEventType.HOST_PAUSED)
    operator.replies.set("/ops", reply(410))
    operator.send_due()
    rig.clock.passes(1_000)
    assert len(operator.send_due()) == 1


def test_an_address_that_callbacks_may_not_go_to_is_not_called(rig: Rig, operator: Operator) -> None:
    operator.keep(OperatorEventType.HOST_PAUSED)
    assert operator.send_due(operator.webhooks(a_sender(allow=()))) == []
    [line] = rig.events("operator_webhook_failed")
    assert line["error"].startswith("The callback was not sent: the address is not allowed: loopback")


def test_an_operator_s_url_that_was_away_gets_all_that_happened_in_as_few_events_as_may_be(
    rig: Rig, operator: Operator
) -> None:
    port_was_dead = operator.webhooks(a_sender(timeout_seconds=0.5, ports=frozenset({9})))
    for _ in range(10):
        operator.keep(OperatorEventType.HOST_PAUSED)
        operator.send_due(port_was_dead)
        rig.clock.passes(2)
    assert operator.peer.requests == []
    for _ in range(4):
        rig.clock.passes(30)
        operator.send_due()
    assert operator.send_due_counts() == [("host.paused", HOST, 1), ("host.paused", HOST, 9)]


def test_hostile_words_in_a_reason_are_data(rig: Rig, operator: Operator) -> None:
    words = '"}, "type": "x\u2028</script>\x07'
    with rig.engine.begin() as connection:
        event = new_event(OperatorEventType.HOST_PAUSED, HOST, words, rig.clock())
        operator.outbox.add(connection, [event])
    [said] = operator.send_due()
    assert (said["type"], said["data"]["reason"]) == ("host.paused", f"{words}.")
