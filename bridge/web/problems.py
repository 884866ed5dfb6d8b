"""Problem details (RFC 9457): the form of error responses, and all types of problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from bridge.core.delivery import Verbatim, json_object

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A type of problem.

    `meaning` explains the type on the page `/problems/<name>` and in the OpenAPI document.
    """

    status: int
    title: str
    meaning: str


# All types of problem, by name. The `type` of a problem is `/problems/<name>`, and the page there shows the meaning.
# Names never change, because clients compare them. Of several types with one status, the first is the default.
PROBLEM_TYPES: Mapping[str, ProblemType] = {
    "malformed-request": ProblemType(
        400,
        "Malformed request",
        "The request cannot be read as HTTP, or its body as JSON (RFC 8259). Send it as `detail` says.",
    ),
    "malformed-idempotency-key": ProblemType(
        400,
        "Malformed Idempotency-Key",
        "The key must have 1 to 255 printable ASCII characters, without spaces or in quotes: a UUID will do.",
    ),
    "unauthenticated": ProblemType(
        401, "Not authenticated", "Send a valid API key as `Authorization: Bearer …`."
    ),
    "admin-only": ProblemType(
        403, "Not allowed", "The API key is valid, but only an admin's key may do this."
    ),
    "not-found": ProblemType(404, "Not found", "There is no such thing, or it belongs to another client."),
    "unknown-path": ProblemType(
        404, "No such path", "The API has no such path: `/openapi.json` has all of them."
    ),
    "method-not-allowed": ProblemType(
        405, "Method not allowed", "The `Allow` header names the methods that this path knows."
    ),
    "conflict": ProblemType(
        409, "Conflict", "The request does not fit with what there is already; `detail` says with what."
    ),
    "watch-differs": ProblemType(
        409,
        "Registered otherwise",
        "This client watches the same task for the same callback URL already, with other fields: `errors` names "
        "them, `watch_id` is that watch. Leave the fields as they are, or withdraw that watch first. A settled watch "
        "cannot be withdrawn: another callback URL, such as the same with another query, makes a new watch.",
    ),
    "wrong-state": ProblemType(
        409,
        "Wrong state",
        "The watch's `state` does not allow this; `watch_id` is the watch. Each operation's description says in "
        "which states it works.",
    ),
    "name-taken": ProblemType(
        409, "Name taken", "There is or was a client of this name. Choose another one."
    ),
    "account-in-use": ProblemType(
        409,
        "Account in use",
        "Tasks in the account are being watched. Withdraw their watches, then remove it.",
    ),
    "own-key": ProblemType(409, "Own key", "An API key cannot revoke itself. Use another admin's key."),
    "key-is-a-setting": ProblemType(
        409, "The key is a setting", "BRIDGE_ADMIN_KEY is set in the bridge's environment: change it there."
    ),
    "request-at-work": ProblemType(
        409,
        "Still at work",
        "The request with this `Idempotency-Key` is being carried out, or was interrupted less than a minute ago, because "
        "the bridge stopped or its database was away. Send it again after `retry_after_seconds`.",
    ),
    "body-too-large": ProblemType(413, "Body too large", "A body may have at most 1 MiB."),
    "not-json": ProblemType(
        415, "Not JSON", "Send the body as `Content-Type: application/json`, in UTF-8, not compressed."
    ),
    "invalid-input": ProblemType(
        422,
        "Invalid input",
        "Each of `errors` names a field by its JSON pointer, and says what is wrong with it.",
    ),
    "idempotency-key-reused": ProblemType(
        422,
        "Idempotency-Key used before",
        "Another request was sent with this `Idempotency-Key` within 24 h. Take a new key for each request, and the "
        "same key and the same bytes to repeat one.",
    ),
    "too-many-open-watches": ProblemType(
        429,
        "Too many open watches",
        "The request would give the client more open watches than it may have: `limit`. Nothing was started, "
        "registered or redelivered. With `retry_after_seconds`, try again when some are settled, or withdraw some. "
        "Without it, a bulk redelivery alone is more than `limit`: narrow its filters.",
    ),
    "too-many-test-callbacks": ProblemType(
        429,
        "Too many test callbacks",
        "As many test callbacks are on their way as may be at a time, for all clients: `limit`. Try again after "
        "`retry_after_seconds`.",
    ),
    "too-many-at-once": ProblemType(
        429,
        "Too many at once",
        "As many requests of this kind are at work as may be at a time, for all clients: `limit`. Try again after "
        "`retry_after_seconds`.",
    ),
    "headers-too-large": ProblemType(
        431, "Headers too large", "The address and the headers may have 32 KiB together."
    ),
    "internal-error": ProblemType(
        500, "Internal error", "The bridge failed; its log says why. Nothing was wrong with the request."
    ),
    "unknown-transfer-coding": ProblemType(
        501, "Transfer coding not known", "A body comes with its length, or `Transfer-Encoding: chunked`."
    ),
    "refused-by-hubspot": ProblemType(
        502,
        "Refused by HubSpot",
        "`hubspot_status_code` and `hubspot` are HubSpot's own answer; `detail` says what it means.",
    ),
    "unavailable": ProblemType(
        503, "Not now", "`detail` says what is missing. Send the request again after `retry_after_seconds`."
    ),
    "database-away": ProblemType(
        503,
        "The database is away",
        "The bridge cannot reach its database. What changes something may have been done or not: a registration "
        "can safely be sent again.",
    ),
    "secret-unreadable": ProblemType(
        503,
        "Signing secret unreadable",
        "No key in the bridge's `BRIDGE_SECRET_KEY` can read the client's signing secret: `detail` tells its operator "
        "what to do.",
    ),
    "import-not-started": ProblemType(
        503,
        "Import not started",
        "HubSpot cannot be asked now, as `detail` says: the account is paused, lacks credentials, or has used up its "
        "quota; too many other imports are being started; or the bridge cannot reach HubSpot. The import was not "
        "started. Send the request again, after `retry_after_seconds` where there is one.",
    ),
    "import-not-watched": ProblemType(
        503,
        "Import not watched",
        "HubSpot has started the import as `task_id`, but the database did not take the watch. Register the task "
        "by this id.",
    ),
    "no-answer-from-hubspot": ProblemType(
        504,
        "No answer from HubSpot",
        "HubSpot was asked, and may have started the import or not. The bridge does not ask again: look for the "
        "file at HubSpot before you do.",
    ),
}

