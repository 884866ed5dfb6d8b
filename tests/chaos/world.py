"""The world of one chaos run: a bridge of several processes, and everything that happens to it."""

import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from bridge import sandbox
from bridge.edges.database import open_engine
from bridge.edges.migrations import upgrade
from bridge.sandbox import Sandbox, SandboxOptions
from bridge.settings import PSYCOPG
from tests.postgres import PostgresServer, temporary_server
from tests.reliability.api import Api
from tests.reliability.ledger import Ledger
from tests.reliability.processes import WEB, WORKER, Processes, Running, free_port, processes
from tests.reliability.receiver import Receiver
from tests.reliability.site import Site, site

PLENTY = 1_000_000
# Who is dead is started again, as Heroku or systemd would do.
COMMANDS = {"web": WEB, "worker 1": WORKER, "worker 2": WORKER}
# A receiver that is always down gets all of these; one that is well again gets its callback.
SCHEDULE = "1,1,1,1,2,2,2,2,3,3"


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What the fates act on. `lock` keeps the database from everybody, for some seconds."""

    random: Random
    site: Site
    hubspot: Sandbox
    receiver: Receiver
    ledger: Ledger
    api: Api
    processes: Processes
    lock_database: Callable[[float], None]
    alive: dict[str, Running] = field(default_factory=dict)
    unanswered: list[dict[str, object]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    timers: list[threading.Timer] = field(default_factory=list)
