"""Parsers of values in settings, requests and commands: names, durations, lists of words, task ids, URLs.

Each returns the value, or raises ValueError. The message begins "must …"; callers put the field's name before it.
"""

import re
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import urlsplit

Value = TypeVar("Value")

# Neither `.` nor `..`, because the path `/v1/clients/..` means `/v1/` (RFC 3986, 5.2.4).
NAME = re.compile(r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]{1,64}")
NAME_RULE = "1 to 64 letters, digits, dashes, underscores and dots, and is neither . nor .."

# What a header value may contain (RFC 9110, 5.5), without white space, which only gets in by mistake.
HEADER_SAFE = re.compile(r"[!-~]{1,4096}")
API_KEY = re.compile(r"[!-~]{1,512}")

# How long, by default, callbacks are signed with the old secret, too, after a rotation.
OVERLAP = "24h"
DURATION_PATTERN = r"(\d{1,6})([smhd])"

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_name(text: str) -> str:
    """Return `text`, if it has the form of a client's or an account's name; otherwise raise ValueError."""
    if not NAME.fullmatch(text):
        raise ValueError(f"must be a name of {NAME_RULE}")
    return text


def parse_printable(text: str) -> str:
    """Return `text`, if it is not empty and has only printable characters and no white space.

    Otherwise raise ValueError.
    """
    if not text or " " in text or not text.isprintable():
        raise ValueError("must have printable characters alone, and no white space")
    return text


def parse_choices(choices: Iterable[Value], given: object) -> tuple[Value, ...]:
    """Return the choices whose names are in `given`, each choice once. A choice's name is `str(choice)`.

    `given` is a list of names, or a text of names separated by commas. Raises ValueError when it is neither,
    is empty, or holds anything that is not the name of a choice.
    """
    words = {str(choice): choice for choice in choices}
    parts = given.split(",") if isinstance(given, str) else given
    if (
        not isinstance(parts, list)
        or not parts
        or not all(isinstance(part, str) and part in words for part in parts)
    ):
        raise ValueError(f"must be one or more of {', '.join(words)}, separated by commas")
    return tuple(words[part] for part in dict.fromkeys(parts))


def parse_duration(text: str) -> int:
    """Parse a duration such as `90s`, `15m`, `24h` or `7d`; return it in seconds, or raise ValueError."""
    found = re.fullmatch(DURATION_PATTERN, text, re.ASCII)
    if not found:
        raise ValueError("must be a number and a unit: 90s, 15m, 24h, 7d")
    return int(found[1]) * _UNIT_SECONDS[found[2]]


def parse_header_safe(text: str) -> str:
    """Return `text`, if it is 1 to 4,096 ASCII characters from `!` to `~`; otherwise raise ValueError."""
    if not HEADER_SAFE.fullmatch(text):
        raise ValueError("must be 1 to 4,096 printable ASCII characters, without white space")
    return text


def parse_http_url(text: str) -> str:
    """Return `text` if it is an http:// or https:// URL with a host; otherwise raise ValueError.

    Also raises ValueError when the port is 0, or `text` is not 1 to 4,096 ASCII characters from `!` to `~`.
    """
    try:
        parts = urlsplit(text)
        is_http = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_http = False
    if not (is_http and HEADER_SAFE.fullmatch(text)):
        raise ValueError("must be an http:// or https:// address with a host")
    return text


def parse_base_url(text: str) -> str:
    """Return `text` without final slashes, if it is an http or https URL without user, query or fragment.

    Otherwise raise ValueError.
    """
    parts = urlsplit(parse_http_url(text))
    if parts.username is not None or "?" in text or "#" in text:
        raise ValueError("must hold no user, query or fragment")
    return text.rstrip("/")
