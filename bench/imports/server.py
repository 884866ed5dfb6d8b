"""HubSpot and the receivers: imports that take their time, a limit for each account, receivers of which some are bad.

`python -m bench.imports.server` prints its port, and listens there on HUBSPOT and every address of RECEIVERS.

    PUT /load             the imports
    GET …/{task}/status   the state of an import, or a 429
    POST /{task}          a receiver
    GET /ledger           the ledger
"""

import asyncio
import json
import time
from collections import defaultdict, deque
from dataclasses import asdict, dataclass, field

from bench.imports import load
from bench.imports.load import Import
from bench.loopback import STATUS, Connection, serve

HUBSPOT = "127.0.0.1"
# TEN_SECONDLY_ROLLING, of a private app.
LIMIT, WINDOW_SECONDS = 100, 10.0
ANSWER_SECONDS = 0.1
PENDING_SECONDS = 1.0


@dataclass(kw_only=True, slots=True)
class Ledger:
    """What came: requests to HubSpot, and for each task when its end was first told, and first called back."""

    requests: int = 0
    throttled: int = 0
    errors: int = 0
    seen_at: dict[str, float] = field(default_factory=dict)
    called_back_at: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What HubSpot answers."""

    status: int
    body: bytes
    remaining: int = LIMIT

    def encode(self) -> bytes:
        """Return the whole response."""
        head = (
            f"HTTP/1.1 {self.status} -\r\nContent-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
            f"X-HubSpot-RateLimit-Max: {LIMIT}\r\nX-HubSpot-RateLimit-Remaining: {self.remaining}\r\n"
            f"X-HubSpot-RateLimit-Interval-Milliseconds: {WINDOW_SECONDS * 1000:.0f}\r\n\r\n"
        )
        return head.encode() + self.body


class SimulatedHubSpot:
    """All imports, the limits of their accounts, and the ledger."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.imports: dict[str, Import] = {}
        self._windows: defaultdict[str, deque[float]] = defaultdict(deque)

    def load(self, body: bytes) -> None:
        """Take the imports of a run, and forget the ledger."""
        self.imports = {one.task: one for one in load.parse(body)}
        self.ledger = Ledger()

    def status(self, task: str, token: str, now: float) -> Reply:
        """Answer a poll, and write it down."""
        self.ledger.requests += 1
        one = self.imports.get(task)
        if one is None or load.token(one.account) != token:
            self.ledger.errors += 1
            return _error(404, "resource not found", "OBJECT_NOT_FOUND")
        remaining = self._take(one.account, now)
        if remaining < 0:
            self.ledger.throttled += 1
            self.ledger.errors += 1
            return _error(429, "You have reached your ten_secondly_rolling limit.", "RATE_LIMIT")
        if now >= one.ends_at:
            self.ledger.seen_at.setdefault(task, now)
            return Reply(status=200, body=STATUS, remaining=remaining)
        running = "PENDING" if now < one.begins_at + PENDING_SECONDS else "PROCESSING"
        return Reply(status=202, body=json.dumps({"status": running}).encode(), remaining=remaining)

    def called_back(self, task: str, head: bytes, now: float) -> None:
        """Write a callback down, if it is signed; an attempt at a bad receiver counts."""
        if b"webhook-signature: v1," in head:
            self.ledger.called_back_at.setdefault(task, now)

    def _take(self, account: str, now: float) -> int:
        """Return what remains of the limit after this request; -1 when nothing was left for it."""
        window = self._windows[account]
        while window and window[0] <= now - WINDOW_SECONDS:
            window.popleft()
        remaining = LIMIT - len(window) - 1
        if remaining >= 0:
            window.append(now)
        return remaining


def _error(status: int, message: str, kind: str) -> Reply:
    body = {
        "status": "error",
        "message": message,
        "errorType": kind,
        "policyName": "TEN_SECONDLY_ROLLING",
        "correlationId": "5f3ee8d1-7a0b-4f35-9b3a-0f6ad8c3d0c5",
    }
    return Reply(status=status, body=json.dumps(body).encode(), remaining=0)


class Peer(Connection):
    """A connection to HubSpot, or to a receiver."""

    def __init__(self, hubspot: SimulatedHubSpot) -> None:
        super().__init__()
        self._hubspot = hubspot

    def answer(self, method: str, path: str, head: bytes, body: bytes) -> None:
        """Answer as the module says; polls and callbacks take ANSWER_SECONDS."""
        if method == "PUT":
            self._hubspot.load(body)
            self.write(Reply(status=200, body=b"").encode())
        elif method == "POST":
            self._hubspot.called_back(path[1:], head, time.time())
            if self.host != load.HANGING:
                self._later(Reply(status=503 if self.host == load.FAILING else 200, body=b""))
        elif path.endswith("/status"):
            self._later(self._hubspot.status(path.split("/")[-2], _token(head), time.time()))
        else:
            self.write(Reply(status=200, body=json.dumps(asdict(self._hubspot.ledger)).encode()).encode())

    def _later(self, reply: Reply) -> None:
        asyncio.get_running_loop().call_later(ANSWER_SECONDS, self.write, reply.encode())


def _token(head: bytes) -> str:
    lower = head.lower()
    start = lower.find(b"authorization: bearer ")
    return head[start + 22 :].split(b"\r\n", 1)[0].decode() if start >= 0 else ""


if __name__ == "__main__":
    hubspot = SimulatedHubSpot()
    asyncio.run(serve(lambda: Peer(hubspot), (HUBSPOT, *load.RECEIVERS)))
