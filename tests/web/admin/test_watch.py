"""A watch: its history, HubSpot's response, the callback as it is sent, and the buttons."""

import json
import re
import shlex
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from standardwebhooks import Webhook

from bridge.db.tables import account_breakers, answers, attempts, host_breakers, signing_secrets
from tests.makers import NOW, later
from tests.web.admin.operator import an_operator
from tests.web.api import URL, Api

ENDED = {"outcome": "completed", "ended_at": NOW + timedelta(seconds=9), "status": "COMPLETE"}
STATES: dict[str, dict[str, Any]] = {
    "watching": {},
    "delivering": ENDED,
    "delivered": {**ENDED, "due_at": None, "settled_at": NOW + timedelta(seconds=10)},
    "undelivered": {**ENDED, "due_at": None, "settled_at": NOW + timedelta(seconds=10)},
    "withdrawn": {"due_at": None, "settled_at": NOW + timedelta(seconds=10)},
}


def block(html: str, name: str) -> str:
    found = re.search(rf'<pre id="{name}"[^>]*><code>(.*?)</code></pre>', html, re.DOTALL)
    assert found, html
    return unescape(found[1])


def test_the_story_tells_what_happened_in_order(api: Api) -> None:
    watch_id = api.client().register()["id"]
    api.change(watch_id, state="undelivered", polls=4, last_polled_at=NOW + timedelta(seconds=8),
               age_zero_at=NOW + timedelta(seconds=3), **STATES["undelivered"])  # fmt: skip
    row = {"watch_id": watch_id, "number": 1, "trigger": "schedule", "duration_ms": 1234, "status_code": 502}
    api.insert(attempts, **row, started_at=NOW + timedelta(seconds=9.5), error="The receiver answered 502",
               response_excerpt="Bad Gateway")  # fmt: skip
    html = an_operator(api).get(f"/watches/{watch_id}").text
    story = ["Registered", "first seen at work", "HubSpot says COMPLETE", "The task ended: completed",
             "Attempt 1: 502", "The receiver answered 502", "1.2 s", "Bad Gateway", "Given up"]  # fmt: skip
    places = [html.index(part, html.index('<ol class="story">')) for part in story]
    assert places == sorted(places)


@pytest.mark.parametrize("state", STATES)
def test_only_a_watch_whose_task_may_still_end_has_a_deadline(sqlite_api: Api, state: str) -> None:
    watch_id = sqlite_api.client().register()["id"]
    sqlite_api.change(watch_id, state=state, **STATES[state])
    html = an_operator(sqlite_api).get(f"/watches/{watch_id}").text
    assert ("Deadline" in html) == (state == "watching")


def test_an_open_watch_tells_its_next_step(sqlite_api: Api) -> None:
    watch_id = sqlite_api.client().register()["id"]
    assert "HubSpot is asked again" in an_operator(sqlite_api).get(f"/watches/{watch_id}").text
    sqlite_api.change(watch_id, claimed_by="worker-7")
    assert "worker-7" in an_operator(sqlite_api).get(f"/watches/{watch_id}").text


def test_a_callback_that_waits_for_its_host_says_so_instead_of_a_time_that_is_over(sqlite_api: Api) -> None:
    watch_id = sqlite_api.client().register()["id"]
    sqlite_api.change(watch_id, state="delivering", outcome="completed", ended_at=NOW, due_at=later(-60))
    assert "The callback is due" in an_operator(sqlite_api).get(f"/watches/{watch_id}").text
    paused = {"failures": 5, "pause_seconds": 30.0, "paused_at": NOW, "paused_until": later(30)}
    sqlite_api.insert(host_breakers, name="app.example.com", reason="The receiver is gone", **paused)
    html = an_operator(sqlite_api).get(f"/watches/{watch_id}").text
    assert "It waits until app.example.com takes callbacks again." in html
    assert "attempt due" in an_operator(sqlite_api).get("/watches").text


def test_a_poll_that_waits_for_its_account_says_so(sqlite_api: Api) -> None:
    watch_id = sqlite_api.client().register()["id"]
    sqlite_api.insert(account_breakers, name="default", headroom=1.0, failures=1, pause_seconds=30.0, paused_at=NOW,
                      paused_until=later(30), reason="HubSpot answered 401")  # fmt: skip
    operator = an_operator(sqlite_api)
    assert "is paused" not in operator.get(f"/watches/{watch_id}").text
    assert operator.submit(f"/watches/{watch_id}/recheck").status_code == 303
    html = operator.get(f"/watches/{watch_id}").text
    assert "HubSpot is asked as soon as the account allows it." in html
    assert "It waits: the account default is paused." in html


