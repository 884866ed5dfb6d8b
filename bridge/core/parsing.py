"""Parsers of values in requests and on the command line: names, durations, lists of words, task ids.

Each returns the value, or raises ValueError with a message that is to follow the field's name, such as "must
be …".
"""

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

# Neither `.` nor `..`, because the path `/v1/clients/..` means `/v1` (RFC 3986, 5.2.4).
NAME = re.compile(r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]{1,64}")
NAME_RULE = "1 to 64 letters, digits, dashes, underscores and dots, and is neither . nor .."

# How long, by default, callbacks are signed with the old secret, too, after a rotation.
OVERLAP = "24h"
OVERLAP_PATTERN = r"(\d{1,6})([smhd])"

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_name(text: str) -> str:
    """Return `text`, if it may name a client or an account."""
    if not NAME.fullmatch(text):
        raise ValueError(f"must be a name of {NAME_RULE}")
    return text


def parse_printable(text: str) -> str:
    """Return `text`, if it has only printable characters and no white space, as the id of a task must."""
    if " " in text or not text.isprintable():
        raise ValueError("must have printable characters alone, and no white space")
    return text


def parse_choices(words: Mapping[str, Value], given: object) -> tuple[Value, ...]:
    """Return the values, in `words`, of the given words, without repeats.

    At least one must be `given`, as a list or as a text with commas between them.
    """
    parts = given.split(",") if isinstance(given, str) else given
    if (
        not isinstance(parts, list)
        or not parts
        or not all(isinstance(part, str) and part in words for part in parts)
    ):
        raise ValueError(f"must be one or more of {', '.join(words)}, separated by commas")
    return tuple(words[part] for part in dict.fromkeys(parts))


def parse_duration(text: str) -> int:
    """Parse a duration such as `90s`, `15m`, `24h` or `7d`; return it in seconds."""
    found = re.fullmatch(OVERLAP_PATTERN, text, re.ASCII)
    if not found:
        raise ValueError("must be a number and a unit: 90s, 15m, 24h, 7d")
    return int(found[1]) * _UNIT_SECONDS[found[2]]
