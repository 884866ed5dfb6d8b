"""Faults: replies in place of the normal ones, such as errors of HubSpot or the network."""

import gzip
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import count

from bridge.sandbox.replies import (
    HTML_TYPE,
    JSON_TYPE,
    Reply,
    SendMode,
    envelope,
    expired_authentication,
    html_reply,
    invalid_authentication,
    malformed_id,
    no_route,
    rate_limited,
    unknown_task,
)
from bridge.sandbox.tasks import Kind

BIG_BYTES = 10 * 1024 * 1024
BOMB_BYTES = 50 * 1024 * 1024
HANG_SECONDS = 60.0
DRIP_SECONDS = 0.5
# Broken responses contain a final status, so that tests notice a caller that uses an incomplete response.
_COMPLETE = b'{"status":"COMPLETE","result":{"id":"17"},"links":{}}'
SCOPES = ("files", "files.read", "files.ui_hidden.read")


def _missing_scopes(*scopes: str) -> Reply:
    detail = {
        "message": "One or more of the following scopes are required.",
        "context": {"requiredGranularScopes": scopes},
    }
    message = "This app hasn't been granted all required scopes to make this call."
    return envelope(403, message, category="MISSING_SCOPES", errors=[detail])


def _limited(policy_name: str, header: str) -> Reply:
    reply = rate_limited(policy_name)
    headers = {**reply.headers, header: "0"}
    return Reply(status_code=reply.status_code, headers=headers, body=reply.body)


def _redirect(status_code: int) -> Reply:
    # The target has no route, so the ledger counts the callers that follow the redirect as `no-route`.
    return Reply(status_code=status_code, headers={"Location": "/redirected"})


def _body(body: bytes, content_type: str = JSON_TYPE) -> Reply:
    return Reply(headers={"Content-Type": content_type}, body=body)


def _padded(size: int) -> bytes:
    return b'{"status":"COMPLETE","result":{"id":"17"},"padding":"' + b"x" * size + b'"}'


def _bad_header() -> Reply:
    # The space before the colon is not allowed in HTTP.
    return Reply(headers={"X-Frame-Options ": "DENY", "Content-Type": JSON_TYPE}, body=_COMPLETE)


def _big() -> Reply:
    return _body(_padded(BIG_BYTES))


@cache
def _gzip_bomb() -> Reply:
    packed = gzip.compress(_padded(BOMB_BYTES))
    return Reply(headers={"Content-Type": JSON_TYPE, "Content-Encoding": "gzip"}, body=packed)


def _broken_transfer(send_mode: SendMode, seconds: float = 0.0) -> Reply:
    return Reply(headers={"Content-Type": JSON_TYPE}, body=_COMPLETE, send_mode=send_mode, seconds=seconds)


_NAMED: Mapping[str, Callable[[], Reply]] = {
    "400": malformed_id,
    "401": invalid_authentication,
    "401-expired": partial(expired_authentication, 60, "2026-11-21T00:00:00.000Z"),
    "403": partial(envelope, 403, "You do not have permission to do this.", category="FORBIDDEN"),
    "403-scopes": partial(_missing_scopes, *SCOPES),
    "403-scopes-crm": partial(_missing_scopes, "crm.import"),
    "403-ban": partial(envelope, 403, "This account was banned.", category="BANNED"),
    "404": unknown_task,
    "404-html": no_route,
    # Responses of a proxy in front of HubSpot.
    "400-html": partial(html_reply, 400, "400 Bad Request"),
    "403-html": partial(html_reply, 403, "Attention Required! | Cloudflare"),
    **{f"{code}-empty": partial(Reply, status_code=code) for code in (400, 403, 404)},
    "423": partial(envelope, 423, "This resource is locked.", category="LOCKED"),
    "429": partial(_limited, "TEN_SECONDLY_ROLLING", "X-HubSpot-RateLimit-Remaining"),
    "429-secondly": partial(_limited, "SECONDLY", "X-HubSpot-RateLimit-Remaining"),
    "429-daily": partial(_limited, "DAILY", "X-HubSpot-RateLimit-Daily-Remaining"),
    "477": partial(
        envelope, 477, "This account is being migrated.", {"Retry-After": "60"}, category="MIGRATION"
    ),
    **{str(code): partial(_redirect, code) for code in (301, 302, 303, 307, 308)},
    "500": partial(envelope, 500, "internal error", category="INTERNAL_ERROR"),
    **{str(code): partial(html_reply, code, "HubSpot is unavailable") for code in (502, 503, 504)},
    "html": partial(html_reply, 200, "Please sign in"),
    "null": partial(_body, b"null"),
    "empty": partial(_body, b""),
    "not-json": partial(_body, b"COMPLETE", HTML_TYPE),
    "not-an-object": partial(_body, b'["COMPLETE"]'),
    "no-status": partial(_body, b'{"links":{}}'),
    "unknown-status": partial(_body, b'{"status":"ARCHIVED","state":"ARCHIVED"}'),
    "cut-short": partial(_body, b'{"status":"COMPLETE","result":{"id":"17'),
    "invalid-utf-8": partial(_body, b'{"status":"COMPLETE","result":{"id":"17","name":"\xff\xfe"}}'),
    "nul-bytes": partial(_body, _COMPLETE + b"\x00\x00"),
    "bom": partial(_body, b"\xef\xbb\xbf" + _COMPLETE),
    "nul-escape": partial(_body, b'{"status":"COMPLETE","result":{"id":"17","name":"a\\u0000b"}}'),
    "bad-header": _bad_header,
    "big": _big,
    "gzip-bomb": _gzip_bomb,
    "hang": partial(_broken_transfer, SendMode.HANG, HANG_SECONDS),
    "drip": partial(_broken_transfer, SendMode.DRIP, DRIP_SECONDS),
    "drip-headers": partial(_broken_transfer, SendMode.DRIP_HEADERS, DRIP_SECONDS),
    "short": partial(_broken_transfer, SendMode.SHORT),
    "drop": partial(_broken_transfer, SendMode.DROP),
}

