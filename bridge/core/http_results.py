"""The results of one HTTP request to HubSpot or to a receiver."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResponse:
    """A response; its status line and headers were read in full, its body perhaps only in part.

    `headers` has lower-case names; the last of several equal names wins. `body` holds the raw bytes that were
    read, undecoded. `complete` is false when the body was cut short: by the size limit, the deadline or a
    dropped connection. `earlier_refusals` counts earlier requests of the same call that HubSpot refused because of
    their token.
    """

    status_code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = True
    earlier_refusals: int = field(default=0, compare=False)  # no part of the response


@dataclass(frozen=True, kw_only=True, slots=True)
class NoResponse:
    """No response came, or not all of its headers.

    `reason` says why, as the end of a sentence such as "The receiver did not answer: …". `sent` is true when the server
    may have received the request and acted on it; `blocked` when the bridge's own rules refused the URL or its address,
    so that nothing was sent. `earlier_refusals` is as in HttpResponse.
    """

    reason: str
    blocked: bool = field(default=False, compare=False)
    sent: bool = field(default=False, compare=False)
    earlier_refusals: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NotSent:
    """The bridge itself could not or must not send the request, which says nothing about the receiver.

    `reason` is a sentence for the attempt's `error`.
    """

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NoToken:
    """The request was not sent, because there was no usable token in time; `reason` is a sentence.

    `is_temporary` is true when there may soon be a token without an operator's help. `earlier_refusals` is as in
    HttpResponse.
    """

    reason: str
    is_temporary: bool = False
    earlier_refusals: int = field(default=0, compare=False)
