"""The ledger: counts of the requests to the simulated HubSpot, without those to the control routes."""

from array import array
from collections import Counter, defaultdict, deque
from typing import Any


class Traffic:
    """Counts one account's requests, including those that its quota refuses.

    `peak_requests` is the highest number of requests in any span of `window_seconds` (an argument of `record`).
    """

    def __init__(self) -> None:
        self.requests = 0
        self.peak_requests = 0
        self._seen_at: deque[float] = deque()

    def record(self, now: float, window_seconds: float) -> None:
        self.requests += 1
        self._seen_at.append(now)
        while self._seen_at[0] <= now - window_seconds:
            self._seen_at.popleft()
        self.peak_requests = max(self.peak_requests, len(self._seen_at))


class Ledger:
    """Counts requests by endpoint, status code and account; keeps the epoch seconds of each task's polls."""

    def __init__(self) -> None:
        self.refreshes = 0
        self._endpoints: Counter[str] = Counter()
        self._status_codes: Counter[str] = Counter()
        self._traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        # An array, because a float object takes 24 bytes, and long runs poll a hundred thousand tasks many times.
        self._polled_at: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))

    def count_request(self, endpoint: str) -> None:
        self._endpoints[endpoint] += 1

    def record_poll(self, task_id: str, now: float) -> None:
        """Record a request for a task's status."""
        self._polled_at[task_id].append(now)

    def count_account(self, account: str, now: float, window_seconds: float) -> None:
        """Count a request with a token of this account, made at `now`.

        Also updates the account's peak: the highest number of requests in any span of `window_seconds`.
        """
        self._traffic[account].record(now, window_seconds)

    def count_status(self, status: str) -> None:
        """Count a response with this `status`.

        `status` is the status code as text; the text `none` for a response whose headers are never sent completely.
        """
        self._status_codes[status] += 1

    def report(self) -> dict[str, Any]:
        """Return the counts, and the instants of each task's polls, for the response to `GET /sandbox/ledger`."""
        return {
            "endpoints": dict(self._endpoints),
            "status_codes": dict(self._status_codes),
            "accounts": {
                account: {"requests": traffic.requests, "peak_requests": traffic.peak_requests}
                for account, traffic in self._traffic.items()
            },
            "tasks": {task_id: list(times) for task_id, times in self._polled_at.items()},
            "refreshes": self.refreshes,
        }
