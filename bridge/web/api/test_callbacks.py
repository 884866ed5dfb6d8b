"""`POST /v1/test-callback`: sends a signed test event, so that a client can try its receiver."""

import json
from secrets import token_hex

from pydantic import Field

from bridge.core.delivery import Attempt, Trigger, record
from bridge.core.instants import rfc3339
from bridge.core.watch_json import attempt_members
from bridge.db import clients as store
from bridge.db.encryption import WrongSecretKey
from bridge.db.engine import reading
from bridge.steps.deliver import UNREADABLE
from bridge.web.api.watches import AttemptSchema
from bridge.web.operations import ApiCall, Reply, Resource, ResponseSpec, reply
from bridge.web.problems import Problem
from bridge.web.request_models import Body, CallbackUrl
from bridge.web.response_models import examples
from bridge.web.thread_limits import TEST_CALLBACKS

resource = Resource("Callbacks")

# The limit holds even when BRIDGE_CALLBACK_TIMEOUT is longer: Heroku's router waits at most 30 s for a response.
TIMEOUT_SECONDS = 25.0


class TestCallback(Body):
    """Where to send the test event."""

    model_config = examples({"callback_url": "https://app.example.com/hooks/hubspot"})

    callback_url: CallbackUrl = Field(
        description="Where the test callback goes: an http(s) URL without a user name or password and without a fragment."
    )


@resource.operation(
    "POST /v1/test-callback",
    body=TestCallback,
    responses={200: ResponseSpec(description="The attempt, however it went.", model=AttemptSchema)},
    problems=(429,),
)
def test_callback(call: ApiCall, body: TestCallback) -> Reply | Problem:
    """Send a signed `bridge.test` event, once, now.

    The event is sent like a real callback: it is signed with the client's secrets, and may go to the same URLs and
    addresses. The answer is the attempt, which is not stored. The attempt takes at most 25 s, even if the time-out of
    real callbacks is longer.
    """
    if not TEST_CALLBACKS.enter():
        return TEST_CALLBACKS.problem("too-many-test-callbacks")
    try:
        attempt = _attempt(call, body.callback_url)
    except WrongSecretKey:
        detail = UNREADABLE.format(call.caller.name)
        return Problem(status=503, detail=detail, cause="secret-unreadable")
    finally:
        TEST_CALLBACKS.leave()
    return reply(attempt_members(attempt, excerpt=call.caller.admin))


def _attempt(call: ApiCall, url: str) -> Attempt:
    event = {"type": "bridge.test", "timestamp": rfc3339(call.now), "data": {"client": call.caller.name}}
    message_id = f"test_{token_hex(16)}"
    secrets = _secrets(call)
    started_at = call.dependencies.clock()
    answer = call.dependencies.callbacks.send(
        url,
        message_id,
        json.dumps(event).encode(),
        secrets=secrets,
        at=started_at,
        within_seconds=TIMEOUT_SECONDS,
    )
    now = call.dependencies.clock()
    return record(message_id, 1, Trigger.MANUAL, answer, started_at=started_at, now=now)


def _secrets(call: ApiCall) -> list[str]:
    call.ensure_client()
    with reading(call.dependencies.engine) as connection:
        tokens = store.secrets_of(connection, [call.caller.name], call.now)[call.caller.name]
    return [call.dependencies.cipher.decrypt(token) for token in tokens]
