"""`POST /v1/test-callback`."""

import json
import threading
from contextlib import ExitStack

import pytest
from standardwebhooks import Webhook

from bridge import clients
from bridge.edges.callbacks import CallbackSender
from tests.edges.receiver import OK, Receiver, Visit, answering, answering_once
from tests.web.api import Api, Serve, members, pointers, problem

PATH = "/v1/test-callback"


def received(receiver: Receiver) -> tuple[dict[str, str], bytes]:
    """The headers, with lower-case names, and the body of the one request that came."""
    [request] = receiver.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    return {name.lower(): value for name, _, value in lines}, body


def test_a_signed_event_is_sent_once_and_the_attempt_is_the_answer(api: Api) -> None:
    made = api.new_client("cms")
    client = type(api.nobody)(app=api.app, key=made.api_key)
    with Receiver(answering(OK)) as receiver:
        response = client.post(PATH, {"callback_url": receiver.url()})
    attempt = members(response)
    assert response.status_code == 200
    assert attempt.pop("duration_ms") >= 0
    assert attempt.pop("started_at").startswith("2026-11-21T12:00:00")
    assert attempt == {
        "number": 1,
        "trigger": "manual",
        "status_code": 200,
        "error": None,
        "response_excerpt": None,
    }
    headers, body = received(receiver)
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"].startswith("hubspot-import-bridge/")
    # The judge also compares the timestamp with the real time, so that it is asked for the signature alone.
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == signature(made.signing_secret, signed)
    event = json.loads(body)
    assert event["type"] == "bridge.test"
    assert event["data"] == {"client": "cms"}


def signature(secret: str, signed: bytes) -> str:
    import base64
    import hmac

    return "v1," + base64.b64encode(hmac.digest(Webhook(secret)._whsecret, signed, "sha256")).decode()
