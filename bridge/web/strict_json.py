"""Strict JSON: RFC 8259, and no name twice in an object (RFC 7493)."""

import json
from math import isinf
from typing import Any, NoReturn, Self


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


def loads(text: bytes) -> Any:
    """Return JSON as Python objects.

    Integers become ints; numbers with a fraction or an exponent, and `-0`, become Numbers, which keep their text. Raises
    NotJson.
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


def dumps(value: object, *, ascii_only: bool = True, space: str = " ", indented: bool = False) -> str:
    """Return JSON text for a value from `loads`; each Number is written as in the text that `loads` read.

    `space` follows each colon, and each comma that does not end a line. If `indented`, each member has a line of its
    own.
    """
    string = (_ASCII if ascii_only else _UTF8).encode

    def write(value: object, line: str) -> str:
        inner = f"{line}  " if indented else ""
        comma = f",{inner or space}"
        match value:
            case Number(text=text):
                return text
            case dict() if value:
                members = [f"{string(name)}:{space}{write(v, inner)}" for name, v in value.items()]
                return f"{{{inner}{comma.join(members)}{line}}}"
            case list() if value:
                return f"[{inner}{comma.join([write(v, inner) for v in value])}{line}]"
            case _:
                return string(value)

    return write(value, "\n" if indented else "")


_ASCII, _UTF8 = json.JSONEncoder(), json.JSONEncoder(ensure_ascii=False)


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
