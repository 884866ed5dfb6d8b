"""The results of one HTTP request to HubSpot or to a receiver."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResponse:
    """A response; `complete` is false when its body was cut short.

    `headers` has lower-case names; `body` is undecoded. `earlier_refusals` is 1 when HubSpot answered 401 to a first
    request, and this response is the answer to a second request with a newer token; otherwise 0.
    """

    status_code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = True
    earlier_refusals: int = field(default=0, compare=False)  # no part of the response


@dataclass(frozen=True, kw_only=True, slots=True)
class NoResponse:
    """No response came, or a response without all of its headers.

    `reason` ends a sentence like "HubSpot did not answer: …". `sent` is true when the server may have received the
    request. `blocked` is true when the bridge itself prevented the request: the bridge's rules refuse all addresses
    of the host, or look-ups of other host names keep the bridge's resolver busy. `earlier_refusals` is 1 when this is
    the result of a second request, sent after HubSpot answered 401 to the first; otherwise 0.
    """

    reason: str
    blocked: bool = field(default=False, compare=False)
    sent: bool = field(default=False, compare=False)
    earlier_refusals: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NotSent:
    """The request was not sent, and the bridge itself is why; `reason` is a sentence.

    The bridge's rules forbid the request, a secret cannot be read, or look-ups of other host names keep the bridge's
    resolver busy.
    """

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NoToken:
    """No usable token came in time for the request, or for repeating it after a 401.

    `reason` is a sentence. `is_temporary` is false when there will be no token until an operator helps.
    `earlier_refusals` is 1 when HubSpot answered 401 to a first request, and no token came to repeat it; otherwise 0.
    """

    reason: str
    is_temporary: bool = False
    earlier_refusals: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoTokenYet(NoToken):
    """No token came in time, but nothing shows that getting one will fail: a later request may find a token.

    For example, another thread or process is still refreshing the token.
    """

    is_temporary: bool = True
