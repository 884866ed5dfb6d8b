"""`/openapi.json`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bridge.core.kinds import KINDS
from bridge.core.operator_events import OperatorEventType, new_event, payload
from bridge.core.watch import Outcome
from bridge.web.app import RESOURCES
from bridge.web.operations import Access
from bridge.web.problems import Problem
from bridge.web.request_models import validated
from tests.makers import NOW
from tests.web.api import Api, Serve, members

OPERATIONS = [operation for resource in RESOURCES for operation in resource.operations]


@pytest.fixture(scope="session")
def document(refusing_api: Api) -> dict[str, Any]:
    response = refusing_api.nobody.get("/openapi.json")
    assert response.status_code == 200
    return members(response)


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    wheel = "PyYAML, which it needs, has no wheel for this Python"
    pytest.importorskip("openapi_spec_validator", reason=wheel).validate(document)
    assert document["openapi"].startswith("3.1.")


def test_every_operation_is_in_the_document(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(operation.method, operation.path) for operation in OPERATIONS}
    names = [
        operation["operationId"] for methods in document["paths"].values() for operation in methods.values()
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_tells_who_may_call_it_and_what_it_answers(
    document: dict[str, Any], operation: Any
) -> None:
    described = document["paths"][operation.path][operation.method.lower()]
    is_open = operation.access is Access.OPEN
    assert described["security"] == ([] if is_open else [{"apiKey": []}])
    assert described["summary"].endswith(".")
    statuses = set(described["responses"])
    assert {str(status) for status in operation.responses} <= statuses
    assert {"400", "500"} <= statuses
    assert is_open or {"401", "422", "503"} <= statuses
    is_for_admins = operation.access is Access.ADMIN
    assert described["description"].startswith("For admins only.") is is_for_admins
    assert is_for_admins <= ("403" in statuses)
    assert bool(operation.path_parameters) <= ("404" in statuses)
    assert bool(operation.body) <= ({"413", "415"} <= statuses)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.body], ids=lambda operation: operation.name)
def test_the_example_of_each_body_is_valid(document: dict[str, Any], operation: Any) -> None:
    described = document["paths"][operation.path][operation.method.lower()]
    reference = described["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    for example in document["components"]["schemas"][reference.rpartition("/")[2]]["examples"]:
        assert not isinstance(validated(operation.body, example), Problem)


def test_the_filters_of_a_list_are_parameters(document: dict[str, Any]) -> None:
    parameters = {p["name"]: p for p in document["paths"]["/v1/watches"]["get"]["parameters"]}
    assert list(parameters) == [
        "state",
        "outcome",
        "kind",
        "account",
        "client",
        "task_id",
        "callback_host",
        "created_after",
        "created_before",
        "ended_after",
        "ended_before",
        "settled_after",
        "settled_before",
        "last_attempt_after",
        "last_attempt_before",
        "order",
        "limit",
        "cursor",
    ]
    limit = {"type": "integer", "minimum": 1, "maximum": 250, "default": 50}
    assert parameters["limit"]["schema"] == limit
    assert (parameters["state"]["style"], parameters["state"]["explode"]) == ("form", False)
    assert parameters["state"]["schema"]["type"] == "array"
    assert "null" not in json.dumps(list(parameters.values()))


def test_what_is_shown_is_what_the_document_says(document: dict[str, Any], api: Api) -> None:
    """Every member of an answer is in its schema, and none is missing."""
    watch = api.client().register()
    assert watch.keys() == document["components"]["schemas"]["Watch"]["properties"].keys()
    schemas = document["components"]["schemas"]
    for path, name, inner in (
        ("/v1/accounts", "Account", "accounts"),
        ("/v1/clients", "Client", "clients"),
        ("/v1/watches", "Watch", "watches"),
    ):
        [shown, *_] = members(api.admin.get(path))[inner]
        assert shown.keys() == schemas[name]["properties"].keys()
    assert members(api.admin.get("/v1/summary")).keys() == schemas["Summary"]["properties"].keys()
    assert members(api.nobody.get("/readyz")).keys() == schemas["Readiness"]["properties"].keys()


def test_the_server_is_where_the_bridge_is_reached(serve_sqlite: Serve) -> None:
    api = serve_sqlite(public_url="https://bridge.example.com")
    assert members(api.nobody.get("/openapi.json"))["servers"][0]["url"] == "https://bridge.example.com"


def schemas(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"]
    return found


def is_sent(name: str) -> bool:
    """Whether clients send objects of this schema."""
    return any(operation.body and operation.body.__name__ == name for operation in OPERATIONS)


def test_every_object_and_enumeration_has_its_one_schema(document: dict[str, Any]) -> None:
    """Client generators make another class of a schema that stands within another one."""
    for name, schema in schemas(document).items():
        assert not [inner for inner in subschemas(schema) if inner.keys() & {"properties", "enum"}], name
    items = schemas(document)["NewWatchBatch"]["properties"]["watches"]["items"]
    assert items == {"$ref": "#/components/schemas/NewWatch"}


def subschemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All schemas within this one."""
    several = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("allOf", ())]
    for inner in [*several, schema.get("items"), schema.get("additionalProperties")]:
        if isinstance(inner, dict):
            yield inner
            yield from subschemas(inner)


