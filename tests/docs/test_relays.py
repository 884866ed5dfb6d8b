"""The relay for operators runs as its page writes it, between the bridge's real sender and a service."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from werkzeug.serving import make_server

from bridge.core.http_results import HttpResponse
from bridge.core.operator_events import OperatorEventType, new_event, payload
from tests.docs.markdown import blocks, page, section
from tests.makers import SECRET, real_clock
from tests.senders import a_sender
from tests.steps.peers import Peer, Reply

RELAY = section(page("docs/operator-webhooks.md"), "A relay")
REASON = 'HubSpot answered 401: <!channel> & "quotes".'
SENTENCE = f"account.paused: eu. {REASON}"


@contextmanager
def relay(service: str) -> Iterator[str]:
    """The relay for a service, running; its URL."""
    known: dict[str, Any] = {"__name__": "relay"}
    for text in (blocks(RELAY, "python")[0].text, blocks(section(RELAY, service), "python")[0].text):
        exec(compile(text, "relay", "exec"), known)  # noqa: S102 -- the page's own example is what is tested
    server = make_server("127.0.0.1", 0, known["app"], threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://relay.example.com:{server.server_port}/bridge"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    """Slack, Teams or PagerDuty."""
    with Peer(lambda _: Reply(status_code=202)).listening() as peer:
        for name, value in {
            "TARGET_URL": f"{peer.base_url}/in",
            "BRIDGE_OPERATOR_SECRET": SECRET,
            "ROUTING_KEY": "a-routing-key",
        }.items():
            monkeypatch.setenv(name, value)
        yield peer


def status(url: str, type_: OperatorEventType, *, secret: str = SECRET) -> int:
    """Send an event as the bridge does; return what the relay answers."""
    sender, at = a_sender(), real_clock()
    try:
        body = payload(new_event(type_, "eu", REASON, at))
        answer = sender.send(url, "evt_1", body, secrets=[secret], at=at)
    finally:
        sender.close()
    assert isinstance(answer, HttpResponse)
    return answer.status_code


def test_slack_gets_a_text_in_which_nothing_is_markup(service: Peer) -> None:
    with relay("Slack") as url:
        assert status(url, OperatorEventType.ACCOUNT_PAUSED) == 204
    [request] = service.requests
    escaped = SENTENCE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert request.json == {"text": escaped}


def test_teams_gets_a_card(service: Peer) -> None:
    with relay("Teams") as url:
        assert status(url, OperatorEventType.ACCOUNT_PAUSED) == 204
    [attachment] = service.requests[0].json["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert json.dumps(SENTENCE) in json.dumps(attachment["content"])


def test_pagerduty_gets_an_incident_that_the_end_of_the_pause_resolves(service: Peer) -> None:
    with relay("PagerDuty") as url:
        for type_ in (OperatorEventType.ACCOUNT_PAUSED, OperatorEventType.ACCOUNT_RESUMED):
            assert status(url, type_) == 204
    paused, resumed = (request.json for request in service.requests)
    assert [paused["event_action"], resumed["event_action"]] == ["trigger", "resolve"]
    assert paused["dedup_key"] == resumed["dedup_key"] == "account:eu"
    assert paused["payload"]["summary"] == SENTENCE


def test_a_relay_takes_nothing_from_strangers_and_nothing_that_the_service_does_not_take(
    service: Peer,
) -> None:
    with relay("Slack") as url:
        strangers = "whsec_" + "c3RyYW5nZXJzIGhhdmUgYW5vdGhlciBzZWNyZXQ="
        assert status(url, OperatorEventType.ACCOUNT_PAUSED, secret=strangers) == 400
        assert not service.requests
        service.answer = lambda _: Reply(status_code=500)
        assert status(url, OperatorEventType.ACCOUNT_PAUSED) == 502


@pytest.mark.parametrize("signature", ["garbage", "v1,AAA", "v1,", ""])
def test_a_relay_refuses_a_malformed_signature(service: Peer, signature: str) -> None:
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": f"{real_clock():%s}",
        "webhook-signature": signature,
    }
    with relay("Slack") as url:
        local = url.replace("relay.example.com", "127.0.0.1")
        answer = requests.post(local, data=b"{}", headers=headers, timeout=30)
    assert answer.status_code == 400
    assert not service.requests
