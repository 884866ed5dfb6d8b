"""`/openapi.json` and `/docs`."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from bridge.web.app import RESOURCES
from bridge.web.operations import Access
from bridge.web.problems import MEANINGS, Problem
from bridge.web.requests import validated
from tests.web.api import Api, Serve, members

OPERATIONS = [operation for resource in RESOURCES for operation in resource.operations]


@pytest.fixture(scope="session")
def document(refusing_api: Api) -> dict[str, Any]:
    response = refusing_api.nobody.get("/openapi.json")
    assert response.status_code == 200
    return members(response)


@pytest.fixture(scope="session")
def page(refusing_api: Api) -> str:
    response = refusing_api.nobody.get("/docs")
    assert (response.status_code, response.content_type) == (200, "text/html; charset=utf-8")
    return response.text


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
    assert {str(status) for status in operation.answers} <= statuses
    assert is_open or {"401", "422", "429", "503"} <= statuses
    assert (operation.access is Access.ADMIN) <= ("403" in statuses)
    assert bool(operation.path_parameters) <= ("404" in statuses)
    assert bool(operation.body) <= ({"400", "413", "415"} <= statuses)


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
        "order",
        "limit",
        "cursor",
    ]
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 250, "default": 50}
    assert (parameters["state"]["style"], parameters["state"]["explode"]) == ("form", False)
    assert parameters["state"]["schema"]["type"] == "array"
    assert "null" not in json.dumps(list(parameters.values()))


def test_what_is_shown_is_what_the_document_says(document: dict[str, Any], api: Api) -> None:
    """Every member of an answer is in its schema, and none is missing."""
    watch = api.client().registers()
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
    assert members(api.nobody.get("/openapi.json"))["servers"] == [{"url": "https://bridge.example.com"}]
    assert "https://bridge.example.com/v1/watches" in api.nobody.get("/docs").text


class Page(HTMLParser):
    """What the tests want to know of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")


def test_the_page_lists_every_operation_with_a_curl_example(page: str) -> None:
    for operation in OPERATIONS:
        assert f'<section id="{operation.name}">' in page
    examples = re.findall(r"<pre><code>(.+?)</code></pre>", page, re.DOTALL)
    assert len(examples) == len(OPERATIONS)
    assert all(example.startswith("curl ") for example in examples)


def test_the_page_explains_every_kind_of_problem(page: str) -> None:
    for status, (title, _) in MEANINGS.items():
        assert f'<dt id="problem-{status}">{status} {title}</dt>' in page


def test_every_link_of_the_page_leads_somewhere(page: str, refusing_api: Api) -> None:
    parsed = Page(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(parsed.ids)
    for link in parsed.links:
        if not link.startswith("#"):
            assert link.startswith("/")
            assert refusing_api.nobody.get(link).status_code == 200


def test_the_page_needs_no_script_and_nothing_from_elsewhere(page: str) -> None:
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "style" not in parsed.tags
    assert not [link for link in parsed.links if "//" in link]
    assert "undefined" not in page
    assert "None" not in page