NAMES = frozenset(_NAMED)

OAUTH_ENDPOINT = "oauth-token"
# The names, in the ledger, of all endpoints that have a route.
ENDPOINTS = frozenset(
    {
        *Kind,
        "start-import",
        *(f"start-{kind}" for kind in Kind if kind is not Kind.FILE_IMPORT),
        "search-files",
        "list-imports",
        "account-details",
        "file",
        OAUTH_ENDPOINT,
    }
)


def factory(name: str) -> Callable[[], Reply]:
    """Return the function that makes a named fault's reply. Raises ValueError when no fault has this name."""
    if name not in _NAMED:
        raise ValueError(f"no fault is named {name}; there are {', '.join(sorted(NAMES))}")
    return _NAMED[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The requests that a fault applies to. At most one field is set.

    `task_id` selects the requests for a task's status. `token` is a token or the name of an account, and selects the
    requests with that token, or with any token of that account. `endpoint` is an endpoint's name in the ledger, and
    selects the requests to that endpoint. If no field is set, the fault applies to all requests to HubSpot's API;
    requests to the OAuth server do not get it.
    """

    task_id: str | None = None
    token: str | None = None
    endpoint: str | None = None


@dataclass(kw_only=True, slots=True)
class _Fault:
    fault_id: str
    make: Callable[[], Reply]
    times: int | None


class Faults:
    """The faults that are set: for each Target, a list of its faults, oldest first."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._set: dict[Target, deque[_Fault]] = {}

    def set(self, target: Target, make: Callable[[], Reply], times: int | None) -> str:
        """Set a fault for the requests that `target` selects; return the fault's id.

        The fault applies to as many requests as `times` says; each gets a reply made by `make`. If `times` is None,
        the fault applies until it is cleared.
        """
        fault = _Fault(fault_id=f"fault-{next(self._ids)}", make=make, times=times)
        self._set.setdefault(target, deque()).append(fault)
        return fault.fault_id

    def clear(self, fault_id: str) -> bool:
        """Remove a fault; return False when there is none with this id."""
        for target, faults in self._set.items():
            for fault in faults:
                if fault.fault_id == fault_id:
                    self._forget(target, fault)
                    return True
        return False

    def clear_all(self) -> None:
        self._set.clear()

    def pick(self, *targets: Target) -> Reply | None:
        """Return the reply of a fault set for one of `targets`, or None when no fault is set for them.

        The targets are tried in the order given. The first target that has faults gives its oldest fault. If that
        fault was set for a number of requests, this call uses up one request; the fault is removed when no requests
        are left.
        """
        for target in targets:
            if target in self._set:
                return self._use(target, self._set[target][0])
        return None

    def _use(self, target: Target, fault: _Fault) -> Reply:
        if fault.times is not None:
            fault.times -= 1
            if fault.times == 0:
                self._forget(target, fault)
        return fault.make()

    def _forget(self, target: Target, fault: _Fault) -> None:
        self._set[target].remove(fault)
        if not self._set[target]:
            del self._set[target]
