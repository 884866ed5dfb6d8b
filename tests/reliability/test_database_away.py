"""The database goes away under load and comes back: nobody is restarted, nobody spins, nothing is lost."""

import contextlib
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from bridge.edges.database import BUSY_SECONDS, open_engine
from bridge.edges.migrations import upgrade
from bridge.sandbox import Sandbox
from bridge.settings import PSYCOPG
from tests.postgres import PostgresServer, temporary_server
from tests.reliability.api import Api
from tests.reliability.conftest import NewSite
from tests.reliability.ledger import Ledger
from tests.reliability.processes import Processes, Running, free_port, lines, processes
from tests.reliability.receiver import Receiver
from tests.reliability.scenes import followed, played
from tests.reliability.site import Site, site
from tests.reliability.waiting import until

AWAY_SECONDS = 8.0
# A process that asked without a pause would use most of the time.
MOST_CPU_SHARE = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """What was seen while the database was away, and what does not add up after it."""

    refusal: requests.Response
    readiness: requests.Response
    cpu_share: float
    problems: list[str]
    repeated: int
    errors: list[dict[str, Any]]


class House:
    """A worker and a web process on one site, with watches in every stage."""

    def __init__(self, site: Site, hubspot: Sandbox, receiver: Receiver, folder: Path) -> None:
        self.site = site
        self.ledger = Ledger(site, receiver)
        self._hubspot = hubspot
        self._receiver = receiver
        self._port = free_port()
        env = site.env(hubspot.url, PORT=str(self._port), BRIDGE_EMBEDDED_WORKER="false")
        self.processes = Processes(env, folder)
        self.worker = self.processes.worker()
        self.web = self.processes.web(self._port)
        self.api = Api(site, self._port)
