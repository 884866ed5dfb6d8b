"""The responses of the simulated HubSpot, as values that `bridge.sandbox.wire` sends."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

JSON_TYPE = "application/json;charset=utf-8"
HTML_TYPE = "text/html;charset=utf-8"


class SendMode(StrEnum):
    """How a reply is sent; `seconds` stands for `Reply.seconds`."""

    WHOLE = "whole"  # at once
    DRIP = "drip"  # the body byte by byte, `seconds` apart
    DRIP_HEADERS = "drip-headers"  # headers one by one, `seconds` apart; no body follows
    SHORT = "short"  # half of the promised body, then the connection is closed
    HANG = "hang"  # nothing for `seconds`, then the connection is closed
    DROP = "drop"  # the connection is closed at once


WITHOUT_STATUS = frozenset({SendMode.DRIP_HEADERS, SendMode.HANG, SendMode.DROP})


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A response, and how it is sent; the comments in SendMode say what `seconds` means."""

    status_code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    send_mode: SendMode = SendMode.WHOLE
    seconds: float = 0.0  # only for DRIP, DRIP_HEADERS and HANG

    @property
    def ledger_status(self) -> str:
        """The status code as text, for the ledger; the text `none` if the caller never receives all headers."""
        return "none" if self.send_mode in WITHOUT_STATUS else str(self.status_code)


def json_reply(status_code: int, document: object, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a JSON response."""
    body = json.dumps(document, separators=(",", ":")).encode()
    return Reply(status_code=status_code, headers={"Content-Type": JSON_TYPE, **(headers or {})}, body=body)


def envelope(status_code: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
    """Return a response with HubSpot's error body: `status`, `message`, `correlationId`, and the keywords in `more`."""
    document = {"status": "error", "message": message, "correlationId": str(uuid.uuid4()), **more}
    return json_reply(status_code, document, headers)


def instant(at: float) -> str:
    """Return epoch seconds as RFC 3339 text in UTC with milliseconds, the form that HubSpot uses."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def merged_headers(headers: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Return `headers` updated by `changes`; names are compared without case."""
    changed = {name.lower() for name in changes}
    return {name: value for name, value in headers.items() if name.lower() not in changed} | dict(changes)


def html_reply(status_code: int, title: str) -> Reply:
    """Return a reply whose body is an HTML page, like those of a proxy in front of HubSpot.

    `title` is the title of the page, and its only text.
    """
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Reply(status_code=status_code, headers={"Content-Type": HTML_TYPE}, body=page.encode())


def no_route() -> Reply:
    """Return the 404 for an unknown route: the real API answers with HTML, not JSON."""
    return html_reply(404, "Page not found")


def unknown_task() -> Reply:
    """Return the 404 for a well-formed task id that is not found; HubSpot does not document this response."""
    return envelope(404, "The requested task was not found.", category="OBJECT_NOT_FOUND")


def malformed_id() -> Reply:
    """Return the 400 for an id that HubSpot cannot decode."""
    return envelope(400, "Provided ID could not be decoded.", category="VALIDATION_ERROR")


def unknown_file() -> Reply:
    """Return the 404 for an id that no file has; HubSpot does not document this response."""
    return envelope(404, "The requested file was not found.", category="OBJECT_NOT_FOUND")


def invalid(message: str) -> Reply:
    """Return the 400 for an invalid body."""
    return envelope(400, message, category="VALIDATION_ERROR")


def invalid_authentication() -> Reply:
    """Return the 401 for a request without a token."""
    message = (
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find "
        "more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
    )
    return envelope(401, message, category="INVALID_AUTHENTICATION")


def unknown_authentication(now: float) -> Reply:
    """Return the 401 for an unknown token; like HubSpot's, it says that the token expired in 1970.

    `now` is in epoch seconds.
    """
    return _expired(f"{int(now // 86_400)} day(s)", "1970-01-01T00:00:00Z")


def expired_authentication(expired_seconds: int, expired_at: str) -> Reply:
    """Return the 401 for a token that expired at `expired_at` (RFC 3339 text), `expired_seconds` ago."""
    return _expired(f"{expired_seconds} second(s)", expired_at)


def _expired(ago: str, expired_at: str) -> Reply:
    message = f"The OAuth token used to make this call expired {ago} ago."
    context = {"expire time": [expired_at]}
    return envelope(401, message, category="EXPIRED_AUTHENTICATION", context=context)


def unsupported_media_type() -> Reply:
    """Return the 415 for a body of the wrong media type."""
    return envelope(415, "HTTP 415 Unsupported Media Type")


def rate_limited(policy_name: str) -> Reply:
    """Return the 429 for an exceeded limit; `policy_name` is a value of `bridge.sandbox.quota.Policy`."""
    spans = {"SECONDLY": "secondly", "TEN_SECONDLY_ROLLING": "ten_secondly_rolling", "DAILY": "daily"}
    message = f"You have reached your {spans[policy_name]} limit."
    return envelope(429, message, errorType="RATE_LIMIT", policyName=policy_name)
