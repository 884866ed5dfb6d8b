"""What an outside party answered to one HTTP request."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpResponse:
    """The party answered: a status line and headers were read whole.

    `headers` has lower-case names; the last of several equal names wins. `body` holds the raw
    bytes that were read within the cap, undecoded. `complete` is false when the body was cut
    short: by the cap, the deadline or a dropped connection. `refused` counts the requests that came
    before and were refused for their token.
    """

    status_code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = True
    refused: int = field(default=0, compare=False)  # equal words are the same answer


@dataclass(frozen=True, kw_only=True, slots=True)
class NoResponse:
    """No status line and headers came: `reason` is a sentence for the watch's `last_error`.

    `sent` is true when the party may have received the request, and may have acted on it; `blocked` when our own
    rules refused the URL or its address, so that nothing was sent. `refused` has the meaning that it has in HttpResponse.
    """

    reason: str
    blocked: bool = field(default=False, compare=False)
    sent: bool = field(default=False, compare=False)  # equal reasons are the same failure
    refused: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NotSent:
    """The bridge itself could not make the request, which says nothing about the other party.

    `reason` is a sentence that says what to do.
    """

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NoToken:
    """The request was not sent: the account has no token that works. `reason` says what to do.

    `passing` is true when a token may be had soon without an operator's help. `refused` has the meaning that it has
    in HttpResponse.
    """

    reason: str
    passing: bool = False
    refused: int = field(default=0, compare=False)