# The default type of problem for each status.
_OF_STATUS = {cause.status: name for name, cause in reversed(list(PROBLEM_TYPES.items()))}


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldError:
    """An error in the body, in one of its fields, or in one query parameter.

    `pointer` says where the error is. It is a JSON pointer into the body (RFC 6901; empty for the body as a whole), or
    a slash and the name of the query parameter. `detail` says what is wrong, without a subject: for example `is
    required`. The subject is the pointer, or `the body` when the pointer is empty.
    """

    pointer: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An error response: tells the client's developer why the request failed. It must hold no secret.

    `cause` is the type of problem, as a name in PROBLEM_TYPES. None means the default type for `status`.
    """

    status: int
    detail: str
    cause: str | None = None
    faults: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)  # extension members (RFC 9457, 3.2)
    hubspot: str | None = None  # the body of HubSpot's response as JSON text, unchanged

    def members(self) -> dict[str, Any]:
        """Return the problem's JSON object (RFC 9457), without HubSpot's response and the request's id."""
        cause = self.cause or _OF_STATUS.get(self.status)
        wait = self.headers.get("Retry-After", "")
        faults = [{"pointer": fault.pointer, "detail": fault.detail} for fault in self.faults]
        return (
            {
                "type": f"/problems/{cause}" if cause else "about:blank",
                "title": PROBLEM_TYPES[cause].title if cause else HTTPStatus(self.status).phrase,
                "status": self.status,
                "detail": self.detail,
            }
            | ({"errors": faults} if faults else {})
            | ({"retry_after_seconds": int(wait)} if wait.isdigit() else {})
            | dict(self.more)
        )

    def text(self, request_id: str | None = None) -> str:
        """Return the problem as JSON text, with HubSpot's response and the request's id if there are any."""
        members = self.members() | ({"request_id": request_id} if request_id else {})
        return json_object(members | ({} if self.hubspot is None else {"hubspot": Verbatim(self.hubspot)}))


def invalid(*faults: FieldError) -> Problem:
    """Return a 422 Problem that lists these faults; its `detail` names the first three."""
    named = "; ".join(f"{fault.pointer or 'the body'} {fault.detail}" for fault in faults[:3])
    return Problem(status=422, detail=f"The input is not valid: {named}.", faults=faults)


def not_found(what: str) -> Problem:
    """Return the 404 Problem for an object that does not exist, or belongs to another client.

    `what` is a noun for the object, such as `watch`.
    """
    return Problem(status=404, detail=f"There is no such {what}.")
