"""What a body must be: strict JSON, in UTF-8, of at most 1 MiB."""

import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from bridge.core.delivery import payload
from bridge.core.polling import end
from bridge.core.watch import Outcome
from bridge.db import watches as store
from bridge.web.api.imports import NewImport
from bridge.web.request_models import MAX_FAULTS
from tests.web.api import URL, Api, Caller, members, pointers, problem

MIB = 1024 * 1024
VALID = {"task_id": "AAAAEZ6whGI", "callback_url": URL}


def post(
    caller: Caller, data: bytes, content_type: str | None = "application/json", **options: Any
) -> TestResponse:
    headers = {"Content-Type": content_type} if content_type is not None else {}
    return caller.send(
        "POST", "/v1/watches", data=data, headers=headers | options.pop("headers", {}), **options
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"nul",
        b'{"task_id": }',
        b'{"task_id": "A",}',
        b"{'task_id': 'A'}",
        b'{"task_id": "A"} x',
        b'{"task_id": "A"}{}',
        b'{"task_id": "a\nb"}',
        b'{"task_id": "\x00"}',
        b'{"task_id": "\\x41"}',
        b'{"timeout_seconds": NaN}',
        b'{"timeout_seconds": Infinity}',
        b'{"timeout_seconds": -Infinity}',
        b'{"timeout_seconds": 1e400}',
        b'{"metadata": {"a": -1e999}}',
        b'{"timeout_seconds": 01}',
        b'{"timeout_seconds": ' + b"9" * 5_000 + b"}",
        b'{"task_id": "A", "task_id": "B"}',
        b'{"metadata": {"a": 1, "a": 1}}',
        b'\xef\xbb\xbf{"task_id": "A"}',
        b'{"task_id": "\xff"}',
        b'{"task_id": "\xed\xa0\x80"}',
        '{"task_id": "A"}'.encode("utf-16"),
        b"\x00",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"metadata": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b"task_id=A&callback_url=B",
        b"<watch/>",
    ],
    ids=lambda data: str(data[:30]),
)
def test_what_is_no_strict_json_is_malformed(refused: Caller, data: bytes) -> None:
    problem(post(refused, data), 400)


@pytest.mark.parametrize("data", [b"null", b"true", b"17", b'"text"', b"[]", b'[{"task_id": "A"}]', b'"{}"'])
def test_a_body_that_is_no_object_is_refused_as_a_whole(refused: Caller, data: bytes) -> None:
    assert pointers(post(refused, data)) == [""]


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/problem+json",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json, text/plain",
        "*/*",
        ";",
        "application/json\x7f",
    ],
)
def test_another_content_type_than_json_is_refused(refused: Caller, content_type: str | None) -> None:
    problem(post(refused, json.dumps(VALID).encode(), content_type), 415)


@pytest.mark.parametrize(
    "content_type",
    ["application/json;charset=UTF-8", "Application/JSON", "application/json; charset=utf8; a=b"],
)
def test_parameters_of_the_content_type_do_not_matter(sqlite_api: Api, content_type: str) -> None:
    assert post(sqlite_api.client(), json.dumps(VALID).encode(), content_type).status_code == 201


def test_a_compressed_body_is_refused(refused: Caller) -> None:
    response = post(refused, json.dumps(VALID).encode(), headers={"Content-Encoding": "gzip"})
    problem(response, 415)


def test_a_body_of_one_mebibyte_is_read_and_one_more_byte_is_too_much(refused: Caller) -> None:
    start = b'{"task_id": "'
    full = start + b"x" * (MIB - len(start) - 2) + b'"}'
    assert len(full) == MIB
    assert pointers(post(refused, full)) == ["/task_id", "/callback_url"]
    problem(post(refused, full + b" "), 413)


def test_a_body_that_ends_early_is_refused(refused: Caller) -> None:
    response = post(refused, b'{"task_id"', environ_overrides={"CONTENT_LENGTH": "100"})
    problem(response, 400)


def test_a_long_list_of_faults_is_cut_short_and_says_how_many_more_there_are(refused: Caller) -> None:
    many = {f"unknown-{number}": 1 for number in range(5_000)}
    response = refused.post("/v1/watches", VALID | many | {"x" * 5_000: 1})
    assert pointers(response) == [f"/unknown-{number}" for number in range(50)] + [""]
    assert members(response)["errors"][-1]["detail"] == "has 4,951 more faults"
    assert len(response.data) < 20_000


def test_parameters_that_are_given_twice_count_among_the_faults(refused: Caller) -> None:
    query = "&".join(f"unknown-{number}=1&unknown-{number}=2" for number in range(60))
    response = refused.send("GET", "/v1/watches", query_string=query)
    assert pointers(response) == [f"/unknown-{number}" for number in range(50)] + [""]
    assert members(response)["errors"][-1]["detail"] == "has 70 more faults"


def test_clients_are_told_how_many_faults_an_answer_names(refused: Caller) -> None:
    told = members(refused.get("/openapi.json"))["components"]["schemas"]["Problem"]["properties"]["errors"]
    assert f"Beyond {MAX_FAULTS}" in told["description"]


@pytest.mark.parametrize(("name", "pointer"), [("a/b", "/a~1b"), ("a~b", "/a~0b"), ("", "/"), ("é", "/é")])
def test_a_pointer_is_written_as_rfc_6901_wants_it(refused: Caller, name: str, pointer: str) -> None:
    assert pointers(refused.post("/v1/watches", VALID | {name: 1})) == [pointer]


