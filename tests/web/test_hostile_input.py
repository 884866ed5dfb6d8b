"""Hostile input is refused with a problem, and never causes a 500."""

import json
from typing import Any

import pytest

from bridge.web.app import RESOURCES
from bridge.web.operations import Operation
from tests.web.api import Api, Caller, problem

OPERATIONS = [operation for resource in RESOURCES for operation in resource.operations]
WITH_BODY = [operation for operation in OPERATIONS if operation.body]

VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    -(2**63) - 1,
    2**4_000,
    1.5,
    -0.0,
    "",
    " ",
    "\x00",
    "\ud800",
    "\udfff\ud800",
    "\u202e",
    "\ufeff",
    "é" * 300,
    "x" * 10_000,
    "' OR 1=1; --",
    "%00",
    "../../../etc/passwd",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "http://[",
    "https://a\r\nHost: b",
    [],
    [[]] * 50,
    {},
    {"": {}},
    {"$ne": None},
    {"__class__": "x"},
    {"\ud800": 1},
    json.loads("[" * 400 + "]" * 400),
]


@pytest.fixture(scope="session")
def anyone(refusing_api: Api) -> Caller:
    """An admin, so that nothing is refused before it is read."""
    return refusing_api.admin


@pytest.mark.parametrize("operation", WITH_BODY, ids=lambda operation: operation.name)
def test_any_value_in_any_field_is_read_or_refused(anyone: Caller, operation: Operation) -> None:
    assert operation.body
    schema = operation.body.model_json_schema()
    path = operation.path.format(watch_id="wat_unknown", name="hostile")
    for field in [*schema["properties"], "__proto__", "\ud800"]:
        for value in VALUES:
            given = schema["examples"][0] | {field: value}
            if operation.name == "test_callback" and field != "callback_url":
                given |= {"callback_url": "http://10.0.0.1/"}
            response = anyone.send(operation.method, path, given)
            # HubSpot, which is never asked here, may be what stands in the way.
            expected = response.status_code < 500 or response.status_code in operation.problems
            assert expected, (field, value, response.text)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:20])
def test_any_value_as_the_whole_body_is_read_or_refused(anyone: Caller, value: Any) -> None:
    for operation in WITH_BODY:
        path = operation.path.format(watch_id="wat_unknown", name="hostile")
        response = anyone.send(
            operation.method, path, data=json.dumps(value), content_type="application/json"
        )
        # Where nothing is required, an empty object is a fine body.
        fine = {200, 404} if value == {} and not operation.requires_body else {422}
        assert response.status_code in {422, *fine}, (operation.name, response.text)


def test_any_value_in_any_parameter_is_read_or_refused(anyone: Caller) -> None:
    listing = next(operation for operation in OPERATIONS if operation.name == "list_watches")
    assert listing.query
    texts = [value if isinstance(value, str) else ascii(value)[:500] for value in VALUES]
    for name in [*listing.query.model_fields, "unknown", "\x00", "a[]", "__proto__"]:
        for text in texts:
            encoded = text.encode(errors="surrogatepass")
            response = anyone.get("/v1/watches", **{name: encoded})
            assert response.status_code in (200, 422), (name, text, response.text)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/watches/%00%00%00%00%00%00%00%00",
        "/v1/watches/%ff%fe%fd%fc%fb%fa%f9%f8",
        "/v1/watches/%ED%A0%80aaaaaaaa",
        "/v1/watches/..%2f..%2f..%2fetc",
        "/v1/watches/" + "x" * 65,
        "/v1/watches/" + "x" * 3_000,
        "/v1/watches/wat_unknown/attempts/1",
        "/v1//watches",
        "//v1/watches",
        "/V1/watches",
        "/v1/watches%20",
        "/v1/watches/short",
        "/v1/clients/%00",
        "/v1/accounts/a%0d%0ab",
        "/v2/watches",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/%00",
        "/static/",
        "/.env",
        "/",
        "/%",
        "/%c0%af",
    ],
)
def test_a_path_that_is_none_is_not_found(anyone: Caller, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PUT"):
        response = anyone.send(method, path)
        assert response.status_code in (404, 405), (method, response.status_code)
        problem(response, response.status_code)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", ""),
        ("Host", "a b"),
        ("Host", "evil.example\x00"),
        ("Host", "evil.example:port"),
        ("Host", "[::1"),
        ("Host", "x" * 3_000),
        ("Content-Length", "-1"),
        ("Content-Length", "ten"),
        ("Content-Length", "9" * 30),
        ("Transfer-Encoding", "gzip"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Forwarded-For", "127.0.0.1, \x00"),
        ("X-Forwarded-Host", "evil.example"),
        ("Range", "bytes=0-0"),
        ("If-None-Match", "*"),
        ("If-Modified-Since", "never"),
        ("Accept", "text/html"),
        ("Accept-Encoding", "\x00"),
        ("Cookie", "session=\x00; ; =;" + "a=b;" * 500),
        ("Authorization", "Digest \x00"),
        ("Content-Type", "application/json; charset=\x00"),
        ("Content-Type", "application/json; " + "a=b; " * 500),
        ("Content-Type", "multipart/form-data"),
        ("Expect", "100-continue"),
        ("Upgrade", "websocket"),
    ],
)
def test_games_with_headers_lead_nowhere(refusing_api: Api, name: str, value: str) -> None:
    caller = refusing_api.admin
    variable = name.upper().replace("-", "_")
    variable = variable if variable in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{variable}"
    for method, path in (
        ("GET", "/v1/watches"),
        ("POST", "/v1/watches"),
        ("GET", "/docs"),
        ("GET", "/healthz"),
    ):
        response = caller.send(method, path, environ_overrides={variable: value})
        assert response.status_code < 500
        assert "evil.example" not in response.text + str(response.headers)


def test_a_method_that_a_path_does_not_know_is_refused_with_those_that_it_knows(refused: Caller) -> None:
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"):
        response = refused.send(method, "/v1/watches")
        problem(response, 405)
        assert {"GET", "POST"} <= set(response.headers["Allow"].split(", "))


def test_an_answer_to_head_has_no_body(refused: Caller) -> None:
    response = refused.send("HEAD", "/v1/watches")
    assert (response.status_code, response.data) == (200, b"")