def test_every_schema_and_field_is_described_with_an_example(document: dict[str, Any]) -> None:
    for name, schema in schemas(document).items():
        assert schema["description"], name
        for field, described in schema.get("properties", {}).items():
            assert described["description"].strip(), (name, field)
            assert described["examples"], (name, field)


def test_every_number_has_its_bounds(document: dict[str, Any]) -> None:
    unbounded = {
        f"{name}.{field}"
        for name, schema in schemas(document).items()
        for field, described in schema.get("properties", {}).items()
        if {"integer", "number"} & {*strings(described.get("type"))}
        and described.keys().isdisjoint({"minimum", "exclusiveMinimum"})
    }
    # A clock may be behind.
    assert unbounded == {"AccountCheck.clock_ahead_seconds"}


def strings(parse_choices: str | list[str] | None) -> list[str]:
    return [parse_choices] if isinstance(parse_choices, str) else parse_choices or []


def test_every_parameter_answer_and_header_is_described(document: dict[str, Any]) -> None:
    every = [
        operation
        for methods in (*document["paths"].values(), *document["webhooks"].values())
        for operation in methods.values()
    ]
    for operation in every:
        for parameter in operation["parameters"]:
            assert parameter["description"]
            assert parameter["example"] is not None
        for answer in operation["responses"].values():
            assert answer.get("description") or answer["$ref"]
            assert_headers_described(answer, document)
    for refusal in document["components"]["responses"].values():
        assert refusal["content"]["application/problem+json"]["examples"]
        assert_headers_described(refusal, document)


def assert_headers_described(answer: dict[str, Any], document: dict[str, Any]) -> None:
    for name, header in answer.get("headers", {}).items():
        described = document["components"]["headers"][name] if "$ref" in header else header
        assert described["description"]
        assert described["example"] is not None


def test_what_is_limited_and_what_may_be_sent_again_is_said(document: dict[str, Any]) -> None:
    limited, keyed = set(), {}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            good = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
            if all("RateLimit" in answer["headers"] for answer in good):
                limited.add(path)
            for parameter in operation["parameters"]:
                if parameter["name"] == "Idempotency-Key":
                    keyed[path] = parameter["description"]
    assert limited - keyed.keys() == {"/v1/watches/redeliver", "/v1/watches/{watch_id}/redeliver"}
    assert keyed.keys() == {"/v1/imports", "/v1/watches", "/v1/watches/batch"}
    assert "not needed" in keyed["/v1/watches"]
    assert "answered the same" in keyed["/v1/imports"]


def test_the_headers_that_a_problem_may_have_are_named_for_its_status(document: dict[str, Any]) -> None:
    named = {status: answer["headers"] for status, answer in document["components"]["responses"].items()}
    never_limited = {"401", "413", "415", "500"}
    assert {status for status, headers in named.items() if "RateLimit" not in headers} == never_limited
    assert {status for status, headers in named.items() if "Retry-After" in headers} == {"409", "429", "503"}
    described = [*document["components"]["headers"].values(), named["409"]["Retry-After"]]
    assert not any(header.get("required") for header in described)


