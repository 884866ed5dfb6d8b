"""Problems: every refusal in one form (RFC 9457), and what each status means here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from bridge.core.delivery import Verbatim, json_object

MEDIA_TYPE = "application/problem+json"

# Under `/docs#problem-<status>`, which is a problem's `type`, the page tells the same.
MEANINGS: Mapping[int, tuple[str, str]] = {
    400: ("Malformed request", "The body cannot be read as JSON (RFC 8259). Send it as the detail says."),
    401: ("Not authenticated", "Send a valid API key as `Authorization: Bearer …`."),
    403: ("Not allowed", "The API key is valid, but only an admin's key may do this."),
    404: ("Not found", "There is no such thing, or it belongs to another client."),
    405: ("Method not allowed", "The `Allow` header names the methods that this path knows."),
    409: ("Conflict", "The request fits badly with what stands already; the detail says with what."),
    413: ("Body too large", "A body may have at most 1 MiB."),
    415: ("Not JSON", "Send the body as `Content-Type: application/json`, in UTF-8, not compressed."),
    422: (
        "Invalid input",
        "Each of `errors` names a field by its JSON pointer, and says what is wrong with it.",
    ),
    429: ("Too many", "Wait for as many seconds as `Retry-After` says."),
    500: ("Internal error", "The bridge failed; its log says why. Nothing was wrong with the request."),
    502: (
        "Refused by HubSpot",
        "`hubspot_status_code` and `hubspot` are HubSpot's own answer; the detail says what it means.",
    ),
    503: (
        "Not now",
        "The detail says what is missing: mostly the database, or HubSpot's leave. `Retry-After` may say when.",
    ),
    504: (
        "No answer from HubSpot",
        "HubSpot was asked, and may have done it or not. The bridge does not ask again; look before you do.",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is wrong with one field: its JSON pointer (RFC 6901), or a parameter's name after a slash."""

    pointer: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a request was not carried out, for the person who sent it. Never holds a secret."""

    status: int
    detail: str
    faults: Sequence[Fault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)  # extension members (RFC 9457, 3.2)
    hubspot: str | None = None  # HubSpot's own answer as JSON text, passed on as it came

    def members(self) -> dict[str, Any]:
        """Return the problem as it is written in JSON."""
        known = MEANINGS.get(self.status)
        faults = [{"pointer": fault.pointer, "detail": fault.detail} for fault in self.faults]
        return {
            "type": f"/docs#problem-{self.status}" if known else "about:blank",
            "title": known[0] if known else HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        } | ({"errors": faults} if faults else {})

    def text(self, request_id: str | None = None) -> str:
        """Return the problem as JSON, with its extension members and the id of its request."""
        members = self.members() | ({"request_id": request_id} if request_id else {}) | dict(self.more)
        return json_object(members | ({} if self.hubspot is None else {"hubspot": Verbatim(self.hubspot)}))


def invalid(*faults: Fault) -> Problem:
    """Say what is wrong with the input."""
    named = "; ".join(f"{fault.pointer or 'the body'} {fault.detail}" for fault in faults[:3])
    return Problem(status=422, detail=f"The input is not valid: {named}.", faults=faults)


def not_found(what: str) -> Problem:
    """Say that there is none, whether or not another client has one."""
    return Problem(status=404, detail=f"There is no such {what}.")