def test_a_field_whose_name_is_no_text_is_refused_beside_all_other_faults(refused: Caller) -> None:
    response = refused.post("/v1/watches", {"a\ud800": 1, "\udfff": 1, "callback_url": URL, "metadata": 3})
    assert {fault["pointer"]: fault["detail"] for fault in problem(response, 422)["errors"]} == {
        "/task_id": "is required",
        "/metadata": "must be a JSON object",
        "/a\\ud800": "is not a known field",
        "/\\udfff": "is not a known field",
    }


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"order": 17},
        {"z": 1, "a": [True, None, "text", 1.5, -0.0, {"deep": {}}]},
        {"big": 2**4_000},
        {"float": 1e308, "small": 5e-324},
        {"nul": "\x00", "half": "\ud800", "pair": "\U0001f600", "é": "ü"},
        {"": ""},
        {"\ud800": "\udfff"},
        {"half": "x" * 4_083},
        {"two bytes each": "ü" * 2_037},
        {"list": json.loads("[" * 99 + "]" * 99)},
    ],
    ids=lambda metadata: ascii(metadata)[:40],
)
def test_metadata_comes_back_untouched(api: Api, metadata: dict[str, Any]) -> None:
    client = api.client()
    watch = client.register(metadata=metadata)
    assert watch["metadata"] == metadata
    found = members(client.get(f"/v1/watches/{watch['id']}"))["metadata"]
    assert json.dumps(found) == json.dumps(metadata)


NUMBERS = (
    "0.1234567890123456789 1e2 1E+2 -0 -0.0 1e-400 1.10 100000000000000000000000001 1.7976931348623157e308"
)


@pytest.mark.parametrize("number", NUMBERS.split())
def test_numbers_in_metadata_come_back_as_they_were_written(api: Api, number: str) -> None:
    client = api.client()
    written = f'{{"z": {number}, "a": [{number}, {{"b": {number}}}]}}'
    item = f'{{"task_id": "A", "callback_url": "{URL}", "metadata": {written}}}'
    shown = f'"metadata": {written}'
    first = post(client, item.encode())
    assert first.status_code == 201
    assert shown in first.text
    assert shown in client.get(f"/v1/watches/{members(first)['id']}").text
    assert shown in client.get("/v1/watches").text
    again = post(client, item.encode())
    assert (again.status_code, again.text) == (200, first.text)
    batch = client.send(
        "POST",
        "/v1/watches/batch",
        data=f'{{"watches": [{item}]}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    assert f'"status": 200, "watch": {first.text}' in batch.text
    with api.dependencies.engine.begin() as connection:
        watch = store.get(connection, members(first)["id"])
    assert watch is not None
    assert shown in payload(end(watch, Outcome.COMPLETED, None, now=api.clock()), None).decode()


def test_a_number_counts_towards_the_size_of_metadata_as_it_was_written(refused: Caller) -> None:
    number = "0." + "1" * 4_096
    response = post(refused, f'{{"metadata": {{"n": {number}}}}}'.encode())
    assert pointers(response) == ["/task_id", "/callback_url", "/metadata"]


@pytest.mark.parametrize(
    ("first", "again", "status"),
    [
        ('{"a": [2], "b": 1.10}', '{"b": 1.10, "a": [2]}', 200),
        ('{"a": [2], "b": 1.10}', '{"a":[2],"b":1.10}', 200),
        ('{"a": [2], "b": 1.10}', '{"a": [2], "b": 1.1}', 200),
        ('{"a": [2], "b": 1.10}', '{"a": [2.0], "b": 1.10}', 409),
        ('{"a": [2], "b": 1.10}', '{"a": [2], "b": 1.11}', 409),
        ('{"a": [2], "b": 1.10}', '{"a": [2], "b": "1.10"}', 409),
        ('{"a": 1, "b": 0}', '{"a": true, "b": false}', 409),
        ('{"n": 12345678901234567.89}', '{"n": 12345678901234567.12}', 409),
        ('{"n": 12345678901234567.80}', '{"n": 1.23456789012345678e16}', 200),
        ('{"n": 1e-400}', '{"n": 2e-400}', 409),
        ('{"n": 1e-9999999999999999999}', '{"n": 2e-9999999999999999999}', 409),
        ('{"n": 1e-9999999999999999999}', '{ "n": 1e-9999999999999999999}', 200),
    ],
)
def test_metadata_differs_when_a_value_does(sqlite_api: Api, first: str, again: str, status: int) -> None:
    client = sqlite_api.client()
    item = f'{{"task_id": "A", "callback_url": "{URL}", "metadata": %s}}'
    assert post(client, (item % first).encode()).status_code == 201
    assert post(client, (item % again).encode()).status_code == status


def test_metadata_that_an_older_release_has_stored_is_shown(api: Api) -> None:
    client = api.client()
    watch = client.register(metadata={"order": 17})
    api.change(watch["id"], metadata='{"order":17}')
    assert '"metadata": {"order":17}' in client.get(f"/v1/watches/{watch['id']}").text
    assert client.post("/v1/watches", VALID | {"metadata": {"order": 17}}).status_code == 200


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        [],
        "text",
        17,
        True,
        {"a": "x" * 4_096},
        {"ü": "ü" * 2_100},
        {"half": "\ud800" * 1_400},
        {str(number): number for number in range(1_000)},
        {"a": json.loads("[" * 100 + "]" * 100)},
        json.loads('{"a":' * 101 + "1" + "}" * 101),
    ],
    ids=lambda metadata: ascii(metadata)[:40],
)
def test_metadata_is_an_object_that_is_small_and_not_too_deep(refused: Caller, metadata: Any) -> None:
    assert pointers(refused.post("/v1/watches", VALID | {"metadata": metadata})) == ["/metadata"]


def test_the_url_of_an_import_is_not_shown() -> None:
    document = {"url": "https://files.example.com/a.csv?secret", "access": "PRIVATE"}
    assert "files.example.com" not in repr(
        NewImport.model_validate({"import": document, "callback_url": URL})
    )
