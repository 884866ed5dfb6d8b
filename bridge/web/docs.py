"""The OpenAPI document as `/openapi.json`, and the same as a page for people: `/docs`."""

import json
import re
from collections.abc import Sequence
from functools import cache
from shlex import quote
from typing import Any

from flask import Flask, Response, render_template
from markupsafe import Markup, escape

from bridge.web.openapi import document
from bridge.web.operations import Operation
from bridge.web.problems import MEANINGS

PAGE_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'"
CACHED = "public, max-age=300"

_SAMPLES = {"watch_id": "wat_01hf3k9c2e7v8x4m6q0r5t1w3y8", "name": "cms"}
_HERE = "http://127.0.0.1:8000"


def add_docs(app: Flask, operations: Sequence[Operation], public_url: str | None) -> None:
    """Add the document and the page; both are made when they are first asked for."""
    described = cache(lambda: document(operations, public_url))
    text = cache(lambda: json.dumps(described()))
    page = cache(lambda: render_template("docs.html", **_page(described(), public_url or _HERE)))

    def openapi_json() -> Response:
        return Response(text(), headers={"Cache-Control": CACHED}, content_type="application/json")

    def docs() -> Response:
        headers = {"Cache-Control": CACHED, "Content-Security-Policy": PAGE_POLICY}
        return Response(page(), headers=headers, content_type="text/html; charset=utf-8")

    app.add_template_filter(_with_code, "code")
    app.add_url_rule("/openapi.json", view_func=openapi_json, provide_automatic_options=False)
    app.add_url_rule("/docs", view_func=docs, provide_automatic_options=False)


def _with_code(text: str) -> Markup:
    """Return escaped text whose `words` are set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 -- escaped before


def _page(described: dict[str, Any], base_url: str) -> dict[str, Any]:
    schemas = described["components"]["schemas"]
    operations = [
        _operation(method, path, operation, described, base_url)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return {
        "info": described["info"],
        "tags": {
            tag["name"]: [o for o in operations if o["tag"] == tag["name"]] for tag in described["tags"]
        },
        "schemas": {name: _fields(schema) for name, schema in sorted(schemas.items())},
        "texts": {name: schema.get("description", "") for name, schema in schemas.items()},
        "problems": MEANINGS,
    }


def _operation(
    method: str, path: str, operation: dict[str, Any], described: dict[str, Any], base_url: str
) -> dict[str, Any]:
    body = _body_schema(operation, described)
    return {
        "tag": operation["tags"][0],
        "name": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": operation["description"].split("\n\n"),
        "open": not operation["security"],
        "parameters": [_parameter(parameter) for parameter in operation["parameters"]],
        "fields": _fields(body) if body else [],
        "answers": [_answer(status, answer) for status, answer in sorted(operation["responses"].items())],
        "curl": _curl(method.upper(), f"{base_url}{path}", operation, body),
    }


def _body_schema(operation: dict[str, Any], described: dict[str, Any]) -> dict[str, Any] | None:
    if "requestBody" not in operation:
        return None
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema: dict[str, Any] = described["components"]["schemas"][reference.rpartition("/")[2]]
    return schema


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": parameter["name"],
        "where": parameter["in"],
        "type": _type(parameter["schema"]),
        "required": parameter["required"],
        "description": parameter.get("description", ""),
    }


def _fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an object's fields; an enumeration has none, but words."""
    return [
        {
            "name": name,
            "type": _type(field),
            "required": name in schema.get("required", ()),
            "description": field.get("description", ""),
        }
        for name, field in schema.get("properties", {}).items()
    ] or [{"name": word, "type": "", "required": False, "description": ""} for word in schema.get("enum", ())]


def _type(schema: dict[str, Any]) -> str:
    """Return a schema in a few words, for people."""
    match schema:
        case {"$ref": reference}:
            return str(reference).rpartition("/")[2]
        case {"anyOf": choices}:
            return " or ".join(_type(choice) for choice in choices)
        case {"enum": words}:
            return " or ".join(f"{word}" for word in words)
        case {"type": "array", "items": items}:
            return f"list of {_type(items)}"
        case {"type": kind, "format": form}:
            return f"{kind} ({form})"
        case {"type": kind}:
            return str(kind)
    return "anything"


def _answer(status: str, answer: dict[str, Any]) -> dict[str, str]:
    if "$ref" in answer:
        title, _ = MEANINGS[int(status)]
        return {"status": status, "what": title, "model": "", "problem": status}
    (content,) = answer["content"].values()
    return {"status": status, "what": answer["description"], "model": _type(content["schema"]), "problem": ""}


def _curl(method: str, url: str, operation: dict[str, Any], body: dict[str, Any] | None) -> str:
    for name, sample in _SAMPLES.items():
        url = url.replace(f"{{{name}}}", sample)
    words = ["curl", *([] if method == "GET" else ["-X", method]), url]
    lines = [" ".join(words)]
    if operation["security"]:
        lines.append('-H "Authorization: Bearer $API_KEY"')
    if body:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {quote(json.dumps(body['examples'][0]))}")
    return " \\\n  ".join(lines)
