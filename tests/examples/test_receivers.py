"""The receivers of `examples/` keep what each of them says: verified, answered at once, handled once."""

import base64
import hmac
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from bridge.core.http_results import HttpResponse
from bridge.core.signing import make_secret, sign
from tests.examples.receivers import EXAMPLES, RECEIVERS, Example, Receiver, running
from tests.makers import SECRET
from tests.npm_packages import npm_folder
from tests.senders import a_sender

STRANGERS = make_secret(b"s" * 32)
BODY = b'{"type": "import.completed", "data": {"task_id": "AAAAEZ6whGI"}}'


@pytest.fixture(scope="module", params=RECEIVERS, ids=lambda example: example.file)
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Each receiver in turn, running."""
    example: Example = request.param
    if example.missing:
        pytest.skip(example.missing)
    # What is from npm is looked for in the folders above a file.
    parent = npm_folder(request.config) / "apps" if example.from_npm else tmp_path_factory.getbasetemp()
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder, running(example, Path(folder), SECRET) as started:
        yield started


def called_back(receiver: Receiver, *task_ids: str) -> list[int]:
    """Send callbacks with the bridge's own sender; what the receiver answered."""
    sender = a_sender()
    answers = []
    for task_id in task_ids:
        body = json.dumps({"type": "import.completed", "data": {"task_id": task_id}}).encode()
        message_id, now = f"wat_{task_id:0>8}", datetime.now(UTC)
        answer = sender.send(receiver.url, message_id, body, secrets=[SECRET], at=now)
        assert isinstance(answer, HttpResponse), answer
        answers.append(answer.status_code)
    sender.close()
    return answers


def test_a_callback_that_comes_again_is_handled_once(receiver: Receiver) -> None:
    assert called_back(receiver, "again", "again", "other") == [204] * 3
    receiver.until(lambda: receiver.handled("other") == 1)
    assert called_back(receiver, "again", "last") == [204] * 2
    receiver.until(lambda: receiver.handled("last") == 1)
    assert receiver.handled("again") == 1


def test_what_was_answered_before_a_crash_is_handled_after_it(receiver: Receiver) -> None:
    called_back(receiver, "before")
    receiver.until(lambda: receiver.handled("before") == 1)
    waiting = [f"waiting{number}" for number in range(3)]
    assert called_back(receiver, *waiting) == [204] * 3
    receiver.kill()
    handled = [receiver.handled(task_id) for task_id in waiting]
    receiver.start()
    assert 0 in handled, "it answers after the work"
    called_back(receiver, "before", "after")
    receiver.until(lambda: all(receiver.handled(task_id) for task_id in [*waiting, "after"]))
    assert receiver.handled("before") == 1


def test_a_worker_whose_inbox_fails_for_a_while_goes_on(receiver: Receiver) -> None:
    called_back(receiver, "first")
    receiver.until(lambda: receiver.handled("first") == 1)
    inbox = receiver.folder / "inbox.db"
    if inbox.exists():
        with closing(sqlite3.connect(inbox, isolation_level=None)) as connection:
            connection.execute("ALTER TABLE events RENAME TO hidden")
            time.sleep(0.5)  # a worker looks every 0.05 s
            connection.execute("DROP TABLE IF EXISTS events")
            connection.execute("ALTER TABLE hidden RENAME TO events")
    assert called_back(receiver, "second") == [204]
    receiver.until(lambda: receiver.handled("second") == 1)


def posted(receiver: Receiver, headers: dict[str, str | None]) -> int:
    headers = {"Content-Type": "application/json", **headers}
    return requests.post(receiver.url, BODY, headers=headers, timeout=30).status_code


def signed(*secrets: str, age_seconds: int = 0, body: bytes = BODY) -> dict[str, str | None]:
    return {**sign("wat_12345678", int(time.time()) - age_seconds, body, secrets)}


def test_while_a_secret_is_rotated_either_signature_will_do(receiver: Receiver) -> None:
    assert posted(receiver, signed(STRANGERS, SECRET)) == 204
    assert posted(receiver, signed(SECRET, STRANGERS)) == 204


def test_what_a_stranger_signed_is_refused(receiver: Receiver) -> None:
    assert posted(receiver, signed(STRANGERS)) == 400


def test_the_signature_of_another_body_is_refused(receiver: Receiver) -> None:
    assert posted(receiver, signed(SECRET, body=b"{}")) == 400


@pytest.mark.parametrize("age_seconds", [3600, -3600], ids=["old", "from the future"])
def test_a_genuine_callback_of_another_time_is_refused(receiver: Receiver, age_seconds: int) -> None:
    assert posted(receiver, signed(SECRET, age_seconds=age_seconds)) == 400


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(dict.fromkeys(signed(SECRET)), id="unsigned"),
        pytest.param({"webhook-id": None}, id="no id"),
        pytest.param({"webhook-timestamp": None}, id="no time"),
        pytest.param({"webhook-timestamp": "soon"}, id="a time that is none"),
        pytest.param({"webhook-signature": None}, id="no signature"),
        pytest.param({"webhook-signature": ""}, id="an empty signature"),
        pytest.param({"webhook-signature": "v1,"}, id="a signature of nothing"),
        pytest.param({"webhook-signature": "v1,*"}, id="no base64"),
        pytest.param({"webhook-signature": "garbage"}, id="garbage"),
    ],
)
def test_headers_that_lack_something_are_refused(receiver: Receiver, changes: dict[str, str | None]) -> None:
    assert posted(receiver, {**signed(SECRET), **changes}) == 400


@pytest.mark.parametrize(
    "example", [example for example in RECEIVERS if "HMAC" in example.text], ids=lambda example: example.file
)
def test_a_receiver_without_a_secret_accepts_nothing(example: Example, tmp_path: Path) -> None:
    if example.missing:
        pytest.skip(example.missing)
    now = str(int(time.time()))
    digest = hmac.digest(b"", b"wat_12345678." + now.encode() + b"." + BODY, "sha256")
    signature = "v1," + base64.b64encode(digest).decode()
    headers = {"webhook-id": "wat_12345678", "webhook-timestamp": now, "webhook-signature": signature}
    with (
        pytest.raises(AssertionError, match="SIGNING_SECRET is no signing secret"),
        running(example, tmp_path, "") as receiver,
    ):
        assert posted(receiver, {**headers}) == 204, receiver.printed


def test_every_receiver_is_tried() -> None:
    assert {example.file for example in RECEIVERS} == {path.name for path in EXAMPLES.glob("receiver*")}
