"""The loopback server as the scenarios see it: started, told how to behave, asked for its ledger."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from bench.loopback import GIVE_UP_SECONDS, HOSTS, Ledger
from bench.processes import ROOT, Process, end, python

HUBSPOT = HOSTS[0]


class LedgerDiffers(Exception):
    """Some task was not polled and called back exactly once: the figures of this run mean nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FarSide:
    """HubSpot and the receivers, in one process of their own."""

    port: int
    process: Process

    def url(self, host: str = HUBSPOT) -> str:
        """Return the server's address under one of HOSTS."""
        return f"http://{host}:{self.port}"

    def reset(self, delays: Mapping[str, float] | None = None) -> None:
        """Forget all calls; under these hosts, answer so many seconds late."""
        body = json.dumps({"delays": delays or {}})
        requests.put(f"{self.url()}/reset", data=body, timeout=30).raise_for_status()

    def ledger(self, callbacks: int = 0) -> Ledger:
        """Return all calls, once so many callbacks have come or much time has passed."""
        answer = requests.get(f"{self.url()}/ledger?{callbacks}", timeout=GIVE_UP_SECONDS + 30)
        return Ledger(**answer.json())

    def once_each(self, tasks: int) -> Ledger:
        """Return the ledger when all tasks were called back; raises LedgerDiffers."""
        ledger = self.ledger(tasks)
        counts = {
            "polls": ledger.polls,
            "tasks polled": len(ledger.polled_at),
            "callbacks": ledger.callbacks,
            "tasks called back": len(ledger.called_back_at),
            "signed": ledger.signed,
        }
        if set(counts.values()) != {tasks}:
            raise LedgerDiffers(f"of {tasks} tasks: {counts}")
        return ledger


@contextmanager
def far_side(module: str = "bench.loopback") -> Iterator[FarSide]:
    """The server of a module, until the block ends."""
    reading, writing = os.pipe()
    process = subprocess.Popen(python("-m", module), cwd=ROOT, stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as output:
        try:
            yield FarSide(port=int(output.readline()), process=Process(process.pid))
        finally:
            end(process)