def test_hubspots_answer_is_shown_in_lines_with_its_numbers_as_they_were(sqlite_api: Api) -> None:
    watch_id = sqlite_api.client().register(metadata={"é": [1, {}]})["id"]
    sqlite_api.insert(
        answers, watch_id=watch_id, body='{"status": "PROCESSING", "n": [1.10, 1E2, -0], "s": "\\ud800"}'
    )
    html = an_operator(sqlite_api).get(f"/watches/{watch_id}").text
    expected = (
        '{\n  "status": "PROCESSING",\n  "n": [\n    1.10,\n    1E2,\n    -0\n  ],\n  "s": "\\ud800"\n}'
    )
    assert block(html, "hubspot-json") == expected
    assert block(html, "metadata-json") == '{\n  "é": [\n    1,\n    {}\n  ]\n}'


def test_the_callback_is_shown_as_it_is_sent_and_its_signature_holds(api: Api) -> None:
    new = api.new_client()
    watch_id = api.admin.register()["id"]
    api.change(watch_id, state="delivered", client="cms", **STATES["delivered"])
    html = an_operator(api).get(f"/watches/{watch_id}").text
    first, *lines = block(html, "callback-headers").strip().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    body = block(html, "callback-body")
    assert first == f"POST {URL}"
    assert headers["Content-Type"] == "application/json"
    assert headers["webhook-id"] == watch_id
    # The test's clock is not the verifier's: the signature alone is checked.
    signed = Webhook(new.signing_secret).sign(watch_id, NOW.replace(microsecond=0), body)
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert headers["webhook-signature"] == signed
    assert json.loads(body)["type"] == "import.completed"
    command = shlex.split(block(html, "callback-curl"))
    assert command[:4] == ["curl", "-X", "POST", URL]
    assert command[-2:] == ["--data-raw", body]
    assert f"webhook-signature: {signed}" in command


def test_a_callback_whose_secret_cannot_be_read_says_so(sqlite_api: Api) -> None:
    watch_id = sqlite_api.client().register()["id"]
    sqlite_api.change(watch_id, state="delivering", **STATES["delivering"])
    sqlite_api.execute(signing_secrets.update().values(secret="gAAAA"))
    assert "cannot be read" in an_operator(sqlite_api).get(f"/watches/{watch_id}").text


@pytest.mark.parametrize(
    ("state", "change", "after"),
    [
        ("watching", "recheck", "watching"),
        ("watching", "withdraw", "withdrawn"),
        ("delivering", "withdraw", "withdrawn"),
        ("delivered", "redeliver", "delivering"),
        ("undelivered", "redeliver", "delivering"),
    ],
)
def test_the_buttons_do_what_the_api_does(api: Api, state: str, change: str, after: str) -> None:
    watch_id = api.client().register()["id"]
    api.change(watch_id, state=state, **STATES[state])
    operator = an_operator(api)
    path = f"/watches/{watch_id}"
    assert f'action="/admin{path}/{change}"' in operator.get(path).text
    answer = operator.submit(f"{path}/{change}", follow_redirects=True)
    assert answer.status_code == 200
    assert 'role="status"' in answer.text
    assert api.admin.get(f"/v1/watches/{watch_id}").json["state"] == after  # type: ignore[index]


@pytest.mark.parametrize(
    ("state", "missing"),
    [
        ("watching", {"redeliver"}),
        ("delivering", {"recheck", "redeliver"}),
        ("delivered", {"recheck", "withdraw"}),
        ("undelivered", {"recheck", "withdraw"}),
        ("withdrawn", {"recheck", "redeliver", "withdraw"}),
    ],
)
def test_what_cannot_be_done_has_no_button_and_is_refused(
    sqlite_api: Api, state: str, missing: set[str]
) -> None:
    watch_id = sqlite_api.client().register()["id"]
    sqlite_api.change(watch_id, state=state, **STATES[state])
    operator = an_operator(sqlite_api)
    html = operator.get(f"/watches/{watch_id}").text
    assert missing == {change for change in ("recheck", "redeliver", "withdraw") if f'/{change}"' not in html}
    for change in missing:
        answer = operator.submit(f"/watches/{watch_id}/{change}")
        assert answer.status_code == 409
        assert "stays as it is" in answer.text


def test_a_watch_that_is_gone_is_told(sqlite_api: Api) -> None:
    answer = an_operator(sqlite_api).get("/watches/wat_00000001")
    assert answer.status_code == 404
    assert "There is no such watch." in answer.text
