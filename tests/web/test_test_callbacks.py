"""`POST /v1/test-callback`."""

import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from standardwebhooks import Webhook

from bridge.db.encryption import Cipher
from bridge.steps import clients
from bridge.web.api import test_callbacks
from bridge.web.app import create_app
from tests.http.receiver import OK, Receiver, Visit, answering, answering_once
from tests.makers import real_clock
from tests.senders import a_sender
from tests.web.api import Api, Caller, Serve, members, pointers, problem

PATH = "/v1/test-callback"


def received(receiver: Receiver) -> tuple[dict[str, str], bytes]:
    """The headers, with lower-case names, and the body of the one request that came."""
    [request] = receiver.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    return {name.lower(): value for name, _, value in lines}, body


def test_a_signed_event_is_sent_once_and_the_attempt_is_the_answer(serve: Serve) -> None:
    # The verifier refuses signatures that are older than five minutes.
    api = serve(clock=real_clock)
    made = api.new_client("cms")
    with Receiver(answering(OK)) as receiver:
        response = Caller(app=api.app, key=made.api_key).post(PATH, {"callback_url": receiver.url()})
    attempt = members(response)
    assert response.status_code == 200
    assert attempt.pop("duration_ms") >= 0
    assert attempt.pop("started_at").endswith("Z")
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
    event = Webhook(made.signing_secret).verify(body, headers)
    assert event == {"type": "bridge.test", "timestamp": event["timestamp"], "data": {"client": "cms"}}


def test_while_a_rotation_overlaps_both_secrets_sign(serve: Serve) -> None:
    api = serve(clock=real_clock)
    made = api.new_client("cms")
    new = clients.rotate_secret(
        api.dependencies.engine, api.dependencies.cipher, "cms", overlap_seconds=60, now=real_clock()
    )
    assert isinstance(new, str)
    with Receiver(answering(OK)) as receiver:
        Caller(app=api.app, key=made.api_key).post(PATH, {"callback_url": receiver.url()})
    headers, body = received(receiver)
    for secret in (made.signing_secret, new):
        Webhook(secret).verify(body, headers)


def test_the_admin_key_can_send_a_test_too(api: Api) -> None:
    with Receiver(answering(OK)) as receiver:
        attempt = members(api.admin.post(PATH, {"callback_url": receiver.url()}))
    assert attempt["status_code"] == 200
    assert json.loads(received(receiver)[1])["data"] == {"client": "admin"}


def test_what_the_receiver_said_is_shown_to_admins_alone(sqlite_api: Api) -> None:
    refusal = b"HTTP/1.1 500 Oops\r\nContent-Length: 13\r\n\r\nnot like this"
    excerpts = []
    for caller in (sqlite_api.admin, sqlite_api.client()):
        with Receiver(answering_once(refusal)) as receiver:
            attempt = members(caller.post(PATH, {"callback_url": receiver.url()}))
        assert (attempt["status_code"], attempt["error"]) == (500, "The receiver answered 500")
        excerpts.append(attempt["response_excerpt"])
    assert excerpts == ["not like this", None]


def test_a_receiver_that_is_not_there_is_an_attempt_too(sqlite_api: Api) -> None:
    with Receiver(answering(OK)) as receiver:
        url = receiver.url()
    attempt = members(sqlite_api.client().post(PATH, {"callback_url": url}))
    assert attempt["status_code"] is None
    assert attempt["error"].startswith("The receiver did not answer: ")


def test_a_test_ends_before_the_request_is_cut_however_long_real_callbacks_may_take(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_callbacks, "TIMEOUT_SECONDS", 1.0)  # a receiver that hangs costs all of it
    sender = a_sender(timeout_seconds=300)
    with Receiver(lambda _, visit: visit.hang()) as receiver:
        attempt = members(serve(callbacks=sender).client().post(PATH, {"callback_url": receiver.url()}))
    assert attempt["error"] == "The receiver did not answer: timed out after 1 s"


def test_a_name_that_leads_where_nobody_may_be_called_is_a_failed_attempt(serve_sqlite: Serve) -> None:
    client = serve_sqlite(callbacks=a_sender(lookup=lambda _: ["10.0.0.1"])).client()
    attempt = members(client.post(PATH, {"callback_url": "http://intranet.example/"}))
    assert "the address is not allowed: private" in attempt["error"]


@pytest.mark.parametrize("url", ["ftp://a.example/", "https://a.example/\x00", ""])
def test_a_url_that_could_not_be_registered_is_refused(refused: Caller, url: str) -> None:
    assert pointers(refused.post(PATH, {"callback_url": url})) == ["/callback_url"]


@pytest.mark.parametrize(
    ("body", "pointer"), [({}, "/callback_url"), ({"callback_url": "https://a.example/", "url": 1}, "/url")]
)
def test_a_test_has_nothing_but_its_url(refused: Caller, body: dict[str, Any], pointer: str) -> None:
    assert pointers(refused.post(PATH, body)) == [pointer]


def test_a_secret_that_cannot_be_read_is_told_with_what_the_operator_must_do(serve: Serve) -> None:
    api = serve()
    client = api.client("cms")
    changed = replace(api.dependencies, cipher=Cipher([Fernet.generate_key().decode()]))
    with Receiver(answering(OK)) as receiver:
        body = {"callback_url": receiver.url()}
        for _ in range(3):  # more than may be on their way at a time
            response = Caller(app=create_app(changed), key=client.key).post(PATH, body)
            told = problem(response, 503)
            assert told["type"] == "/problems/secret-unreadable"
            assert "BRIDGE_SECRET_KEY" in told["detail"]
        assert not receiver.requests
        assert client.post(PATH, body).status_code == 200


def test_receivers_that_hang_cannot_take_all_threads_of_the_api(sqlite_api: Api) -> None:
    client = sqlite_api.client()
    asked, let_go = threading.Semaphore(0), threading.Event()

    def hang(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        asked.release()
        let_go.wait(30)
        visit.send(OK)

    with Receiver(hang) as receiver:
        url = receiver.url()
        hanging = [threading.Thread(target=client.post, args=(PATH, {"callback_url": url})) for _ in range(2)]
        for thread in hanging:
            thread.start()
        assert all(asked.acquire(timeout=30) for _ in hanging)
        response = client.post(PATH, {"callback_url": url})
        let_go.set()
        for thread in hanging:
            thread.join()
    told = problem(response, 429)
    assert (told["type"], told["limit"]) == ("/problems/too-many-test-callbacks", 2)
    assert response.headers["Retry-After"] == "5"
