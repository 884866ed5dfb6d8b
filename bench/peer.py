"""A fast server on loopback that plays HubSpot and the receivers, and counts every call.

`python -m bench.peer [--delay SECONDS]` prints its port. GET any path: a task that is COMPLETE.
POST any path: a receiver. GET /ledger: how often each webhook-id came, and when.
"""

import argparse
import asyncio
import json
import time

STATUS = b'{"status":"COMPLETE","result":{"id":"1","url":"https://example.com/f.csv"},"completedAt":null}'


class Ledger:
    """How often each callback arrived, and the instants of arrival by this machine's clock."""

    def __init__(self) -> None:
        self.polls = 0
        self.arrivals: dict[str, list[float]] = {}
        self.polled_at: dict[str, float] = {}
        self.delay_seconds = 0.0
        self.hung_hosts: set[bytes] = set()

    def reset(self) -> None:
        """Forget all."""
        self.polls = 0
        self.arrivals = {}
        self.polled_at = {}


class Peer(asyncio.Protocol):
    """One connection; requests may be pipelined, and bodies come with a Content-Length."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _content_length(head)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(head, body)
