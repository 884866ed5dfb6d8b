"""A fast server on loopback that plays HubSpot and the receivers, and keeps a ledger of every call.

`python -m bench.loopback` prints its port, and listens there on every address of HOSTS and MANY_RECEIVERS.

    GET …/{task}/status   a task that is COMPLETE
    POST /{task}          a receiver
    PUT /reset            {"delays": {host: seconds}}: forget the ledger; these hosts answer late
    GET /ledger?{n}       the ledger, once n callbacks have come, or GIVE_UP_SECONDS are over
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import cast

HOSTS = tuple(f"127.0.0.{number}" for number in range(1, 17))
RECEIVERS = HOSTS[:8]
MANY_RECEIVERS = tuple(f"127.0.1.{number}" for number in range(1, 201))
GIVE_UP_SECONDS = 90.0
STATUS = (
    b'{"status":"COMPLETE","result":{"id":"21842359870","url":"https://example.com/f.csv"},'
    b'"startedAt":"2026-11-21T10:00:00Z","completedAt":null,"links":{}}'
)


def _response(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


COMPLETE = _response(STATUS)
THANKS = _response(b"")


@dataclass(kw_only=True, slots=True)
class Ledger:
    """How many calls came, and when each task was last answered and called back (monotonic clock)."""

    polls: int = 0
    callbacks: int = 0
    signed: int = 0
    polled_at: dict[str, float] = field(default_factory=dict)
    called_back_at: dict[str, float] = field(default_factory=dict)


class World:
    """What all connections share."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.delays: dict[str, float] = {}
        self._wanted = 0
        self._enough = asyncio.Event()

    def called_back(self, task: str, head: bytes) -> None:
        """Note a callback."""
        ledger = self.ledger
        ledger.callbacks += 1
        ledger.signed += b"webhook-signature: v1," in head
        ledger.called_back_at[task] = time.monotonic()
        if ledger.callbacks == self._wanted:
            self._enough.set()

    def reset(self, body: bytes) -> bytes:
        """Forget the ledger; from now on the named hosts answer late."""
        self.delays = json.loads(body)["delays"]
        self.ledger = Ledger()
        return _response(b"{}")

    async def ledger_after(self, wanted: int) -> bytes:
        """Return the ledger once `wanted` callbacks are in it."""
        self._wanted = wanted
        self._enough.clear()
        if self.ledger.callbacks < wanted:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), GIVE_UP_SECONDS)
        return _response(json.dumps(asdict(self.ledger)).encode())


class Connection(asyncio.Protocol):
    """One connection: takes requests apart, and leaves it to `answer` what becomes of each."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and the address that was called: hosts differ in it."""
        self._transport = cast("asyncio.Transport", transport)
        self.host = transport.get_extra_info("sockname")[0]

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            whole = end + 4 + _length(head)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            method, target, _ = head.split(b" ", 2)
            self.answer(method.decode(), target.decode(), head, body)

    def answer(self, method: str, path: str, head: bytes, body: bytes) -> None:
        """Answer a request, now or later; `head` is its first line and its headers."""
        raise NotImplementedError

    def write(self, response: bytes) -> None:
        """Send a whole response, if the connection is still open."""
        if not self._transport.is_closing():
            self._transport.write(response)


class Peer(Connection):
    """A connection to this server."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def answer(self, method: str, path: str, head: bytes, body: bytes) -> None:
        """Answer as the module says."""
        if method == "POST":
            self._world.called_back(path[1:], head)
            self._later(self._write_thanks, path[1:])
        elif path.endswith("/status"):
            self._world.ledger.polls += 1
            self._later(self._write_status, path.split("/")[-2])
        elif method == "PUT":
            self.write(self._world.reset(body))
        else:
            asyncio.ensure_future(self._tell(int(path.partition("?")[2])))  # noqa: RUF006 -- it lives as long as the loop waits on it

    def _later(self, write: Callable[[str], None], task: str) -> None:
        delay = self._world.delays.get(self.host)
        if delay:
            asyncio.get_running_loop().call_later(delay, write, task)
        else:
            write(task)

    def _write_thanks(self, _: str) -> None:
        self.write(THANKS)

    def _write_status(self, task: str) -> None:
        self._world.ledger.polled_at[task] = time.monotonic()
        self.write(COMPLETE)

    async def _tell(self, wanted: int) -> None:
        self.write(await self._world.ledger_after(wanted))


def _length(head: bytes) -> int:
    lower = head.lower()
    start = lower.find(b"content-length:")
    return int(lower[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0


async def serve(connect: Callable[[], Connection], hosts: Sequence[str]) -> None:
    """Serve on one free port of all hosts until the process is ended; print the port."""
    loop = asyncio.get_running_loop()
    first = await loop.create_server(connect, hosts[0], 0, backlog=1024)
    port = first.sockets[0].getsockname()[1]
    await loop.create_server(connect, hosts[1:], port, backlog=1024)
    print(port, flush=True)
    await first.serve_forever()


if __name__ == "__main__":
    world = World()
    asyncio.run(serve(lambda: Peer(world), HOSTS + MANY_RECEIVERS))
