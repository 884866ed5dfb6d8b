"""A client that keeps connections busy: on each, the next request goes when the last is answered."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Refused(RuntimeError):
    """A request was not answered as it should have been."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """How fast all was answered; `waits` are in seconds, one for each request."""

    per_second: float
    waits: Sequence[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What is POSTed, over and over, and the status that each answer must have."""

    port: int
    path: str
    api_key: str
    body: Callable[[], object]
    status: int

    def drive(self, *, seconds: float, connections: int) -> Answered:
        """POST for so many seconds. Raises Refused at the first answer with another status."""
        return asyncio.run(self._drive(seconds, connections))

    async def _drive(self, seconds: float, connections: int) -> Answered:
        began_at = time.monotonic()
        lines = [self._line(began_at + seconds) for _ in range(connections)]
        waits = [wait for line in await asyncio.gather(*lines) for wait in line]
        return Answered(per_second=len(waits) / (time.monotonic() - began_at), waits=waits)

    async def _line(self, until: float) -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        waits = []
        while time.monotonic() < until:
            request = self._request()
            asked_at = time.monotonic()
            writer.write(request)
            status_line = await _answer(reader)
            waits.append(time.monotonic() - asked_at)
            if not status_line.startswith(f"HTTP/1.1 {self.status} "):
                raise Refused(f"POST {self.path} was answered with {status_line}")
        writer.close()
        return waits

    def _request(self) -> bytes:
        content = json.dumps(self.body()).encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self.api_key}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


async def _answer(reader: asyncio.StreamReader) -> str:
    """Read one answer; return its status line."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    await reader.readexactly(int(length))
    return head.partition(b"\r\n")[0].decode()