def test_what_is_answered_may_grow_and_what_is_sent_may_not(document: dict[str, Any]) -> None:
    """A field or a word that the next release adds must not break a client that is made from this document."""
    enumerations = {name for name, schema in schemas(document).items() if "enum" in schema}
    assert enumerations == {"AttemptTrigger", "TaskKind", "TaskOutcome", "WatchOrder", "WatchState"}
    for name, schema in schemas(document).items():
        if name in enumerations or "properties" not in schema:
            continue
        is_closed = is_sent(name) or name == "NewWatch"
        assert ("additionalProperties" in schema) is is_closed, name
        if not is_closed:
            # An enumeration is one of the choices: other words are another.
            assert all(
                field.keys().isdisjoint({"$ref", "enum"}) or is_object(field, document)
                for field in schema["properties"].values()
            ), name


def is_object(field: dict[str, Any], document: dict[str, Any]) -> bool:
    return "properties" in schemas(document)[field["$ref"].rpartition("/")[2]]


def test_the_problems_of_a_batch_have_the_requests_id_as_others_have(document: dict[str, Any]) -> None:
    described = schemas(document)["Problem"]["properties"]["request_id"]["description"]
    assert described == "The answer's `X-Request-Id`."
    [_, refused] = schemas(document)["RegistrationResult"]["examples"]
    [alone] = schemas(document)["Problem"]["examples"]
    assert refused["problem"]["request_id"] == alone["request_id"]


def test_no_field_of_a_body_or_an_answer_has_a_default_that_generators_take_for_a_value(
    document: dict[str, Any],
) -> None:
    for schema in schemas(document).values():
        assert not [name for name, field in schema.get("properties", {}).items() if "default" in field]
    watch = schemas(document)["NewWatch"]
    assert watch["required"] == ["task_id", "callback_url"]
    assert watch["properties"]["account"]["description"].endswith("`default` when left out.")
    assert watch["properties"]["metadata"]["additionalProperties"] is True
    assert "oneOf" not in json.dumps(document)


def test_there_is_a_webhook_for_every_type_of_event(document: dict[str, Any]) -> None:
    types = {f"{kind.event_prefix}.{outcome}" for kind in KINDS.values() for outcome in Outcome}
    assert document["webhooks"].keys() == types | {"bridge.test"} | set(OperatorEventType)
    for name, webhook in document["webhooks"].items():
        headers = [parameter["name"] for parameter in webhook["post"]["parameters"]]
        # Tasks are what their clients trace.
        traced = ["traceparent"] if name in types else []
        assert headers == ["webhook-id", "webhook-timestamp", "webhook-signature", *traced]
        content = webhook["post"]["requestBody"]["content"]["application/json"]
        assert content["example"]["type"] == name
        assert webhook["post"]["responses"].keys() == {"2XX", "410", "429", "503", "default"}


def test_what_operators_are_told_is_what_the_document_says(document: dict[str, Any]) -> None:
    for event_type in OperatorEventType:
        content = document["webhooks"][event_type]["post"]["requestBody"]["content"]["application/json"]
        sent = json.loads(payload(new_event(event_type, "default", "HubSpot answered 401", NOW)))
        whole = {**content["schema"], "components": document["components"]}
        assert not list(Draft202012Validator(whole).iter_errors(sent))
        assert sent["data"].keys() == schemas(document)["OperatorEventData"]["properties"].keys()


def test_what_is_registered_may_be_part_of_a_trace(document: dict[str, Any]) -> None:
    traced = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if "traceparent" in [parameter["name"] for parameter in operation["parameters"]]
    }
    assert traced == {"/v1/imports", "/v1/watches", "/v1/watches/batch"}


def test_the_examples_of_schemas_and_webhooks_fit_them(document: dict[str, Any]) -> None:
    described = [
        (name, schema, example)
        for name, schema in schemas(document).items()
        for example in schema.get("examples", ())
    ]
    for name, webhook in document["webhooks"].items():
        content = webhook["post"]["requestBody"]["content"]["application/json"]
        described.append((name, content["schema"], content["example"]))
    for name, schema, example in described:
        whole = {**schema, "components": document["components"]}
        faults = list(Draft202012Validator(whole).iter_errors(example))
        assert not faults, (name, faults)
