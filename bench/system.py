"""A bridge to be measured: its settings, its database, and its workers, which are the real command."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, Table, func, select

from bench.far_side import FarSide
from bench.loopback import RECEIVERS
from bench.processes import Process, python, started
from bridge.core.polling import gap
from bridge.core.watch import State
from bridge.db.engine import reading
from bridge.db.tables import is_state, watches, workers
from bridge.settings import Settings
from bridge.steps import clients
from bridge.steps.register import Registration, register
from bridge.wiring import Bridge

CLIENT = "bench"
BATCH = 1000
TIMEOUT_SECONDS = 60.0
LOOK_SECONDS = 0.02
LOGGED_LINES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What one run took. `cpu_seconds`: of the bridge, its registering too, for 1,000 tasks."""

    tasks_per_second: float
    cpu_seconds: float
    peak_mebibytes: float = 0.0


class System:
    """One bridge, over one database that is already migrated."""

    def __init__(
        self, *, url: str, folder: Path, far_side: FarSide, secret_key: str, settings: Mapping[str, str]
    ) -> None:
        inherited = {
            name: text for name, text in os.environ.items() if not name.startswith(("BRIDGE_", "HUBSPOT_"))
        }
        self.env = inherited | {
            "DATABASE_URL": url,
            "BRIDGE_SECRET_KEY": secret_key,
            "BRIDGE_CALLBACK_ALLOW": "127.0.0.0/8",
            "BRIDGE_CALLBACK_HTTPS_ONLY": "false",
            "BRIDGE_EMBEDDED_WORKER": "false",
            "BRIDGE_LOG_FORMAT": "json",
            "HUBSPOT_ACCESS_TOKEN": "pat-na1-00000000-0000-0000-0000-000000000000",
            "HUBSPOT_BASE_URL": far_side.url(),
            # The bridge's own speed is measured, so HubSpot's limit must not be in the way.
            "HUBSPOT_RATE_LIMIT": "900000/1",
            "HUBSPOT_RATE_SHARE": "1",
            "BRIDGE_OPEN_WATCH_LIMIT": "10000000",
            **settings,
        }
        self.bridge = Bridge(Settings.load(self.env))
        self.log = folder / "bridge.log"
        self._far_side = far_side

    @property
    def engine(self) -> Engine:
        """The database, for this process."""
        return self.bridge.engine

    @contextmanager
    def workers(self, count: int = 1) -> Iterator[list[Process]]:
        """Run worker processes; all are at work when the block begins."""
        with ExitStack() as stack:
            command = python("-m", "bridge", "worker")
            processes = [stack.enter_context(started(command, self.log, self.env)) for _ in range(count)]
            self.until(lambda: self.count(workers) == count, "the workers did not start")
            yield processes

    def client_key(self) -> str:
        """Add a client to a new database; return its API key."""
        made = clients.add(self.engine, self.bridge.cipher, "cms", admin=False, now=datetime.now(UTC))
        self.engine.dispose()
        if made is None:
            raise RuntimeError("the database is not new")
        return made.api_key

    def register(
        self,
        tasks: Sequence[str],
        *,
        due_at: datetime | None = None,
        receivers: Sequence[str] = RECEIVERS,
        account: str = "default",
    ) -> None:
        """Register tasks in batches, towards the receivers in turn; they are due at once, or at an instant."""
        created_at = (due_at or datetime.now(UTC)) - timedelta(seconds=gap(0))
        wanted = [
            self._registration(task, receivers[number % len(receivers)], account)
            for number, task in enumerate(tasks)
        ]
        for start in range(0, len(wanted), BATCH):
            register(self.engine, wanted[start : start + BATCH], now=created_at)

    def register_paced(
        self,
        tasks: Sequence[str],
        first_at: datetime,
        *,
        per_second: float,
        receivers: Sequence[str] = RECEIVERS,
    ) -> None:
        """Register tasks that fall due one by one, from an instant on, towards the receivers in turn."""
        for number, task in enumerate(tasks):
            due_at = first_at + timedelta(seconds=number / per_second)
            self.register([task], due_at=due_at, receivers=(receivers[number % len(receivers)],))

    def _registration(self, task: str, host: str, account: str) -> Registration:
        return Registration(
            client=CLIENT,
            account=account,
            kind="file-import",
            task_id=task,
            callback_url=f"{self._far_side.url(host)}/{task}",
            callback_host=host,
            metadata="{}",
            timeout_seconds=3600,
        )

    def run(self, tasks: int, processes: Sequence[Process], delays: Mapping[str, float] | None = None) -> Run:
        """Register tasks with the idle workers, until all are saved as delivered.

        Raises LedgerDiffers unless each was polled once, and called back once, signed.
        """
        self._far_side.reset(delays)
        before = self.delivered()
        began_at, cpu = time.monotonic(), _cpu_seconds(processes)
        self.register(names(tasks))
        registering = time.process_time()
        self._far_side.once_each(tasks)
        asking = time.process_time() - registering
        self.until(lambda: self.delivered() == before + tasks, "not all were saved as delivered")
        elapsed = time.monotonic() - began_at
        return Run(
            tasks_per_second=tasks / elapsed,
            cpu_seconds=(_cpu_seconds(processes) - cpu - asking) / tasks * 1000,
            peak_mebibytes=max(process.peak_mebibytes for process in processes),
        )

    def delivered(self) -> int:
        """How many watches are saved as delivered."""
        return self.count(watches, is_state(State.DELIVERED))

    def count(self, table: Table, *where: ColumnElement[bool]) -> int:
        """How many rows of a table are so."""
        with reading(self.engine) as connection:
            return connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()

    def until(self, done: Callable[[], bool], problem: str) -> None:
        """Wait until it is done; RuntimeError when that takes too long."""
        give_up_at = time.monotonic() + TIMEOUT_SECONDS
        while not done():
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"{problem}; the last that was logged:\n{self._last_logged()}")
            time.sleep(LOOK_SECONDS)

    def _last_logged(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-LOGGED_LINES:])


def names(count: int) -> list[str]:
    """Return names of tasks that no other run has."""
    stem = f"T{time.monotonic_ns()}"
    return [f"{stem}-{number}" for number in range(count)]


def _cpu_seconds(processes: Sequence[Process]) -> float:
    """CPU time so far of the workers, and of this process, which registers."""
    return sum(process.cpu_seconds for process in processes) + time.process_time()
