"""Sends callbacks to receivers: only to URLs and addresses that may be called."""

import functools
from collections.abc import Mapping, Sequence
from math import inf

from bridge.core.http_results import HttpResponse, NoResponse
from bridge.http.addresses import Network, host_refusal, problem_with, refusal, without_stray_percent
from bridge.http.connections import HOSTS_PER_THREAD
from bridge.http.deadline import Lookup, system_lookup
from bridge.http.transport import Transport

# Enough to show a receiver's response to people; only the status decides.
BODY_LIMIT = 64 * 1024


class CallbackSender:
    """POSTs callbacks, each within `timeout_seconds`, and never to a refused address.

    `allow` holds blocks that are exempt from the address filter, `ports` the ports that may be used (any
    when empty). With `proxy`, the proxy resolves names and must filter their addresses; a host that is itself an
    address, or `localhost`, is checked here as well. Thread-safe.
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
            guard=functools.partial(refusal, allow=self._allow),
            lookup=lookup,
            hosts_per_thread=hosts_per_thread,
        )

    def problem_with(self, url: str) -> str | None:
        """Return why no callback can be sent to `url` under these settings; None when one may be.

        The addresses of a host name are checked when it is dialled.
        """
        problem = problem_with(url, https_only=self._https_only, ports=self._ports)
        return problem or host_refusal(url, allow=self._allow)

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, within_seconds: float = inf
    ) -> HttpResponse | NoResponse:
        """POST `body` as it is, and read at most 64 KiB of the response's body, undecoded.

        The URL is checked again, because the settings may have changed since its registration. The time-out is the
        lesser of `timeout_seconds` and `within_seconds`.
        """
        if problem := self.problem_with(url):
            return NoResponse(reason=problem, blocked=True)
        return self._transport.send(
            "POST", without_stray_percent(url), headers, body, within_seconds=within_seconds
        )

    def reach(self, url: str, *, within_seconds: float) -> HttpResponse | NoResponse:
        """Send a HEAD request to `url`, under the rules of callbacks, to check whether its server can be reached."""
        if problem := self.problem_with(url):
            return NoResponse(reason=problem)
        return self._transport.send("HEAD", url, {}, within_seconds=within_seconds)

    def close(self) -> None:
        """Close the idle connections. Callbacks in flight go on."""
        self._transport.close()
