"""The callback's body: the metadata and HubSpot's JSON are sent unchanged."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.delivery import payload
from bridge.core.watch import Outcome
from tests.makers import NOW, a_watch, an_ended_watch, later

LIMIT = 256 * 1024

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=4)


def body_of(hubspot: str | None, **others: Any) -> str:
    return payload(an_ended_watch(**others), hubspot).decode()


def hubspot_text_in(body: str) -> str:
    """Return the text between `"hubspot": ` and the two closing braces, character by character."""
    _, name, rest = body.partition('"error": null, "hubspot": ')
    assert name
    assert rest.endswith("}}")
    return rest.removesuffix("}}")


def test_a_callback_says_all_that_the_contract_promises() -> None:
    watch = an_ended_watch(ended_at=later(90.5))
    assert json.loads(payload(watch, '{"status": "COMPLETE"}')) == {
        "type": "import.completed",
        "timestamp": "2026-11-21T12:01:30.500000Z",
        "data": {
            "id": "wat_0123456789",
            "task_id": "AAAAEZ6whGI",
            "kind": "file-import",
            "account": "default",
            "outcome": "completed",
            "metadata": {"order": 17},
            "created_at": "2026-11-21T12:00:00.000000Z",
            "ended_at": "2026-11-21T12:01:30.500000Z",
            "error": None,
            "hubspot": {"status": "COMPLETE"},
        },
    }


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.COMPLETED])
def test_every_other_outcome_comes_with_a_sentence(outcome: Outcome) -> None:
    told = json.loads(payload(an_ended_watch(outcome), None))
    assert (told["type"], told["data"]["outcome"]) == (f"import.{outcome.value}", outcome.value)
    assert told["data"]["error"] == "It did not work."
    assert told["data"]["hubspot"] is None


@pytest.mark.parametrize(
    "hubspot",
    [
        pytest.param('{"id": 123456789012345678901234567890}', id="an integer that no float holds"),
        pytest.param('{"price": 1.10, "e": 1E5, "z": -0.0}', id="numbers that Python would write anew"),
        pytest.param('{"n": 1e400}', id="a number that no float reaches"),
        pytest.param('{"a": 1.10, "a": 1.1}', id="a name that comes twice"),
        pytest.param('{"z": 1, "a": 2}', id="the order of names"),
        pytest.param('{"name": "Größe 😀 \\u00e9 \\ud83d"}', id="unicode, escaped and not"),
        pytest.param('{ "a":1,\r\n\t"b" :[ ] }', id="white space"),
        pytest.param('{"a": "}}", "hub": "\\"x\\": "}', id="what looks like an end"),
    ],
)
def test_hubspot_s_answer_goes_out_as_it_came(hubspot: str) -> None:
    assert hubspot_text_in(body_of(hubspot)) == hubspot


@given(said=json_objects, indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_whatever_hubspot_says_the_body_is_json_and_tells_the_same(
    said: dict[str, Any], indent: int | None, *, ascii_only: bool
) -> None:
    hubspot = json.dumps(said, indent=indent, ensure_ascii=ascii_only)
    body = body_of(hubspot)
    assert hubspot_text_in(body) == hubspot
    assert json.loads(body)["data"]["hubspot"] == said


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({}, id="none"),
        pytest.param({"order": 17}, id="a few"),
        pytest.param({"id": 123456789012345678901234567890}, id="an integer that no float holds"),
        pytest.param({"z": "Größe 😀", "a": "\ud83d", "\x00": "\x00"}, id="any text"),
        pytest.param({"z": 1, "a": {"y": [None, True, 1.5, "x"], "b": {}}}, id="the order of names"),
    ],
)
def test_the_client_s_metadata_comes_back_untouched(metadata: dict[str, Any]) -> None:
    told = json.loads(body_of("{}", metadata=json.dumps(metadata)))["data"]["metadata"]
    assert json.dumps(told) == json.dumps(metadata)


def test_metadata_goes_out_as_it_is_stored() -> None:
    stored = '{"a":1e2, "b": 0.1234567890123456789}'
    assert f'"metadata": {stored}, ' in body_of("{}", metadata=stored)


@pytest.mark.parametrize(
    ("characters", "truncated"),
    [
        pytest.param("x" * (LIMIT - 2), False, id="256 KiB"),
        pytest.param("x" * (LIMIT - 1), True, id="a byte more"),
        pytest.param("é" * (LIMIT // 2 - 1), False, id="256 KiB of two-byte characters"),
        pytest.param("é" * (LIMIT // 2), True, id="two bytes more"),
    ],
)
def test_an_answer_of_more_than_256_kib_is_left_out_and_the_body_says_so(
    characters: str, *, truncated: bool
) -> None:
    data = json.loads(body_of(f'"{characters}"'))["data"]
    assert data.get("truncated", False) is truncated
    assert data["hubspot"] == (None if truncated else characters)


def test_a_body_that_is_whole_does_not_speak_of_truncation() -> None:
    assert "truncated" not in body_of("{}")
    assert "truncated" not in body_of(None)


def test_a_body_is_the_same_for_every_attempt() -> None:
    watch = an_ended_watch()
    later_attempt = an_ended_watch(attempts=4, tries=2, last_error="503", claimed_by="w", manual=True)
    assert payload(watch, "{}") == payload(later_attempt, "{}")


def test_a_watch_that_has_not_ended_has_nothing_to_tell() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        payload(a_watch(), None)


def test_the_instants_of_a_body_are_utc() -> None:
    east = NOW.astimezone().tzinfo
    told = json.loads(payload(an_ended_watch(ended_at=(NOW + timedelta(1)).astimezone(east)), None))
    assert told["timestamp"] == told["data"]["ended_at"] == "2026-11-22T12:00:00.000000Z"
