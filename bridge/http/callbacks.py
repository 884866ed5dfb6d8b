"""Signs and sends callbacks: only to allowed URLs and, unless a proxy is set, only to allowed addresses."""

import functools
from collections.abc import Sequence
from datetime import datetime
from math import inf

from bridge import USER_AGENT, tracing
from bridge.core.http_results import HttpResponse, NoResponse, NotSent
from bridge.core.signing import sign
from bridge.http.addresses import (
    Network,
    blocked_address_reason,
    blocked_host_reason,
    callback_url_problem,
    without_stray_percent,
)
from bridge.http.connections import HOSTS_PER_THREAD
from bridge.http.deadline import Lookup, system_lookup
from bridge.http.transport import Transport

# How many bytes of a response's body are kept: enough to show to people. The body does not decide what follows.
BODY_LIMIT = 64 * 1024


class CallbackSender:
    """POSTs callbacks to allowed URLs and addresses, each within `timeout_seconds`. Thread-safe.

    `allow` holds blocks of addresses that are allowed although they would be refused otherwise. `ports` holds the
    allowed ports; if it is empty, any port is allowed. `proxy` is the http or https URL of a proxy, or None. With a
    proxy, the addresses of host names are not checked here, except those of `localhost`. The proxy must check the
    others.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        allow: Sequence[Network],
        ports: frozenset[int],
        https_only: bool,
        proxy: str | None,
        lookup: Lookup = system_lookup,
        hosts_per_thread: int = HOSTS_PER_THREAD,
    ) -> None:
        self._https_only = https_only
        self._ports = ports
        self._allow = tuple(allow)
        self._transport = Transport(
            timeout_seconds=timeout_seconds,
            body_limit=BODY_LIMIT,
            proxy=proxy,
            guard=functools.partial(blocked_address_reason, allow=self._allow),
            lookup=lookup,
            hosts_per_thread=hosts_per_thread,
        )

    def problem_with(self, url: str) -> str | None:
        """Return why no callback may be sent to `url`, as a sentence; None when one may be sent.

        The addresses of a host name are not checked here, except those of `localhost`.
        """
        problem = callback_url_problem(url, https_only=self._https_only, ports=self._ports)
        return problem or blocked_host_reason(url, allow=self._allow)

    def send(
        self,
        url: str,
        message_id: str,
        body: bytes,
        *,
        secrets: Sequence[str],
        at: datetime,
        within_seconds: float = inf,
        traceparent: str | None = None,
    ) -> HttpResponse | NoResponse | NotSent:
        """Sign `body` and POST it unchanged, with `at` as the timestamp; return the result.

        The time limit is the sender's `timeout_seconds`, or `within_seconds` if that is shorter. `message_id` is sent as
        `webhook-id`; `traceparent` is sent as the header of that name, unless it is None. The result is NotSent when
        the URL or all addresses of its host are refused, or when too many other host names are being looked up.
        Raises ValueError when `secrets` is empty, or a secret is malformed.
        """
        headers = signed_headers(message_id, body, secrets=secrets, at=at, traceparent=traceparent)
        if problem := self.problem_with(url):
            return _not_sent(problem)
        target = without_stray_percent(url)
        answer = self._transport.send("POST", target, headers, body, within_seconds=within_seconds)
        return _not_sent(answer.reason) if isinstance(answer, NoResponse) and answer.blocked else answer

    def reach(self, url: str, *, within_seconds: float) -> HttpResponse | NoResponse:
        """Send a HEAD request to `url`, to find out whether its server answers.

        If `url` is not allowed, nothing is sent, and the result is a NoResponse with the reason.
        """
        if problem := self.problem_with(url):
            return NoResponse(reason=problem)
        return self._transport.send("HEAD", url, {}, within_seconds=within_seconds)

    def close(self) -> None:
        """Close the idle connections. Callbacks in flight go on."""
        self._transport.close()


def _not_sent(reason: str) -> NotSent:
    return NotSent(reason=f"The callback was not sent: {reason}.")


def signed_headers(
    message_id: str, body: bytes, *, secrets: Sequence[str], at: datetime, traceparent: str | None = None
) -> dict[str, str]:
    """Return a callback's headers, with a signature by each of `secrets`; `at` is the signed timestamp."""
    headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
    if traceparent:
        headers[tracing.HEADER] = traceparent
    return headers | sign(message_id, int(at.timestamp()), body, secrets)
