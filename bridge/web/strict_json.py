"""Reads a request's body as strict JSON: RFC 8259, and no name twice in an object (RFC 7493)."""

import json
from functools import lru_cache
from math import isinf
from typing import Any, NoReturn, Self

from flask import Request
from werkzeug.http import parse_options_header

from bridge.web.problems import Problem

LARGEST_BYTES = 1024 * 1024
# Werkzeug reads this much of a body without Content-Length, and ignores the rest. The one byte over the limit reveals
# that a body is too large.
READ_BYTES = LARGEST_BYTES + 1

TOO_LARGE = Problem(status=413, detail="The body is larger than 1 MiB.")


class Number(float):
    """A float that keeps its JSON text: `1.10` and `1.1` are equal, but are written back differently."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """Return the number that the JSON `text` stands for."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class NotJson(ValueError):
    """The input is not strict JSON, is nested too deeply, or has a number that is too large or too long.

    The message says why, in words that fit after a colon, and quotes no string of the input.
    """


def body_bytes(request: Request) -> bytes | Problem:
    """Return the request's body, or a 413 Problem if it is too large; Werkzeug may raise a 413 instead."""
    body = request.get_data()
    return TOO_LARGE if len(body) > LARGEST_BYTES else body


def read_json(request: Request) -> Any:
    """Return the request's body as Python objects, as `loads` does, or a 400, 413 or 415 Problem."""
    if problem := _problem_with_type(request):
        return problem
    body = body_bytes(request)
    if isinstance(body, Problem):
        return body
    try:
        return loads(body)
    except NotJson as wrong:
        return Problem(status=400, detail=f"The body cannot be read as JSON: {wrong}.")


def loads(text: bytes) -> Any:
    """Return JSON as Python objects; a number that Python might write differently is a Number.

    Raises NotJson.
    """
    try:
        return _decoder.decode(text.decode())
    except NotJson:
        raise
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise NotJson("it is not in UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg}, in line {error.lineno}, column {error.colno}") from None
    except ValueError:
        raise NotJson("a number has too many digits") from None


def dumps(value: object, *, ascii_only: bool = True, space: str = " ") -> str:
    """Return JSON text for a value from `loads`, each Number as it was; `space` follows each comma and colon."""

    def write(value: object) -> str:
        match value:
            case Number(text=text):
                return text
            case dict():
                return (
                    "{" + comma.join([f"{string(name)}:{space}{write(v)}" for name, v in value.items()]) + "}"
                )
            case list():
                return "[" + comma.join(map(write, value)) + "]"
            case _:
                return string(value)

    comma, string = f",{space}", _ASCII.encode if ascii_only else _UTF8.encode
    return write(value)


_ASCII, _UTF8 = json.JSONEncoder(), json.JSONEncoder(ensure_ascii=False)


def _problem_with_type(request: Request) -> Problem | None:
    encoding = request.headers.get("Content-Encoding", "identity")
    if _is_json(request.headers.get("Content-Type", "")) and encoding.lower() == "identity":
        return None
    return Problem(status=415, detail="The body must be application/json, in UTF-8, not compressed.")


@lru_cache(maxsize=64)  # nearly all requests have one of few values
def _is_json(content_type: str) -> bool:
    media_type, parameters = parse_options_header(content_type)
    charset = parameters.get("charset", "utf-8").lower()
    return media_type.lower() == "application/json" and charset in ("utf-8", "utf8")


def _no_constant(word: str) -> NoReturn:
    raise NotJson(f"{word} is no number")


def _finite(text: str) -> Number:
    number = Number(text)
    if isinf(number):
        raise NotJson("a number is too large")
    return number


def _whole(text: str) -> int | Number:
    return Number(text) if text == "-0" else int(text)


def _no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise NotJson("an object has the same name twice")
    return members


_decoder = json.JSONDecoder(
    parse_constant=_no_constant, parse_float=_finite, parse_int=_whole, object_pairs_hook=_no_name_twice
)
